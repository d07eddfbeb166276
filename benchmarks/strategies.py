"""Losses of a training's first steps by every strategy: `python -m benchmarks.strategies [--shards-root data/shards]`.

Trains small stages on their own data, four clips a step in micro-batches of one, with one process and with every
`training.strategy`; hsdp has two nodes of two processes, the others two processes, all on this machine. Stages are
those of the default graph, Vista's with what the guide's have: the first phase a rate for layers over time and another
for the rest, the second adapters beside frozen weights, also going on with ddp after half of the steps with fsdp. What
Vista draws in a step depends on the number of processes, so that only trainings by equally many have the same losses:
ddp is also tried with four.

Prints the rows of the tables in docs/explanation/training.md: the sum of the losses of each step, and seconds a step
(without the first; processes that share cores wait for one another). deepspeed_zero2 is left out where DeepSpeed is not
installed.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import yaml

from shards.files import remove

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A stage of the default graph: its overrides there, less those of the keys `without`, and more words."""

    stage: str
    without: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    after: str | None = None
    """Of CASES: the case whose weights it starts from."""
    places: tuple[str, ...] = ("one", "ddp", "fsdp", "hsdp", "deepspeed_zero2")

    @property
    def words(self) -> list[str]:
        """The overrides."""
        given = yaml.safe_load((ROOT / "config/config.yaml").read_text())["stages"][self.stage]["overrides"]
        return [word for word in given if word.split("=")[0] not in self.without] + list(self.more)


@dataclass(frozen=True, kw_only=True)
class Place:
    """How processes train: strategies one after the other, in equal parts of the steps; None: one process alone."""

    strategies: tuple[str, ...]
    processes: int = 2
    per_node: int = 2

    @property
    def says(self) -> str:
        """In a table."""
        if self.processes == 1:
            return "one"
        nodes = self.processes // self.per_node
        names = ", then ".join(f"`{name}`" for name in self.strategies)
        return f"{names}, {f'{nodes} x ' * (nodes > 1)}{self.per_node}"


PLACES = {
    "one": Place(strategies=("ddp",), processes=1, per_node=1),
    "ddp": Place(strategies=("ddp",)),
    "fsdp": Place(strategies=("fsdp",)),
    "fsdp_then_ddp": Place(strategies=("fsdp", "ddp")),
    "deepspeed_zero2": Place(strategies=("deepspeed_zero2",)),
    "ddp_4": Place(strategies=("ddp",), processes=4, per_node=4),
    "hsdp": Place(strategies=("hsdp",), processes=4, per_node=2),
}
VISTA = ("optimizer.warmup_steps=2", "validation.dataset=null")
OF_VISTA = ("one", "ddp", "fsdp", "deepspeed_zero2", "ddp_4", "hsdp")
CASES = {
    "LBM": Case(stage="lbm"),
    "CoTracker3": Case(stage="cotracker3_offline"),
    "Vista, phase 1": Case(
        stage="vista_phase1",
        without=("optimizer.learning_rate_factors", "optimizer.rest_factor"),
        more=VISTA,
        places=OF_VISTA,
    ),
    "Vista, phase 2": Case(
        stage="vista_phase2_stage1",
        after="Vista, phase 1",
        without=("training.lora",),
        more=(*VISTA, "training.lora.whole=[to_v.action,frame_embedding]"),
        places=(*OF_VISTA, "fsdp_then_ddp"),
    ),
}


def train(words: list[str], num_processes: int, per_node: int) -> None:
    """Train in so many processes; raises RuntimeError with what one of them says where it fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(num_processes):
        place = {"RANK": rank, "WORLD_SIZE": num_processes, "LOCAL_RANK": rank % per_node, "MASTER_PORT": port}
        environment = os.environ | {key: str(value) for key, value in place.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "trainer.launch", *words]
        started.append(
            subprocess.Popen(command, env=environment, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        )
    for process in started:
        _, told = process.communicate()
        if process.returncode:
            raise RuntimeError(told)


def measure(case: Case, place: Place, options: argparse.Namespace, out: Path, init: Path | None) -> list[dict]:
    """The rows of metrics.jsonl of all steps: `loss` is the sum, `seconds` the time since the start."""
    half = options.steps // 2
    words = [f"stage={case.stage}", *case.words, "training.global_batch_size=4", "training.batch_size=1"]
    words += [f"training.num_steps={options.steps}", f"training.save_every={half}", "training.keep_checkpoints=2"]
    paths = {"shards_root": options.shards_root, "run_root": out / "runs", "output_dir": out}
    paths |= {"deepspeed_op": options.deepspeed_op} | ({"init_weights": init} if init else {})
    words += [*(f"paths.{key}={path}" for key, path in paths.items()), "logging.log_every=1"]
    for number, strategy in enumerate(place.strategies):
        if number:  # it goes on where the one before was after half of the steps
            for last in out.glob(f"runs/*/*/checkpoint-{options.steps:08}.*"):
                remove(last)
        train([*words, f"training.strategy={strategy}"], place.processes, place.per_node)
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def print_row(name: str, place: Place, rows: list[dict]) -> None:
    """A row of the table."""
    seconds = (rows[-1]["seconds"] - rows[0]["seconds"]) / (len(rows) - 1)
    losses = " | ".join(f"{row['loss']:.6f}" for row in rows)
    print(f"| {name} | {place.says} | {losses} | {seconds:.1f} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards-root", default="data/shards")
    parser.add_argument("--deepspeed-op", default="data/deepspeed_op")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--places", nargs="+", choices=list(PLACES), default=list(PLACES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in options.cases:
            case, init = CASES[name], None
            if case.after:
                begun = Path(folder) / case.stage / "begun"
                measure(CASES[case.after], PLACES["one"], options, begun, None)
                init = begun / "weights.safetensors"
            for key in (key for key in PLACES if key in case.places and key in options.places):
                if key == "deepspeed_zero2" and find_spec("deepspeed") is None:
                    continue
                out = Path(folder) / case.stage / key
                print_row(name, PLACES[key], measure(case, PLACES[key], options, out, init))


if __name__ == "__main__":
    main()
