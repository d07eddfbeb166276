"""What rendering drives costs: `python -m benchmarks.drive_cost --assets data/assets/open`.

For each size and number of samples two drives of 22 and two of 2 frames, each pair in a process of one thread;
CPU-seconds of those processes. A frame is a fortieth of the difference: what a process and a street cost is left out.
"""

import argparse
import resource
import tempfile
from pathlib import Path

from generation.__main__ import ASSETS, RENDERER
from generation.driving.config import parse_drive
from generation.shard import Studio, render_clips

SETTINGS = ((48, 32, 8), (96, 64, 4), (96, 64, 8), (96, 64, 16), (192, 128, 8))
"""Width, height, samples a pixel."""
LONG, SHORT, SEEDS = 22, 2, [1, 4]
DRIVE = 40
"""Frames of the drive whose cost is printed."""


def main() -> None:
    """Print a table of all settings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assets", type=Path, default=ASSETS, metavar="DIR", help="default: %(default)s")
    parser.add_argument("--renderer", type=Path, default=RENDERER, metavar="PYTHON", help="default: %(default)s")
    options = parser.parse_args()
    rows = []
    for width, height, samples in SETTINGS:
        words = [f"width={width}", f"height={height}", f"samples_per_pixel={samples}"]
        long_s, short_s = (measure(options, [*words, f"num_frames={frames}"]) for frames in (LONG, SHORT))
        frame_s = (long_s - short_s) / len(SEEDS) / (LONG - SHORT)
        drive_s = short_s / len(SEEDS) + (DRIVE - SHORT) * frame_s
        rows.append(f"| {width}x{height}, {samples} | {frame_s:.2f} | {drive_s:.1f} |")
    print("\n| size, samples | CPU-seconds a frame | a drive of 40 frames |\n|---|---|---|", *rows, sep="\n")


def measure(options: argparse.Namespace, words: list[str]) -> float:
    """CPU-seconds of the renderer's process for the drives of SEEDS."""
    before = spent()
    with tempfile.TemporaryDirectory(prefix="drives-") as folder:
        studio = Studio(renderer=options.renderer, assets=options.assets, out=Path(folder) / "clips")
        render_clips(parse_drive(words), SEEDS, "drives", studio, None)
    return spent() - before


def spent() -> float:
    """CPU-seconds of all processes that this one started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
