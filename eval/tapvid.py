"""TAP-Vid metrics and query sampling (Doersch et al., TAP-Vid: A Benchmark for Tracking Any Point in a Video, 2022).

Names, arguments and result keys are those of the official evaluation, so that it can be replaced by this module.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Height and width at which positions are compared; results at another size belong to another category.
RESOLUTION = 256

# Pixels at that size. Each one adds a `pts_within_` and a `jaccard_` key; the averages are taken over all of them.
THRESHOLDS = (1, 2, 4, 8, 16)

QUERY_MODES = ("first", "strided")
QUERY_STRIDE = 5


def compute_tapvid_metrics(
    query_points: np.ndarray,
    gt_occluded: np.ndarray,
    gt_tracks: np.ndarray,
    pred_occluded: np.ndarray,
    pred_tracks: np.ndarray,
    query_mode: str,
    get_trackwise_metrics: bool = False,
) -> dict[str, np.ndarray]:
    """Score predicted tracks of B videos against the truth; every metric is a fraction in 0..1.

    Args:
      query_points: (B, N, 3) queries (t, y, x); t is rounded half to even.
      gt_occluded, pred_occluded: (B, N, T) bool, true where the point is hidden.
      gt_tracks, pred_tracks: (B, N, T, 2) positions (x, y), pixels of the video at 256x256.
      query_mode: "first" scores the frames after the query, "strided" all frames but the query's.
      get_trackwise_metrics: one value a track, (B, N), instead of one a video, (B,).

    Returns `occlusion_accuracy` (share of scored cells whose visibility is right); for each threshold k `pts_within_k`
    (share of truly visible cells whose error is below k, whatever visibility was predicted) and `jaccard_k` (true
    positives over truly visible cells plus false positives); and their means over thresholds, `average_jaccard` and
    `average_pts_within_thresh`. Nothing to count (0/0) is nan; a nan position is never within a threshold.

    Raises ValueError for an unknown query mode, shapes that do not fit and query frames outside of the video.
    """
    shape = _checked_shape(query_points, gt_occluded, gt_tracks, pred_occluded, pred_tracks)  # (B, N, T)
    visible = ~np.asarray(gt_occluded, bool)
    pred_visible = ~np.asarray(pred_occluded, bool)
    evaluated = _evaluated_cells(query_points, shape[-1], query_mode)
    level = _threshold_level(gt_tracks, pred_tracks)

    counts = _count_cells(level, visible, pred_visible, evaluated, get_trackwise_metrics)  # (..., K + 1, 2, 2)
    # Sum over levels up to k: the cells whose error is below threshold k. All thresholds at once: calls cost most here.
    within = np.cumsum(counts, axis=-3)  # (..., K + 1, visible, predicted visible)
    below, total = within[..., :-1, 1, :], within[..., -1, :, :]  # (..., K, 2), (..., 2, 2)
    num_visible = total[..., 1, :].sum(-1, keepdims=True)  # (..., 1)
    true_positives = below[..., 1]  # (..., K)
    # Whatever was predicted visible and is no true positive is a false one: hidden in truth, or too far away.
    false_positives = total[..., 1].sum(-1, keepdims=True) - true_positives
    with np.errstate(divide="ignore", invalid="ignore"):
        occlusion_accuracy = (total[..., 0, 0] + total[..., 1, 1]) / total.sum((-2, -1))
        pts_within = below.sum(-1) / num_visible
        jaccard = true_positives / (num_visible + false_positives)
    metrics: dict[str, np.ndarray] = {"occlusion_accuracy": occlusion_accuracy}
    for index, threshold in enumerate(sorted(THRESHOLDS)):
        metrics[f"pts_within_{threshold}"] = pts_within[..., index]
        metrics[f"jaccard_{threshold}"] = jaccard[..., index]
    metrics["average_jaccard"] = jaccard.mean(-1)
    metrics["average_pts_within_thresh"] = pts_within.mean(-1)
    return metrics


def _checked_shape(query_points, gt_occluded, gt_tracks, pred_occluded, pred_tracks) -> tuple[int, int, int]:
    """Return (B, N, T), or raise ValueError naming the argument whose shape does not fit."""
    shape = np.shape(gt_occluded)
    if len(shape) != 3:
        raise ValueError(f"gt_occluded must be (B, N, T), not {shape}")
    wanted = {
        "query_points": (query_points, (*shape[:2], 3)),
        "gt_tracks": (gt_tracks, (*shape, 2)),
        "pred_occluded": (pred_occluded, shape),
        "pred_tracks": (pred_tracks, (*shape, 2)),
    }
    for name, (array, wanted_shape) in wanted.items():
        if np.shape(array) != wanted_shape:
            raise ValueError(f"{name} must have shape {wanted_shape} to fit gt_occluded {shape}, not {np.shape(array)}")
    return shape


def _evaluated_cells(query_points: np.ndarray, num_frames: int, query_mode: str) -> np.ndarray:
    """Return (B, N, T) bool: the cells that the query mode scores."""
    if query_mode not in QUERY_MODES:
        raise ValueError(f"unknown query mode {query_mode!r}; choose one of {', '.join(QUERY_MODES)}")
    query_frame = np.round(np.asarray(query_points)[..., 0])  # (B, N)
    if not np.all((query_frame >= 0) & (query_frame < num_frames)):
        raise ValueError(f"query_points: query frames must lie in 0..{num_frames - 1}; the order is (t, y, x)")
    frames = np.arange(num_frames)
    query_frame = query_frame.astype(np.int64)[..., None]
    return frames > query_frame if query_mode == "first" else frames != query_frame


def _threshold_level(gt_tracks: np.ndarray, pred_tracks: np.ndarray) -> np.ndarray:
    """Return (B, N, T) uint8: how many thresholds the error reaches or passes; nan errors pass all."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.asarray(pred_tracks) - np.asarray(gt_tracks)  # (B, N, T, 2)
        error *= error
        distance2 = error[..., 0] + error[..., 1]
        level = np.zeros(distance2.shape, np.uint8)
        # Adding a few comparisons is vectorised; a binary search in so short a list is five times slower.
        for threshold in THRESHOLDS:
            level += ~(distance2 < threshold**2)
    return level


def _count_cells(level, visible, pred_visible, evaluated, trackwise: bool) -> np.ndarray:
    """Histogram the scored cells by row, error level, true and predicted visibility: (B or B, N; K + 1, 2, 2) ints."""
    num_levels = len(THRESHOLDS) + 1
    rows = visible.shape[:2] if trackwise else visible.shape[:1]
    bins_per_row = num_levels * 4
    code = (level * np.uint8(4) + visible * np.uint8(2) + pred_visible).astype(np.intp)
    offsets = np.arange(int(np.prod(rows))).reshape(rows) * bins_per_row
    code += offsets.reshape(*rows, *[1] * (3 - len(rows)))
    counts = np.bincount(code[evaluated], minlength=offsets.size * bins_per_row)
    return counts.reshape(*rows, num_levels, 2, 2)


def sample_queries_first(
    target_occluded: np.ndarray, target_points: np.ndarray, frames: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Query every track at its first visible frame; tracks that are never visible are left out.

    Args:
      target_occluded: (N, T) bool.
      target_points: (N, T, 2) positions (x, y).
      frames: (T, H, W, 3), handed back as `video`; may be left out.

    Returns a batch of one video: `video` (1, T, H, W, 3) when given, `query_points` (1, M, 3) as (t, y, x),
    `target_points` (1, M, T, 2), `occluded` (1, M, T), for the M tracks that are visible at some time.
    """
    visible = _checked_visible(target_occluded, target_points)
    tracks = np.flatnonzero(visible.any(axis=1))
    query_frames = visible[tracks].argmax(axis=1) if len(tracks) else tracks
    return _sampled(target_occluded, target_points, frames, tracks, query_frames)


def sample_queries_strided(
    target_occluded: np.ndarray,
    target_points: np.ndarray,
    frames: np.ndarray | None = None,
    query_stride: int = QUERY_STRIDE,
) -> dict[str, np.ndarray]:
    """Query at frames 0, query_stride, ... every track that is visible there; a track may be queried several times.

    Takes and returns what `sample_queries_first` does, and `trackgroup` (1, M): the track that each query came from.
    Queries are ordered by frame, then by track.
    """
    visible = _checked_visible(target_occluded, target_points)
    strides, tracks = np.nonzero(visible[:, ::query_stride].T)
    sampled = _sampled(target_occluded, target_points, frames, tracks, strides * query_stride)
    return sampled | {"trackgroup": tracks[None]}


def sample_queries(query_mode: str, target_occluded: np.ndarray, target_points: np.ndarray) -> dict[str, np.ndarray]:
    """Sample the queries of one video by the rule of `query_mode` ("first" or "strided")."""
    samplers: dict[str, object] = {"first": sample_queries_first, "strided": sample_queries_strided}
    if query_mode not in samplers:
        raise ValueError(f"unknown query mode {query_mode!r}; choose one of {', '.join(QUERY_MODES)}")
    return samplers[query_mode](target_occluded, target_points)


def _checked_visible(target_occluded: np.ndarray, target_points: np.ndarray) -> np.ndarray:
    occluded = np.asarray(target_occluded, bool)
    if occluded.ndim != 2 or np.shape(target_points) != (*occluded.shape, 2):
        raise ValueError(
            "target_occluded must be (N, T) and target_points (N, T, 2), "
            f"not {occluded.shape} and {np.shape(target_points)}"
        )
    return ~occluded


def _sampled(target_occluded, target_points, frames, tracks: Sequence[int], query_frames: Sequence[int]) -> dict:
    """Gather queries and targets of the given tracks, with a leading batch axis of one."""
    target_points = np.asarray(target_points)
    x, y = target_points[tracks, query_frames].T.reshape(2, -1)
    query_points = np.stack([query_frames, y, x], axis=-1).astype(np.float64)  # (M, 3)
    sampled = {} if frames is None else {"video": np.asarray(frames)[None]}
    return sampled | {
        "query_points": query_points[None],
        "target_points": target_points[tracks][None],
        "occluded": np.asarray(target_occluded, bool)[tracks][None],
    }
