"""What the graph costs as the data grow: `python -m benchmarks.scale --out DIR [--part plan ...]`.

Every measurement is a process of its own and a line of DIR/measured.jsonl; one that is there is not repeated, so the
tables and DIR/scale.png can be made again. Nothing is rendered or trained.

parts:
  plan    `snakemake -n all` by clips and clips a shard: CPU-seconds and peak memory
  done    "nothing to be done" in a graph that is finished (its files are put there as small ones and touched)
  order   the clips of one epoch by ranks: equal steps, none twice, and how well shards are mixed
  index   an index of so many clips: bytes, CPU-seconds and memory to open it
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from shards.order import permutation, sample_ids
from tests.workflow.copies import copy_repository, environment_of
from workflow.plan import Plan

CONFIG = "config/scale.yaml"
CLIPS = (11_000, 100_000, 1_000_000)
CLIPS_PER_SHARD = (64, 128, 256, 1024)
FINISHED_SHARDS = (110, 1000)
RANKS = (1, 8, 64, 512)
INDEX_CLIPS = (11_000, 50_000)
BATCH = 4


def configuration(num_clips: int, clips_per_shard: int) -> dict[str, Any]:
    """A rendered training set of so many clips, a small held-out one, and one stage."""
    clips = {"source": "render", "overrides": {"resolution": 64, "num_frames": 24}}
    heldout = {"split": "test", "first_seed": 10_000_000, "num_clips": 128, "clips_per_shard": 64}
    return {
        "datasets": {
            "clips": clips | {"num_clips": num_clips, "clips_per_shard": clips_per_shard},
            "heldout": clips | heldout,
        },
        "stages": {"lbm": {"processes": 8, "overrides": ["data.dataset=clips", "validation.dataset=null"]}},
        "benchmarks": {"heldout": {"dataset": "heldout"}},
    }


def measure(command: list[str], root: Path) -> dict[str, Any]:
    """Run a command; its seconds, CPU-seconds and peak memory, as the system counted them, and what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, cwd=root, env=environment_of(root), stdout=told, stderr=told)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        told.seek(0)
        text = told.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}\n{text[-2000:]}")
    return {
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_mib": round(usage.ru_maxrss / 1024),
        "told": text,
    }


def snakemake(root: Path, *words: str) -> dict[str, Any]:
    """Measure Snakemake on the configuration in the copy of the repository."""
    fixed = ["-m", "snakemake", "all", "--configfile", CONFIG, "--cores", "1"]
    return measure([sys.executable, *fixed, *words], root)


def measure_plan(num_clips: int, clips_per_shard: int) -> dict[str, Any]:
    """A dry run of everything, when nothing is there yet."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy_repository(Path(folder) / "graph")
        (root / CONFIG).write_text(yaml.safe_dump(configuration(num_clips, clips_per_shard)))
        measured = snakemake(root, "-n", "--quiet", "rules")
    jobs = int(re.search(r"^total +(\d+)", measured.pop("told"), re.MULTILINE).group(1))
    return measured | {"jobs": jobs, "shards": math.ceil(num_clips / clips_per_shard)}


def measure_done(num_shards: int) -> dict[str, Any]:
    """A dry run when everything is there and as it was made."""
    with tempfile.TemporaryDirectory() as folder:
        root = copy_repository(Path(folder) / "graph")
        config = configuration(num_shards * 100, 100)
        (root / CONFIG).write_text(yaml.safe_dump(config))
        for output in (root / output for step in Plan(config, root).steps() for output in step.outputs):
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text("made\n")
        touched = snakemake(root, "--touch", "--forceall", "--quiet")
        measured = snakemake(root, "-n")
        books = sum(path.stat().st_size for path in (root / ".snakemake").rglob("*") if path.is_file())
    if "Nothing to be done" not in measured.pop("told"):
        raise RuntimeError(f"{num_shards} shards: there is something to do in a finished graph")
    return measured | {"books_mb": round(books / 1e6, 1), "touch_cpu_seconds": touched["cpu_seconds"]}


def measure_order(num_clips: int, world_size: int, clips_per_shard: int = 128) -> dict[str, Any]:
    """One epoch of all ranks: steps, clips that the next epoch begins with, and how well shards are mixed."""
    permutation.cache_clear()
    began = time.process_time()
    permutation(num_clips, 42, 0)
    spent = time.process_time() - began
    num_steps = num_clips // (BATCH * world_size)
    read = np.array(
        [
            [
                sample_ids(num_clips, seed=42, step=step, batch_size=BATCH, rank=rank, world_size=world_size)
                for step in range(num_steps)
            ]
            for rank in range(world_size)
        ]
    )[..., 1]  # (ranks, steps, batch): every rank has equally many steps, or this is no array
    if len(np.unique(read)) != read.size:
        raise RuntimeError(f"{world_size} ranks: a clip twice in an epoch")
    mixed = mixing(read // clips_per_shard, math.ceil(num_clips / clips_per_shard))
    return {"steps": num_steps, "left_over": num_clips - read.size, **mixed, "permutation_cpu_seconds": round(spent, 3)}


def mixing(shards: np.ndarray, num_shards: int, window: int = 64) -> dict[str, float]:
    """How the clips that ranks read, given as shard numbers (ranks, steps, batch), are spread over the shards.

    `same_shard`: pairs that a rank reads in turn and that are of one shard, times the number of shards: 1 for a fair
    draw. `shards_in_64`: distinct shards among 64 clips that all ranks read in turn, by that of a fair draw, which is
    S (1 - (1 - 1/S)^64).
    """
    by_rank = shards.reshape(len(shards), -1)
    together = shards.transpose(1, 0, 2).ravel()
    windows = together[: len(together) // window * window].reshape(-1, window)
    fair = num_shards * (1 - (1 - 1 / num_shards) ** window)
    return {
        "same_shard": round(float((by_rank[:, 1:] == by_rank[:, :-1]).mean() * num_shards), 2),
        "shards_in_64": round(float(np.mean([len(set(row)) for row in windows.tolist()]) / fair), 3),
    }


def measure_index(num_clips: int) -> dict[str, Any]:
    """Open an index in a process of its own (benchmarks/index.py)."""
    command = [sys.executable, str(Path(__file__).with_name("index.py")), "--clips", str(num_clips)]
    text = measure(command, Path(__file__).resolve().parents[1])["told"]
    size = re.search(r"index.json: ([\d.]+) MB", text).group(1)
    seconds, held, peak = re.search(r"opened in ([\d.]+) CPU-s; holds (\d+) MiB, (\d+)", text).groups()
    return {"mb": float(size), "cpu_seconds": float(seconds), "held_mib": int(held), "peak_mib": int(peak)}


PARTS: dict[str, tuple[Callable[..., dict[str, Any]], list[dict[str, int]]]] = {
    "plan": (
        measure_plan,
        [{"num_clips": clips, "clips_per_shard": each} for clips in CLIPS for each in CLIPS_PER_SHARD],
    ),
    "done": (measure_done, [{"num_shards": number} for number in FINISHED_SHARDS]),
    "order": (
        measure_order,
        [{"num_clips": clips, "world_size": ranks} for clips in CLIPS for ranks in RANKS],
    ),
    "index": (measure_index, [{"num_clips": clips} for clips in INDEX_CLIPS]),
}
"""Each part's function, and what it is called with."""


def complete(out: Path, parts: list[str], most_shards: int) -> None:
    """Measure what is not there yet, and write each result at once."""
    file = out / "measured.jsonl"
    known = [row["of"] for row in read_rows(file)]
    for part in parts:
        function, calls = PARTS[part]
        for words in calls:
            of = {"part": part, **words}
            is_large = part == "plan" and words["num_clips"] / words["clips_per_shard"] > most_shards
            if of in known or is_large:
                continue
            print(f"{part} {words}", flush=True)
            row = {"of": of, **function(**words)}
            with file.open("a") as lines:
                lines.write(json.dumps(row) + "\n")


def read_rows(file: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def tell_tables(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A Markdown table for each part."""
    for part in PARTS:
        found = [{**row["of"], **{key: value for key, value in row.items() if key != "of"}} for row in rows]
        found = [row for row in found if row.pop("part") == part]
        if found:
            found.sort(key=lambda row: [value for value in row.values() if isinstance(value, int)][:2])
            keys = [key for key in found[0] if key != "seconds"]
            yield f"\n{part}\n\n| {' | '.join(keys)} |\n|{'---|' * len(keys)}"
            for row in found:
                yield "| " + " | ".join(f"{row[key]:,}" for key in keys) + " |"


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """CPU-seconds and memory of a plan over the number of shards; they do not depend on the number of clips."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for panel, ticks in zip(axes, ((3, 10, 30, 100), (150, 300, 600, 1200)), strict=True):
        panel.set(xscale="log", yscale="log", xlabel="shards")
        panel.set_yticks(ticks, [str(tick) for tick in ticks])
        panel.set_yticks([], minor=True)
        panel.grid(alpha=0.3)
    for clips, marker in zip(CLIPS, "os^", strict=True):
        found = [row for row in rows if row["of"]["part"] == "plan" and row["of"]["num_clips"] == clips]
        found.sort(key=lambda row: row["shards"])
        for panel, key in zip(axes, ("cpu_seconds", "peak_mib"), strict=True):
            panel.plot([row["shards"] for row in found], [row[key] for row in found], marker, label=f"{clips:,} clips")
    done = [row for row in rows if row["of"]["part"] == "done"]
    for panel, key in zip(axes, ("cpu_seconds", "peak_mib"), strict=True):
        panel.plot([row["of"]["num_shards"] for row in done], [row[key] for row in done], "kx", label="nothing to do")
    axes[0].set_title("snakemake -n: CPU-seconds", loc="left", fontsize=10)
    axes[1].set_title("peak memory, MiB", loc="left", fontsize=10)
    axes[0].legend(fontsize=8)
    figure.savefig(file, dpi=80, metadata={"Software": None})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--most-shards", type=int, default=4000, help="larger plans are left out (default 4000)")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    complete(options.out, options.part, options.most_shards)
    rows = read_rows(options.out / "measured.jsonl")
    print("\n".join(tell_tables(rows)))
    if any(row["of"]["part"] == "plan" for row in rows):
        draw(rows, options.out / "scale.png")


if __name__ == "__main__":
    main()
