"""Whether made frames follow what the model was told: motion read back from them, against the motion that was told.

Motion is a step (forward metres, radians to the left) for each frame. What `recover_steps` reads is in pixels and
shares; the true clips of the benchmark say how much that is (`calibrate`), and how exact it is at best: the floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from eval.compare import CONFIDENCE
from eval.people.summary import NUM_RESAMPLES, divide

LEAST_PAIRS = 3
"""Fewer frames than this say nothing of a correlation."""


def calibrate(recovered: Sequence[np.ndarray], true: Sequence[np.ndarray]) -> np.ndarray:
    """Metres of an approach of 1, and radians of a slide of 1 pixel: (2,), NaN where the true clips do not show it.

    recovered: N arrays (T, 2) of `recover_steps` of true frames; true: their steps (T, 2) by `steps_of`. The line
    through 0 with the least sum of |recovered - line|: a frame that was read wrongly does not tilt it.
    """
    if not recovered:
        return np.full(2, np.nan)
    read, known = np.concatenate(recovered), np.concatenate(true)
    slopes = np.array([_least_absolute_slope(known[:, axis], read[:, axis]) for axis in (0, 1)])
    return np.where(slopes > 0, 1 / np.where(slopes > 0, slopes, 1), np.nan)


def _least_absolute_slope(x: np.ndarray, y: np.ndarray) -> float:
    """The slope b with the least sum of |y - b x|: the median of y / x, weighted by |x|; NaN where x is always 0."""
    is_moving = np.abs(x) > 1e-6
    if not is_moving.any():
        return np.nan
    ratio, weight = y[is_moving] / x[is_moving], np.abs(x[is_moving])
    order = np.argsort(ratio)
    below = np.cumsum(weight[order])
    return float(ratio[order][np.searchsorted(below, below[-1] / 2)])


def travel(steps: np.ndarray, num_given: int) -> np.ndarray:
    """Steps (T, 2) as metres ahead and degrees to the left since the last given frame, for each made frame (T', 2)."""
    return np.cumsum(steps[num_given:], axis=0) * [1, 180 / np.pi]


def without_common(pairs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Pairs (T, 2) of N clips less their mean over the clips at each frame.

    Whatever drives gets ahead with time: that is no sign that it was told to.
    """
    return list(np.array(pairs) - np.mean(pairs, axis=0)) if len(pairs) else []


def correlation(pairs: Sequence[np.ndarray], seed: int = 0) -> tuple[float | None, list[float] | None, int]:
    """Pearson's correlation over all frames of N clips, each pairs (T, 2); its interval over clips; number of frames.

    Whole clips are resampled (eval.people.summary). None where there are too few frames, or one side never varies; no
    interval for a single clip.
    """
    sums = np.array([_moments(pair) for pair in pairs]).reshape(-1, 6)
    num_frames = int(sums[:, 0].sum())
    value = float(_correlate(sums.sum(0)))
    if num_frames < LEAST_PAIRS or not np.isfinite(value):
        return None, None, num_frames
    if len(sums) < 2:
        return value, None, num_frames
    share = np.full(len(sums), 1 / len(sums))
    drawn = np.random.default_rng(seed).multinomial(len(sums), share, NUM_RESAMPLES).astype(np.float64)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(_correlate(drawn @ sums), [tail, 1 - tail])
    return value, [float(low), float(high)], num_frames


def _moments(pair: np.ndarray) -> np.ndarray:
    """Count, sums, squares and product of pairs (T, 2)."""
    x, y = pair.T
    return np.array([len(pair), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum()])


def _correlate(moments: np.ndarray) -> np.ndarray:
    """Correlation of moments (..., 6); NaN where one side does not vary."""
    count, x, y, xx, yy, xy = np.moveaxis(moments, -1, 0)
    spread_x, spread_y = count * xx - x * x, count * yy - y * y
    varies = (spread_x > 1e-9 * np.maximum(count * xx, 1e-12)) & (spread_y > 1e-9 * np.maximum(count * yy, 1e-12))
    spread = np.sqrt(np.where(varies, spread_x * spread_y, 1))
    return divide(np.where(varies, count * xy - x * y, 0), np.where(varies, spread, 0))
