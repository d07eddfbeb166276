"""How well is motion read back from frames? `python -m benchmarks.driving_motion --truth INDEX`.

Windows of a data set of drives are spoiled by blur and noise, as made frames may be, and the motion read from them is
held against the drives' poses, as scoring does. Printed for each size and spoiling: PSNR of the spoiled frames, and
correlation and error of the turn and of the way ahead.
"""

import argparse
import sys
from collections.abc import Sequence

import cv2
import numpy as np

from eval.driving.following import calibrate, correlation, travel, without_common
from eval.driving.metrics import psnr
from eval.driving.motion import recover_steps
from eval.driving.truth import DriveTruth

SIZES = ((16, 16), (32, 32), (64, 96))
SPOILINGS = ((0.0, 0.0), (0.0, 15.0), (0.0, 40.0), (1.5, 0.0), (1.5, 15.0), (3.0, 15.0))
"""Sigma of the blur, pixels, and of the noise, grey levels."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.driving_motion", description=__doc__.splitlines()[0])
    parser.add_argument("--truth", required=True, help="index.json of shards of drives")
    parser.add_argument("--num-frames", type=int, default=16, help="of a window (default: 16)")
    parser.add_argument("--num-clips", type=int, help="the first so many (default: all)")
    options = parser.parse_args(arguments)
    truth = DriveTruth(options.truth)
    keys = truth.keys[: options.num_clips]
    print("| frames | blur px | noise | PSNR dB | turn r | turn error deg | ahead r | ahead error m |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for size in SIZES:
        clean = [truth.window(key, options.num_frames, 1, *size)[0] for key in keys]
        steps = [truth.steps(key, options.num_frames, 1) for key in keys]
        scales = calibrate([recover_steps(frames) for frames in clean], steps)
        for blur, noise in SPOILINGS:
            cells = [f"{value:.{digits}f}" for value, digits in measure(clean, steps, scales, blur, noise)]
            print(f"| {size[0]}x{size[1]} | {blur:g} | {noise:g} | {' | '.join(cells)} |", flush=True)
    return 0


def measure(
    clean: list[np.ndarray], steps: list[np.ndarray], scales: np.ndarray, blur: float, noise: float
) -> list[tuple[float, int]]:
    """PSNR, then correlation and error of turn and way ahead, each with its digits, of N windows (T, H, W, 3)."""
    rng = np.random.default_rng(0)
    spoiled = [spoil(frames, blur, noise, rng) for frames in clean]
    quality = np.mean([psnr(one, other).mean() for one, other in zip(spoiled, clean, strict=True)])
    found = [(float(quality), 1)]
    read = [travel(recover_steps(frames) * scales, 1) for frames in spoiled]
    true = [travel(step, 1) for step in steps]
    for axis in (1, 0):
        pairs = [np.stack([one[:, axis], other[:, axis]], -1) for one, other in zip(read, true, strict=True)]
        value = correlation(without_common(pairs))[0]
        found += [(np.nan if value is None else value, 3)]
        found += [(float(np.mean([np.abs(pair[:, 0] - pair[:, 1]).mean() for pair in pairs])), 2)]
    return found


def spoil(frames: np.ndarray, blur: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """Frames (T, H, W, 3) uint8, blurred and with noise."""
    blurred = [cv2.GaussianBlur(frame, (0, 0), blur) if blur else frame for frame in frames.astype(np.float32)]
    return np.clip(np.rint(np.stack(blurred) + rng.normal(0, noise, frames.shape)), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    sys.exit(main())
