"""Boxes as arrays: (D, 4) float64 as left, top, right, bottom in source pixels (raster convention)."""

import numpy as np


def from_xywh(xywh: np.ndarray) -> np.ndarray:
    """Left, top, width, height (D, 4) to left, top, right, bottom (D, 4)."""
    xywh = np.asarray(xywh, np.float64).reshape(-1, 4)
    return np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)


def to_xywh(boxes: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom (D, 4) to left, top, width, height (D, 4)."""
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)


def clip_to_frame(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of each box (D, 4) in a frame of `size` (height, width); width or height 0 where there is none."""
    height, width = size
    return np.clip(boxes, 0, [width, height, width, height])


def areas(boxes: np.ndarray) -> np.ndarray:
    """Area of each box (D, 4) -> (D,) in square pixels."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def centres(boxes: np.ndarray) -> np.ndarray:
    """Centre (x, y) of each box (D, 4) -> (D, 2)."""
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def overlaps(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes (D, 4) and (E, 4) -> (D, E); 0 where both are empty."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(-1)  # (D, E)
    union = areas(first)[:, None] + areas(second)[None] - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def contain(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Whether each box (D, 4) has each point (N, 2) inside or on its edge -> (D, N) bool."""
    return ((points >= boxes[:, None, :2]) & (points <= boxes[:, None, 2:])).all(-1)
