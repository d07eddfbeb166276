"""What a camera did, read back from frames: how far the upper part slides, and how fast the road comes nearer.

The upper part is far away: turning slides it. The lower part is taken for a level road: driving ahead enlarges it, the
more the lower. Both become radians and metres by what they are on the true clips of a benchmark
(eval.driving.following): neither focal length nor height of the camera has to be known. Pixels are those of frames that
are shrunk to REGISTERED_WIDTH where they are wider. Frames are taken in pairs; errors of a long turn add up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import cv2
import numpy as np

REGISTERED_WIDTH = 128
HORIZON = 0.5
"""Share of the rows above the horizon: a level camera has it in the middle."""
LARGEST_SLIDE = 0.25
"""Share of the width that is searched to either side."""
APPROACHES = sorted((number / 40 for number in range(-8, 29)), key=abs)
"""Approaches that are tried first, of equally good ones the smallest: by which share the lowest row's way shrinks."""
COARSE_WIDTH = 32
NUM_ITERATIONS = 15
BLUR = 1.0
"""Sigma, pixels, of the blur before frames are compared."""
TUKEY = 4.685
"""Robust deviations beyond which a pixel has no weight (Huber, Robust Statistics, 1981)."""
LEAST_STEP = 1e-3

Warp = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From parameters to the places (h, w) x and (h, w) y where each pixel has gone."""


def recover_steps(frames: np.ndarray) -> np.ndarray:
    """What happened from each of frames (T, H, W, 3) uint8 to the next: (T, 2) float64, (0, 0) for frame 0.

    Approach of the road, the share by which the distance of the lowest row shrinks; and slide of the far part to the
    right, pixels, positive for a turn to the left.
    """
    pictures = [prepare(frame) for frame in frames]
    found = np.zeros((len(frames), 2))
    for t, (before, after) in enumerate(itertools.pairwise(pictures), start=1):
        rows = max(2, round(HORIZON * len(before)))
        slide = find_slide(before[:rows], after[:rows])
        found[t] = find_approach(before[rows:], after[rows:], slide), slide
    return found


def prepare(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) uint8 as (h, w) float32 of mean 0 and deviation 1: brightness and contrast may drift."""
    grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = grey.shape
    if width > REGISTERED_WIDTH:
        size = (REGISTERED_WIDTH, max(4, round(height * REGISTERED_WIDTH / width)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    grey = cv2.GaussianBlur(grey, (0, 0), BLUR)
    return (grey - grey.mean()) / max(float(grey.std()), 1.0)


def find_slide(before: np.ndarray, after: np.ndarray) -> float:
    """By how many pixels to the right the far part (h, w) has gone; it may also rise, and grow about its middle."""
    height, width = before.shape
    y, x = np.mgrid[:height, :width] - np.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]

    def warp(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        slide, down, growth = state
        return x * np.exp(growth) + (width - 1) / 2 + slide, y * np.exp(growth) + (height - 1) / 2 + down

    start = np.array([seek_slide(before, after), 0.0, 0.0])
    return float(_fit(before, after, warp, start, changes=(0.5, 0.5, 1 / width))[0])


def find_approach(before: np.ndarray, after: np.ndarray, slide: float) -> float:
    """The share by which the distance of the lowest row of the road (h, w) has shrunk, while the far part slid.

    A level road at the row y below the horizon is c / y away. When the camera comes k c nearer, it is at y / (1 - k y),
    and what was at x is at x / (1 - k y).
    """
    height, width = before.shape
    y, x = np.mgrid[:height, :width] + np.array([0.5, 0.5 - width / 2])[:, None, None]
    share = y / height

    def warp(state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nearer = 1 - np.clip(state[0], -1, 0.9) * share
        return x / nearer + width / 2 - 0.5 + slide, y / nearer - 0.5

    errors = [_mean_error(before, *_look(after, warp(np.array([approach])))) for approach in APPROACHES]
    start = APPROACHES[int(np.argmin(errors))]
    return float(_fit(before, after, warp, np.array([start]), changes=(0.01,))[0])


def seek_slide(before: np.ndarray, after: np.ndarray) -> float:
    """The slide, pixels, by which the overlap of (h, w) pictures differs least, by whole pixels of coarse ones."""
    height, width = before.shape
    scale = min(1.0, COARSE_WIDTH / width)
    size = (round(width * scale), max(2, round(height * scale)))
    one, other = (cv2.resize(each, size, interpolation=cv2.INTER_AREA) for each in (before, after))
    most, errors = int(LARGEST_SLIDE * size[0]), {}
    for slide in sorted(range(-most, most + 1), key=abs):  # of equal ones the smallest
        first, second, kept = max(0, -slide), max(0, slide), size[0] - abs(slide)
        errors[slide] = float(((one[:, first : first + kept] - other[:, second : second + kept]) ** 2).mean())
    return min(errors, key=errors.__getitem__) / scale


def _fit(before: np.ndarray, after: np.ndarray, warp: Warp, state: np.ndarray, changes: Sequence[float]) -> np.ndarray:
    """The parameters by which `after`, looked at where `warp` says, is most like `before` (Lucas and Kanade 1981).

    Gauss-Newton steps in units of `changes`, over which slopes are measured; pixels that fit badly lose their weight.
    """
    units = np.diag(changes)
    for _ in range(NUM_ITERATIONS):
        seen, is_inside = _look(after, warp(state))
        slopes = [(_look(after, warp(state + u))[0] - _look(after, warp(state - u))[0]) / 2 for u in units]
        rows, error = np.stack(slopes, -1)[is_inside].astype(np.float64), (before - seen)[is_inside]
        if len(error) < 8:
            break
        spread = TUKEY * max(1.4826 * float(np.median(np.abs(error))), 1e-3)
        weighted = rows * np.clip(1 - (error / spread) ** 2, 0, None)[:, None] ** 2
        curvature = weighted.T @ rows
        ridge = 1e-6 * len(error) * np.eye(len(state))  # where the picture is one colour nothing moves
        step = np.clip(np.linalg.solve(curvature + ridge, weighted.T @ error), -4, 4)
        state = state + step * changes
        if np.abs(step).max() < LEAST_STEP:
            break
    return state


def _look(picture: np.ndarray, places: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Values of a picture (h, w) at places x and y (h, w), and which of them lie inside."""
    x, y = places
    height, width = picture.shape
    seen = cv2.remap(
        picture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return seen, (x >= 0) & (x <= width - 1) & (y >= -0.5) & (y <= height - 0.5)


def _mean_error(before: np.ndarray, seen: np.ndarray, is_inside: np.ndarray) -> float:
    """Mean squared difference where it can be seen; infinite where hardly anything can."""
    return float(((before - seen)[is_inside] ** 2).mean()) if is_inside.sum() * 4 > is_inside.size else np.inf
