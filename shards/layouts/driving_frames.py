"""Frames of drives: chosen from a camera's by their times, decoded, resized, made a clip without tracks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.driving.drive import Drive
from shards.layouts.files import naming
from shards.layouts.people_images import read_image
from shards.layouts.videos import resize
from shards.members import decode_frames

LARGEST_CLIP = 4 << 30
"""Bytes of a clip's pixels: a clip is in memory as a whole."""
FASTER = 1.1
"""A rate may be this much higher than the camera's own, which is no exact number."""


def resample(times_us: np.ndarray, rate_hz: float, tolerance_s: float) -> list[np.ndarray]:
    """Frames of a camera at another rate: for each time of that rate the nearest frame, none of them twice.

    `times_us` (F,) int64 microseconds, increasing. Returns runs of frame numbers, each a clip without a gap: where no
    frame is within the tolerance a run ends. Runs of one frame are left out. Raises ValueError for a rate that the
    camera does not have.
    """
    if len(times_us) < 2:
        return []
    found_hz = 1e6 * (len(times_us) - 1) / (times_us[-1] - times_us[0])
    typical_hz = max(found_hz, 1e6 / np.median(np.diff(times_us)))
    if rate_hz > FASTER * typical_hz:
        raise ValueError(f"the camera has {typical_hz:.3g} frames a second, fewer than --rate {rate_hz:g}")
    num_steps = int((times_us[-1] - times_us[0]) * rate_hz / 1e6 + 1e-6) + 1
    asked_us = times_us[0] + np.rint(np.arange(num_steps) * 1e6 / rate_hz).astype(np.int64)
    runs: list[list[int]] = [[]]
    last = -1
    for asked in asked_us:
        after = min(int(np.searchsorted(times_us, asked)), len(times_us) - 1)
        nearest = after - 1 if after > 0 and asked - times_us[after - 1] <= times_us[after] - asked else after
        frame = max(nearest, last + 1)
        if frame < len(times_us) and abs(times_us[frame] - asked) <= 1e6 * tolerance_s:
            runs[-1].append(frame)
            last = frame
        elif runs[-1]:
            runs.append([])
    return [np.array(run) for run in runs if len(run) > 1]


def read_clip_frames(paths: Sequence[Path], height: int | None) -> tuple[np.ndarray, tuple[int, int]]:
    """Images as (T, H, W, 3) uint8, resized to `height`, and their own size (H, W).

    Raises ValueError for one that is missing, damaged or of another size, and for a clip that is too large.
    """
    if not paths[0].is_file():
        raise ValueError(f"{paths[0]}: this image is missing")
    first = read_image(paths[0])
    num_bytes = len(paths) * resize(first, height).nbytes
    if num_bytes > LARGEST_CLIP:
        advice = "make it smaller with --height 320, or cut it with --window 200"
        raise ValueError(f"{len(paths)} frames are {num_bytes / 2**30:.1f} GiB of pixels in one clip; {advice}")

    def decode(path: Path) -> np.ndarray:
        image = read_image(path) if path.is_file() else None
        if image is None:
            raise ValueError(f"{path}: this image is missing")
        if image.shape != first.shape:
            raise ValueError(f"{path}: is {image.shape[1]}x{image.shape[0]}, not {first.shape[1]}x{first.shape[0]}")
        return resize(image, height)

    with naming(paths[0].parent):
        return decode_frames(paths, decode), first.shape[:2]


def drive_clip(key: str, video: np.ndarray, drive: Drive, metadata: dict[str, Any]) -> Clip:
    """A clip without tracks of a drive; `metadata` has the recipe."""
    return Clip(
        key=key,
        video=video,
        tracks=np.zeros((len(video), 0, 2), np.float32),
        visible=np.zeros((len(video), 0), bool),
        drive=drive,
        metadata=metadata,
    )
