"""Re-detection: how well a tracker follows a point once it comes back from hiding (AJ_RD of TAPNext++).

As tapnextpp/metrics/aj_rd.py of tapnet has it, in double precision. An event is a frame in which a point is visible
after a hidden one, if it was hidden longer than before any earlier event of its track; a point that begins hidden has
its first event where it first appears. An event's score is the Jaccard index of its track from there to the last frame.
"""

from __future__ import annotations

import numpy as np

from eval.tapvid import THRESHOLDS

MINIMUM_FRAMES = (1, 4, 16, 64, 256)
"""Frames of hiding at least: an average is taken over the events of each, and the mean of them is AJ_RD."""


def find_events(gt_occluded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the events of (N, T) bool: track, frame and number of hidden frames before it, each (E,), track by track."""
    hidden = np.asarray(gt_occluded, bool)
    if hidden.ndim != 2:
        raise ValueError(f"gt_occluded must be (N, T), not {hidden.shape}")
    frames = np.arange(hidden.shape[1])
    last_visible = np.maximum.accumulate(np.where(hidden, -1, frames), axis=1)  # (N, T), -1 where there was none
    tracks, returns = np.nonzero(~hidden[:, 1:] & hidden[:, :-1])
    lengths = returns - last_visible[tracks, returns]  # frame `returns` is the last hidden one
    longest = np.zeros(hidden.shape, np.int64)
    longest[tracks, returns + 1] = lengths
    longest = np.maximum.accumulate(longest, axis=1)
    is_longer = lengths > longest[tracks, returns]
    return tracks[is_longer], returns[is_longer] + 1, lengths[is_longer]


def compute_redetection(
    gt_occluded: np.ndarray, gt_tracks: np.ndarray, pred_occluded: np.ndarray, pred_tracks: np.ndarray
) -> dict[str, float]:
    """Score one video's re-detections; every value is a fraction in 0..1, nan where there is no event.

    gt_occluded, pred_occluded: (N, T) bool; gt_tracks, pred_tracks: (N, T, 2) as (x, y) in pixels at 256x256.
    Errors up to and including a threshold count as near, unlike TAP-Vid's. Returns `aj_rd_min_d` for each of
    MINIMUM_FRAMES, the mean over thresholds and over events that were hidden for d frames or more, and their mean
    `aj_rd`. Raises ValueError for shapes that do not fit.
    """
    shape = np.shape(gt_occluded)
    wanted = {"gt_tracks": (gt_tracks, (*shape, 2)), "pred_occluded": (pred_occluded, shape)}
    for name, (array, fitting) in (wanted | {"pred_tracks": (pred_tracks, (*shape, 2))}).items():
        if np.shape(array) != fitting:
            raise ValueError(f"{name} must have shape {fitting} to fit gt_occluded {shape}, not {np.shape(array)}")
    tracks, frames, lengths = find_events(gt_occluded)
    jaccard = _jaccard_to_the_end(gt_occluded, gt_tracks, pred_occluded, pred_tracks)[:, tracks, frames]  # (K, E)
    scores = {}
    for minimum in MINIMUM_FRAMES:
        chosen = lengths >= minimum
        scores[f"aj_rd_min_{minimum}"] = float(jaccard[:, chosen].mean()) if chosen.any() else np.nan
    defined = [score for score in scores.values() if not np.isnan(score)]
    return scores | {"aj_rd": float(np.mean(defined)) if defined else np.nan}


def _jaccard_to_the_end(gt_occluded, gt_tracks, pred_occluded, pred_tracks) -> np.ndarray:
    """The Jaccard index of every track from every frame to the last one: (K, N, T), nan where nothing counts."""
    visible, pred_visible = ~np.asarray(gt_occluded, bool), ~np.asarray(pred_occluded, bool)
    error = np.linalg.norm(np.asarray(pred_tracks, np.float64) - gt_tracks, axis=-1)  # (N, T)
    is_near = error <= np.reshape(THRESHOLDS, (-1, 1, 1))  # (K, N, T)
    true_positives = _count_to_the_end(is_near & visible & pred_visible)
    all_positives = _count_to_the_end(visible) + _count_to_the_end(pred_visible) - true_positives
    with np.errstate(invalid="ignore"):
        return true_positives / all_positives


def _count_to_the_end(cells: np.ndarray) -> np.ndarray:
    return np.cumsum(cells[..., ::-1], axis=-1)[..., ::-1]
