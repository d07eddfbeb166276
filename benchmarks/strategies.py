"""Losses of a training's first steps by every strategy: `python -m benchmarks.strategies [--shards-root data/shards]`.

Trains the default graph's stages on their own data, four clips a step in micro-batches of one, with one process and
with every `training.strategy`; hsdp has two nodes of two processes, the others two processes, all on this machine.
Prints the rows of the table in docs/explanation/training.md: the sum of the losses of each step, and seconds a step
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
from importlib.util import find_spec
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
STAGES = {"LBM": "lbm", "CoTracker3": "cotracker3_offline"}
PLACES = {"one": (1, 1), "ddp": (2, 2), "fsdp": (2, 2), "hsdp": (4, 2), "deepspeed_zero2": (2, 2)}
"""Processes, and processes of a node."""


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


def measure(stage: str, strategy: str, options: argparse.Namespace) -> tuple[list[float], float]:
    """The loss of each step, and the mean seconds of the steps after the first."""
    overrides = yaml.safe_load((ROOT / "config/config.yaml").read_text())["stages"][stage]["overrides"]
    how = "ddp" if strategy == "one" else strategy
    own = ["global_batch_size=4", "batch_size=1", f"num_steps={options.steps}", f"strategy={how}"]
    with tempfile.TemporaryDirectory() as folder:
        paths = [f"shards_root={options.shards_root}", f"run_root={folder}/runs", f"output_dir={folder}/out"]
        paths += [f"deepspeed_op={options.deepspeed_op}"]
        words = [*(f"training.{word}" for word in own), *(f"paths.{word}" for word in paths), "logging.log_every=1"]
        train([f"stage={stage}", *overrides, *words], *PLACES[strategy])
        rows = [json.loads(line) for line in (Path(folder) / "out" / "metrics.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in rows]
    return [row["loss"] for row in rows], (seconds[-1] - seconds[0]) / (len(rows) - 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards-root", default="data/shards")
    parser.add_argument("--deepspeed-op", default="data/deepspeed_op")
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    for name, stage in STAGES.items():
        for strategy, (num_processes, per_node) in PLACES.items():
            if strategy == "deepspeed_zero2" and find_spec("deepspeed") is None:
                continue
            losses, seconds = measure(stage, strategy, options)
            nodes = num_processes // per_node
            where = "one" if strategy == "one" else f"`{strategy}`, {f'{nodes} x ' * (nodes > 1)}{per_node}"
            print(f"| {name} | {where} | {' | '.join(f'{loss:.6f}' for loss in losses)} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
