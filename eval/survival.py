"""Metrics of Dynamic Replica and PointOdyssey: accuracy by visibility, survival, median trajectory error.

Sources: the evaluation of Dynamic Replica in CoTracker (Karaev et al., 2024) and PointOdyssey (Zheng et al., 2023).
Both scale positions to 256x256; here in raster convention, as TAP-Vid does, where CoTracker's divides by (W - 1) / 255.
Both ask for every point in frame 0. Here a point may be asked for later, and what lies before its query is left out.
Shapes of one video: query_frame (N,), occluded (N, T) bool, tracks (N, T, 2) as (x, y) in pixels at 256x256.
"""

from __future__ import annotations

import numpy as np

from eval.tapvid import THRESHOLDS

FAILURE = 50.0
"""Pixels from the truth at which a point is lost, in both papers. The public code of PIPs++ has 16."""


def compute_accuracy(
    query_frame: np.ndarray, gt_occluded: np.ndarray, gt_tracks: np.ndarray, pred_tracks: np.ndarray
) -> dict[str, float]:
    """Share of a video's positions after the queries that are nearer to the truth than 1, 2, 4, 8, 16 pixels.

    Returns `accuracy_k`, `accuracy_vis_k`, `accuracy_occ_k` of all, visible and hidden points and, without `_k`, their
    means over thresholds; fractions, nan where there is no such position. The truth must know where hidden points are,
    as a simulator's does and an annotator's does not. Raises ValueError for shapes that do not fit.
    """
    error = _errors(query_frame, gt_occluded, gt_tracks, pred_tracks)
    after = np.arange(error.shape[1]) > np.asarray(query_frame)[:, None]  # (N, T)
    hidden = np.asarray(gt_occluded, bool)
    scores: dict[str, float] = {}
    for name, cells in {"accuracy": after, "accuracy_vis": after & ~hidden, "accuracy_occ": after & hidden}.items():
        count = np.count_nonzero(cells)
        shares = [np.count_nonzero(error[cells] < limit) / count if count else np.nan for limit in THRESHOLDS]
        scores |= {f"{name}_{limit}": share for limit, share in zip(THRESHOLDS, shares, strict=True)}
        scores[name] = float(np.mean(shares))
    return scores


def compute_survival(
    query_frame: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks: np.ndarray,
    pred_tracks: np.ndarray,
    failure: float = FAILURE,
) -> float:
    """Share of the frames from the query on in which a point was not lost yet, over all points of a video; 0..1.

    A point is lost in the first frame in which it is visible and more than `failure` pixels from the truth, and stays
    lost. Nan without points. Raises ValueError for shapes that do not fit.
    """
    error = _errors(query_frame, gt_occluded, gt_tracks, pred_tracks)
    asked = np.arange(error.shape[1]) >= np.asarray(query_frame)[:, None]  # (N, T)
    # Not `error > failure`: a position that is not a number is lost, too.
    is_lost = np.logical_or.accumulate(~(error <= failure) & ~np.asarray(gt_occluded, bool) & asked, axis=1)
    return float((~is_lost)[asked].mean()) if asked.any() else np.nan


def compute_median_trajectory_error(
    query_frame: np.ndarray, gt_occluded: np.ndarray, gt_tracks: np.ndarray, pred_tracks: np.ndarray
) -> float:
    """Median error in pixels of each point over its visible frames from the query on, averaged over a video's points.

    The query's own frame counts, as in PointOdyssey's evaluation. Points that are never visible are left out; nan
    without any other. Raises ValueError for shapes that do not fit.
    """
    error = _errors(query_frame, gt_occluded, gt_tracks, pred_tracks)
    asked = np.arange(error.shape[1]) >= np.asarray(query_frame)[:, None]  # (N, T)
    counted = asked & ~np.asarray(gt_occluded, bool)
    medians = [np.median(row[cells]) for row, cells in zip(error, counted, strict=True) if cells.any()]
    return float(np.mean(medians)) if medians else np.nan


def _errors(query_frame, gt_occluded, gt_tracks, pred_tracks) -> np.ndarray:
    """Distances (N, T) between prediction and truth; ValueError for shapes that do not fit."""
    shape = np.shape(gt_occluded)
    if len(shape) != 2:
        raise ValueError(f"gt_occluded must be (N, T), not {shape}")
    wanted = {
        "query_frame": (query_frame, shape[:1]),
        "gt_tracks": (gt_tracks, (*shape, 2)),
        "pred_tracks": (pred_tracks, (*shape, 2)),
    }
    for name, (array, fitting) in wanted.items():
        if np.shape(array) != fitting:
            raise ValueError(f"{name} must have shape {fitting} to fit gt_occluded {shape}, not {np.shape(array)}")
    return np.linalg.norm(np.asarray(pred_tracks, np.float64) - gt_tracks, axis=-1)
