"""What the pictures of a clip are like: pure functions of video (T, H, W, 3) uint8."""

from __future__ import annotations

import hashlib
import math

import numpy as np

LUMA = (0.2126, 0.7152, 0.0722)
"""Weights of red, green and blue in Rec. ITU-R BT.709."""


def brightness(video: np.ndarray) -> float:
    """Mean luma of all frames, 0 (black) to 1 (white), of the values as they are stored."""
    # Whole numbers channel by channel: exact, and ten times as fast as a mean over three axes.
    means = [int(video[..., channel].sum(dtype=np.int64)) / video[..., channel].size for channel in range(3)]
    return sum(weight * mean for weight, mean in zip(LUMA, means, strict=True)) / 255


def constant_frames(video: np.ndarray) -> list[int]:
    """Numbers of the frames in which all pixels have one colour."""
    # Most frames are ruled out by their first row.
    return [t for t, frame in enumerate(video) if _is_constant(frame[:1]) and _is_constant(frame)]


def _is_constant(image: np.ndarray) -> bool:
    return bool((image == image[0, 0]).all())


def repeated_frames(video: np.ndarray) -> list[int]:
    """Numbers of the frames that are equal to the frame before them, pixel by pixel."""
    return [t for t in range(1, len(video)) if np.array_equal(video[t], video[t - 1])]


def digest_frames(video: np.ndarray) -> str:
    """sha256 of the size and the pixels: equal for equal pictures, whatever the clip's name."""
    return hashlib.sha256(f"{video.shape}".encode() + np.ascontiguousarray(video).tobytes()).hexdigest()


def sample_grid(maps: np.ndarray, at_most: int) -> np.ndarray:
    """At most `at_most` values of maps (T, H, W), T of them or more: the same square grid of pixels in each."""
    num_maps, height, width = maps.shape
    step = 1
    while num_maps * math.ceil(height / step) * math.ceil(width / step) > at_most and step < max(height, width):
        step += 1
    return maps[:, step // 2 :: step, step // 2 :: step].reshape(-1)
