"""What a training tells: metrics.jsonl for machines, a bar in a terminal, plain lines in a log."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from shards.files import write_text
from trainer.config import Recipe
from trainer.distributed import Process
from trainer.run import Run
from trainer.wandb_mirror import WandbMirror


class Progress:
    """Writes one JSON object a logged step or validation, and shows loss, clips/s and time left.

    Each says in `origin` where it is from: the run, its recipe, index and code, seed, processes and device.

    Silent on ranks above 0. `mirror` gets every object as well.
    """

    def __init__(
        self,
        run: Run,
        recipe: Recipe,
        *,
        start: int,
        num_steps: int,
        process: Process,
        mirror: WandbMirror | None = None,
    ):
        self.mirror = mirror
        self.is_main, self.num_steps, self.start = process.is_main, num_steps, start
        training = recipe.training
        self.clips_per_step = training.batch_size * training.accumulation_steps * process.world_size
        self.began = self.last = time.monotonic()
        self.last_step, self.label = start, recipe.exp_name
        self.counts_skips, self.num_skipped = recipe.data.on_error == "skip", 0
        if not self.is_main:
            return
        self.origin = run.origin | {"world_size": process.world_size, "device": name_device(process.device)}
        self.elapsed = forget_rows_after(run.metrics, start)
        self.file = run.metrics.open("a")
        self.bar = tqdm(total=num_steps, initial=start, unit="step", disable=not sys.stderr.isatty(), desc=self.label)

    def log(
        self,
        step: int,
        row: dict[str, float],
        learning_rate: float,
        num_skipped: int = 0,
        scaling: dict[str, float] | None = None,
    ) -> None:
        """Record the values of `step` (the number of steps done), and the clips skipped since the last row.

        `row` holds losses and `grad_norm`; `scaling` what the gradient scaler tells, where there is one.
        """
        if not self.is_main:
            return
        now = time.monotonic()
        speed = (step - self.last_step) * self.clips_per_step / max(now - self.last, 1e-9)
        self.last, self.last_step = now, step
        loss = sum(value for name, value in row.items() if name != "grad_norm")
        record = {
            "step": step,
            "loss": loss,
            **row,
            **(scaling or {}),
            "learning_rate": learning_rate,
            "clips_per_second": round(speed, 3),
            "seconds": round(self.elapsed + now - self.began, 3),
        }
        if self.counts_skips:
            record["skipped_clips"] = num_skipped
        self._write(record)
        self.num_skipped += num_skipped
        skips = f"  {self.num_skipped} clips skipped" if self.num_skipped else ""
        left = (self.num_steps - step) * (now - self.began) / max(step - self.start, 1)
        if self.bar.disable:
            text = f"step {step}/{self.num_steps}  loss {loss:.3f}  {speed:.2f} clips/s{skips}  {_clock(left)} left"
            print(f"{self.label}: {text}", file=sys.stderr, flush=True)
        else:
            self.bar.update(step - self.bar.n)
            self.bar.set_postfix_str(f"loss {loss:.3f}, {speed:.2f} clips/s{skips}")

    def log_validation(self, step: int, row: dict[str, Any], told: str) -> None:
        """Record the scores of `step` as an event of its own and say them; the next speed does not count their time."""
        if not self.is_main:
            return
        now = time.monotonic()
        spent = {"validation_seconds": round(now - self.last, 3), "seconds": round(self.elapsed + now - self.began, 3)}
        self._write({"event": "validation", "step": step, **row, **spent})
        self.last = now
        self.bar.write(f"{self.label}: {told}", file=sys.stderr)

    def _write(self, record: dict[str, Any]) -> None:
        self.file.write(json.dumps(record | {"origin": self.origin}) + "\n")
        self.file.flush()
        if self.mirror:
            self.mirror.log(record)

    def close(self) -> None:
        """Close the metrics file and the bar."""
        if self.is_main:
            self.bar.close()
            self.file.close()


def name_device(device: torch.device) -> str:
    """The name of a GPU, else "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def forget_rows_after(metrics: Path, step: int) -> float:
    """Drop rows of steps that a resumed run repeats (and a last line cut short); returns the seconds spent so far."""
    if not metrics.exists():
        return 0.0
    kept, seconds = [], 0.0
    for line in metrics.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if row["step"] <= step:
            kept.append(line)
            seconds = row["seconds"]
    write_text(metrics, "".join(line + "\n" for line in kept))
    return seconds


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
