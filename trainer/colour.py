"""Colour jitter of uint8 frames as torchvision defines it for images, in a few passes of OpenCV.

Legend: T frames, H W pixels.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from trainer.config import DataConfig

cv2.setNumThreads(0)  # a loader process has one core

LUMA = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601: what grey means to contrast and saturation."""
SAME, BLACK, GREY = np.eye(3, 4), np.zeros((3, 4)), np.tile([*LUMA, 0.0], (3, 1))
"""Affine maps (3, 4) of a colour: the colour itself, black, and its grey."""
FLOOR = -0.499
"""Added before OpenCV rounds to nearest: the blends are defined to drop the fraction, and whole values must stay."""
THUMBNAIL_SIDE = 64
"""Contrast needs a frame's mean: it is taken over a grid of about this many pixels a side."""


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """The colour change of each of T frames."""

    brightness: np.ndarray
    """(T,) factors"""
    contrast: np.ndarray
    """(T,) factors of the distance to the frame's mean grey"""
    saturation: np.ndarray
    """(T,) factors of the distance to each pixel's grey"""
    hue: np.ndarray
    """(T,) whole 256ths of a turn, added"""
    order: np.ndarray
    """(T, 4): a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue"""


def draw_jitter(num_frames: int, config: DataConfig, rng: np.random.Generator) -> Jitter:
    """Draw a jitter for each frame: factors U(1 +- setting), never negative, hue U(+- setting) turns, random order."""
    brightness, contrast, saturation = (
        rng.uniform(max(0.0, 1 - spread), 1 + spread, num_frames)
        for spread in (config.brightness, config.contrast, config.saturation)
    )
    hue = np.trunc(rng.uniform(-config.hue, config.hue, num_frames) * 255).astype(int)
    order = rng.permuted(np.tile(np.arange(4), (num_frames, 1)), axis=1)
    return Jitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue, order=order)


def thumbnail_of(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) at every k-th pixel, about THUMBNAIL_SIDE a side: enough for the mean that contrast needs."""
    step = max(1, min(frame.shape[:2]) // THUMBNAIL_SIDE)
    return np.ascontiguousarray(frame[step // 2 :: step, step // 2 :: step])


def jitter_colours(
    pixels: np.ndarray, thumbnail: np.ndarray, jitter: Jitter, frame: int
) -> tuple[np.ndarray, np.ndarray]:
    """Apply the jitter of one frame to `pixels` (any part of it, (h, w, 3) uint8) and to its thumbnail.

    Each step rounds down to uint8, as torchvision's do (ColorJitter of PIL images).
    """
    for operation in jitter.order[frame]:
        if operation == 3:
            if jitter.hue[frame]:
                pixels, thumbnail = (turn_hue(image, int(jitter.hue[frame])) for image in (pixels, thumbnail))
            continue
        if operation == 0:
            matrix = _blend(jitter.brightness[frame], BLACK)
        elif operation == 1:
            mean = np.floor(LUMA @ cv2.mean(thumbnail)[:3] + 0.5)
            matrix = _blend(jitter.contrast[frame], BLACK + np.array([0, 0, 0, mean]))
        else:
            matrix = _blend(jitter.saturation[frame], GREY)
        pixels, thumbnail = cv2.transform(pixels, matrix), cv2.transform(thumbnail, matrix)
    return pixels, thumbnail


def _blend(factor: float, other: np.ndarray) -> np.ndarray:
    """The affine map (3, 4) of colours to factor * colour + (1 - factor) * other(colour), rounded down."""
    matrix = factor * SAME + (1 - factor) * other
    matrix[:, 3] += FLOOR
    return matrix


def turn_hue(image: np.ndarray, shift: int) -> np.ndarray:
    """Add `shift` 256ths of a turn to the hue of an image (h, w, 3) uint8."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    # OpenCV counts 256 hues to a turn on the way there and 255 on the way back.
    table = np.rint((np.arange(256) + shift) % 256 * (255 / 256)).astype(np.uint8)
    cv2.insertChannel(cv2.LUT(cv2.extractChannel(hsv, 0), table), hsv, 0)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
