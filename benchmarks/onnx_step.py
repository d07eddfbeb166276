"""CPU-seconds of one step of LBM in PyTorch and in ONNX Runtime: `python benchmarks/onnx_step.py [--points 10]`.

The same function on the same inputs, all memory slots filled, fixed threads, in turns in one process. Random weights of
the published configuration, or those of --weights. --profile says where ONNX Runtime's time goes, by kind of node.
"""

import argparse
import collections
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from trainer.models import build
from trainer.models.lbm.stepping import Step
from trainer.onnx_step import INPUTS, example_inputs, export_step, open_session
from trainer.predict import load_model


def measure(functions: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU-seconds of each function in each round, after a first round that is not counted."""
    seconds = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            began = time.process_time()
            function()
            if number:
                seconds[name].append(time.process_time() - began)
    return seconds


def profile(path: Path, feed: dict, threads: int, runs: int = 5) -> list[tuple[str, float]]:
    """Milliseconds a run that ONNX Runtime spends in each kind of node, the largest first."""
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(path, threads, enable_profiling=True, profile_file_prefix=f"{folder}/step")
        session.run(None, feed)  # the first run allocates
        began = time.perf_counter_ns()
        for _ in range(runs):
            session.run(None, feed)
        first_us = (began - session.get_profiling_start_time_ns()) / 1000
        events = json.loads(Path(session.end_profiling()).read_text())
    total = collections.Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["ts"] >= first_us:
            total[event["args"]["op_name"]] += event["dur"] / 1000 / runs
    return total.most_common(8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--memory-size", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = load_model(options.weights, "cpu")[0] if options.weights else build("lbm").eval()
    step = Step(model, options.memory_size)
    inputs = example_inputs(step, options.points)
    feed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "step.onnx"
        export_step(path, model, memory_size=options.memory_size, num_points=options.points)
        session = open_session(path, options.threads)
        largest = max(
            abs(found.astype(float) - wanted.numpy()).max()
            for found, wanted in zip(session.run(None, feed), step(*inputs), strict=True)
        )
        seconds = measure(
            {"PyTorch": lambda: step(*inputs), "ONNX Runtime": lambda: session.run(None, feed)}, options.rounds
        )
        height, width = model.config.input_size
        print(
            f"{height}x{width}, N={options.points}, M={options.memory_size}, {options.threads} thread(s): CPU-seconds"
        )
        for name, values in seconds.items():
            print(f"{name:14} best {min(values):.3f}  median {sorted(values)[len(values) // 2]:.3f}")
        print(f"PyTorch / ONNX Runtime {min(seconds['PyTorch']) / min(seconds['ONNX Runtime']):.2f}")
        print(f"largest difference of all outputs {largest:.1e}")
        for name, milliseconds in profile(path, feed, options.threads) if options.profile else []:
            print(f"  {name:20} {milliseconds:7.1f} ms")


if __name__ == "__main__":
    main()
