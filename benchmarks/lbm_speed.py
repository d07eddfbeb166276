"""Time and memory of LBM: `python -m benchmarks.lbm_speed [--part train infer memory profile] [--reference FOLDER]`.

Prints Markdown tables. With a checkout of George-Zhuang/lbm (unchanged; see lbm_reference.py) every row is measured on
both sides in the same run, in turn, and gives the ratio. Every measurement is a process of its own, pinned to as many
cores as `--threads`, fp32, batch 1, 384x512, the same random weights on both sides; seconds are CPU-seconds, the least
of `--repeats`. Compare ratios measured in one run, not absolute times. With `--device cuda`: a training step and
inference of ours on a GPU.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

TRAIN = ((2, 64), (4, 64), (2, 256), (3, 256))  # frames, points
INFER = (10, 256, 1024)
REFERENCE_POINTS = 256
"""The reference's inference is measured up to this number of points."""
RECOMPUTE = ("none", "feed_forward", "frame")
MEMORY_POINTS = 256
PROFILES = ((2, 256), (0, 10), (0, 256))  # frames (0: inference), points
SETTINGS: dict = {}
"""Of the model: the published configuration."""
CUDA_STEP = {"clips": 4, "frames": 24, "points": 256}  # the guide's: 1.68 s and 51.7 GB on an H800
MIB, GIB = 2**20, 2**30


def run_process(job: dict, module: str = "benchmarks.lbm_measure") -> dict:
    """The result of one measurement in a process of its own; exits with its one-line error where it has one."""
    command = [sys.executable, "-m", module, json.dumps(job)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(run.stdout.splitlines()[-1])
    if "error" in result:
        print(f"error: {result['error']}", file=sys.stderr)
        raise SystemExit(2)
    return result


class Bench:
    """Runs measurements as the command's options say."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.sides = ["ours", *(["reference"] if options.reference else [])]

    def measure(self, what: str, side: str = "ours", recompute: str | None = None, **job) -> dict:
        """The result of one measurement."""
        settings = SETTINGS | ({"recompute": recompute} if recompute else {})
        job |= {"what": what, "side": side, "settings": settings, "reference": str(self.options.reference)}
        return run_process(job | {"threads": self.options.threads, "repeats": self.options.repeats})


def print_row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def print_header(*cells: str) -> None:
    print_row(*cells)
    print_row("---", *["---:"] * (len(cells) - 1))


def ratio(results: dict[str, dict], name: str) -> str:
    """The reference's value in ours; a dash without the reference."""
    return f"{results['reference'][name] / results['ours'][name]:.2f}" if "reference" in results else "-"


def train(bench: Bench) -> None:
    """One training step: forward, backward, clipping and AdamW."""
    print_header("frames x points", "side", "forward, s", "backward, s", "optimiser, s", "all, s", "times", "peak, GiB")
    for frames, points in TRAIN:
        results = {side: bench.measure("train", side, frames=frames, points=points) for side in bench.sides}
        for side, result in results.items():
            seconds = [f"{result[name]:.2f}" for name in ("forward", "backward", "optimiser", "all")]
            times = ratio(results, "all") if side == "ours" else ""
            print_row(f"{frames} x {points}", side, *seconds, times, f"{result['peak'] / GIB:.2f}")


def infer(bench: Bench) -> None:
    """One frame of online inference with a full memory."""
    print_header("points", "side", "frame, s", "frames a second", "times", "peak, GiB")
    for points in INFER:
        sides = bench.sides if points <= REFERENCE_POINTS else ["ours"]
        results = {side: bench.measure("infer", side, points=points) for side in sides}
        for side, result in results.items():
            times = ratio(results, "frame") if side == "ours" else ""
            rate = f"{1 / result['frame']:.2f}"
            print_row(points, side, f"{result['frame']:.3f}", rate, times, f"{result['peak'] / GIB:.2f}")


def memory(bench: Bench) -> None:
    """Bytes kept for the backward pass, storages counted once: of one more frame (3 less 2), and the fixed rest."""
    print_header("side", "model.recompute", "points", "a frame, MiB", "fixed, MiB")
    rows = [("ours", recompute) for recompute in RECOMPUTE]
    rows += [("reference", None)] if bench.options.reference else []
    for side, recompute in rows:
        two, three = (
            bench.measure("saved", side, recompute, frames=frames, points=MEMORY_POINTS)["saved"] for frames in (2, 3)
        )
        frame = three - two
        print_row(side, recompute or "-", MEMORY_POINTS, f"{frame / MIB:.0f}", f"{(two - 2 * frame) / MIB:.0f}")


def profile(bench: Bench) -> None:
    """Where our time goes: CPU-seconds and share by part, under the profiler, which itself takes time."""
    for frames, points in PROFILES:
        what = f"a training step of {frames} frames" if frames else "a frame of inference"
        parts = bench.measure("profile", frames=frames, points=points)
        del parts["peak"]
        total = sum(parts.values())
        print(f"{what}, {points} points: {total:.2f} s\n")
        print_header("part", "s", "share")
        for name, seconds in sorted(parts.items(), key=lambda item: -item[1]):
            print_row(name, f"{seconds:.3f}", f"{seconds / total:.0%}")
        print()


def cuda(bench: Bench) -> None:
    """On a GPU: training at batch 4, 24 frames, 256 points; inference by number of points (autocast bf16).

    FLOP are those of convolutions and matrix products, of what is computed again too.
    """
    print_header("precision", "compile", "model.recompute", "step, s", "peak, GiB", "TFLOP/s", "of peak")
    for dtype in ("bfloat16", "float16"):
        for compiles in (False, True):
            for recompute in ("feed_forward", "frame"):
                result = bench.measure("cuda", recompute=recompute, dtype=dtype, compile=compiles, **CUDA_STEP)
                rate = result["flop"] / result["seconds"] / 1e12
                share = f"{rate / bench.options.peak_tflops:.1%}" if bench.options.peak_tflops else "-"
                shown = (f"{result['seconds']:.3f}", f"{result['bytes'] / GIB:.1f}", f"{rate:.1f}", share)
                print_row(dtype, compiles, recompute, *shown)
    print()
    print_header("points", "frame, ms", "frames a second")
    for points in INFER:
        seconds = bench.measure("cuda", frames=0, points=points, dtype="bfloat16")["seconds"]
        print_row(points, f"{seconds * 1000:.1f}", f"{1 / seconds:.1f}")


PARTS = {"train": train, "infer": infer, "memory": memory, "profile": profile}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--reference", type=Path, help="a checkout of George-Zhuang/lbm; needs einops")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--peak-tflops", type=float, help="of the GPU's half precision, dense: for the share of it")
    options = parser.parse_args()
    bench = Bench(options)
    parts = {"cuda": cuda} if options.device == "cuda" else {name: PARTS[name] for name in options.part}
    for name, part in parts.items():
        print(f"## {name}: {part.__doc__}\n")
        part(bench)
        print(flush=True)


if __name__ == "__main__":
    main()
