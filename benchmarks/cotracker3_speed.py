"""Time and memory of CoTracker3: `python -m benchmarks.cotracker3_speed [--part ...] [--reference FOLDER]`.

Prints Markdown tables. With a checkout of facebookresearch/co-tracker (unchanged) every row is measured on both sides
in the same run, in turn, and gives the ratio and how far the results differ. Every measurement is a process of its own,
pinned to as many cores as `--threads`, fp32, batch 1, the published sizes, the same random weights on both sides;
seconds are CPU-seconds, the least of `--repeats`. Compare ratios measured in one run, not absolute times.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import torch

from benchmarks import cotracker3_reference
from benchmarks.lbm_speed import GIB, print_header, print_row, ratio, run_process

PARTS = {
    "offline": {"size": (256, 256), "frames": 24, "points": 256, "iterations": 4},
    "train": {"size": (256, 256), "frames": 24, "points": 64, "iterations": 4},
    "online": {"size": (384, 512), "chunks": 3, "points": 64, "iterations": 4},
}
TITLES = {
    "offline": "tracking a clip offline",
    "train": "an offline training step (forward, backward, clipping, AdamW)",
    "online": "a new frame of a stream (windows of 16 frames, all but the first)",
}


def compare(found: dict[str, Path]) -> str:
    """The largest differences of what the two sides found: points in pixels, losses and gradients as a share."""
    ours, reference = (torch.load(path, weights_only=True) for path in found.values())
    differences = {name: (ours[name] - reference[name]).abs().max() for name in ours}
    for name in differences.keys() & {"loss", "gradients' lengths"}:
        differences[name] /= reference[name].abs().max()
    return ", ".join(f"{name} {float(value):.1e}" for name, value in differences.items())


def measure(part: str, options: argparse.Namespace, **more) -> None:
    """The table of one part."""
    job = {"what": part, "threads": options.threads, "repeats": options.repeats, **PARTS[part], **more}
    with tempfile.TemporaryDirectory() as folder:
        found = {
            side: Path(folder) / f"{side}.pt" for side in ("ours", "reference") if side == "ours" or options.reference
        }
        results = {
            side: run_process(
                job | {"side": side, "reference": str(options.reference), "found": str(path)},
                "benchmarks.cotracker3_measure",
            )
            for side, path in found.items()
        }
        print_header("side", "CPU-s", "times", "peak, GiB")
        for side, result in results.items():
            times = ratio(results, "seconds") if side == "ours" else ""
            print_row(side, f"{result['seconds']:.3f}", times, f"{result['peak'] / GIB:.2f}")
        if options.reference:
            print(f"\nlargest differences: {compare(found)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--reference", type=Path, help="a checkout of facebookresearch/co-tracker")
    parser.add_argument("--recompute", action="store_true", help="train with model.recompute (ours)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    if options.reference:
        try:
            cotracker3_reference.check(options.reference)
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from None
    for part in options.part:
        settings = ", ".join(f"{name} {value}" for name, value in PARTS[part].items())
        print(f"## {TITLES[part]}; {settings}\n")
        measure(part, options, **({"recompute": True} if options.recompute and part == "train" else {}))
        print(flush=True)


if __name__ == "__main__":
    main()
