"""CPU-seconds of annotating rendered clips: `python benchmarks/annotation.py CLIP... [--tracks 2048]`, one thread."""

import argparse
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from generation.annotate import annotate, annotate_densely, flow
from generation.config import TrackConfig
from generation.stored import read_passes


def spent(work) -> tuple[float, object]:
    """CPU-seconds of a call, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--tracks", nargs="+", type=int, default=[256, 2048, 8192])
    options = parser.parse_args()
    header = ["clip", "frames, size", "read", *(f"{n} tracks" for n in options.tracks), "one dense frame", "flow"]
    print("| " + " | ".join(header) + " |\n" + "|---" * len(header) + "|")
    for clip in options.clips:
        seconds, passes = spent(lambda clip=clip: read_passes(clip))
        columns = [clip.name, "x".join(map(str, passes.depth_m.shape)), f"{seconds:.2f}"]
        for count in options.tracks:
            rng = np.random.default_rng(0)
            config = TrackConfig(num_tracks=count)
            columns.append(f"{spent(lambda p=passes, c=config, r=rng: annotate(p, c, r))[0]:.2f}")
        columns.append(f"{spent(lambda p=passes: annotate_densely(p, 0))[0]:.2f}")
        columns.append(f"{spent(lambda p=passes: flow(p, 1))[0]:.2f}")
        print("| " + " | ".join(columns) + " |", flush=True)


if __name__ == "__main__":
    main()
