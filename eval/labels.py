"""Videos that are annotated in some frames only, such as BADJA's: scored in these frames, and by PCK.

Shape legend: N queries, T frames, L labelled frames.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from eval.predictions import VideoPrediction
from eval.protocol import VideoTruth, scale_points
from eval.tapvid import RESOLUTION

PCK_SHARE = 0.2
"""Of the square root of the animal's area: the distance below which a joint counts as found."""


def keep_labelled(truth: VideoTruth, prediction: VideoPrediction) -> tuple[VideoTruth, VideoPrediction]:
    """Truth and prediction of the labelled frames alone, as if the video had no other; queries are renumbered.

    A frame without labels says neither where a joint is nor whether it is hidden. Raises ValueError for a video
    without labels in some frames, and for a query in another frame than a labelled one.
    """
    if truth.labels is None:
        raise ValueError(f"{truth.name}: is annotated in all frames")
    frames = np.asarray(truth.labels.frames)  # (L,)
    query_frames = np.round(truth.query_points[:, 0]).astype(int)
    if not np.isin(query_frames, frames).all():
        raise ValueError(f"{truth.name}: a query is in a frame without labels; pack the data set again")
    query_points = truth.query_points.copy()
    query_points[:, 0] = np.searchsorted(frames, query_frames)
    kept = {"query_points": query_points}
    return (
        replace(truth, **kept, target_points=truth.target_points[:, frames], occluded=truth.occluded[:, frames]),
        replace(prediction, **kept, tracks=prediction.tracks[:, frames], occluded=prediction.occluded[:, frames]),
    )


def compute_pck(
    target_points: np.ndarray, pred_tracks: np.ndarray, evaluated: np.ndarray, area: np.ndarray
) -> float | None:
    """Share of evaluated joints whose distance is below 0.2 sqrt(area), as BADJA defines it (PCK at 0.2).

    target_points, pred_tracks: (N, T, 2) as (x, y), and area (T,), all in pixels of the video as it is stored;
    evaluated: (N, T) bool. Cells of a frame whose area is 0 are left out; None where no cell is left.
    """
    evaluated = evaluated & (area > 0)
    distance = np.linalg.norm(pred_tracks - target_points, axis=-1)  # (N, T)
    is_found = distance < PCK_SHARE * np.sqrt(area)
    return float(is_found[evaluated].mean()) if evaluated.any() else None


def joint_box_area(points: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Area (T,) of the box around the visible joints of each frame: points (N, T, 2), visible (N, T) -> pixels squared.

    0 where fewer than two joints are visible.
    """
    low = np.where(visible[..., None], points, np.inf).min(axis=0, initial=np.inf)  # (T, 2)
    high = np.where(visible[..., None], points, -np.inf).max(axis=0, initial=-np.inf)
    is_known = visible.any(axis=0)[:, None]  # (T, 1)
    size = np.subtract(high, low, out=np.zeros_like(low), where=is_known)
    return size.prod(axis=1)


def score_joints(truth: VideoTruth, prediction: VideoPrediction, query_mode: str) -> dict[str, float | None]:
    """PCK of a video's labelled frames: `pck_box`, and `pck` where the data set gives the areas of segmentations.

    `truth` and `prediction` are those of `keep_labelled`. pck_box takes the box around the visible joints for the
    animal's area. It is larger or smaller than the segmentation: the two are not comparable.
    """
    size = truth.labels.frame_size
    target = scale_points(truth.target_points, (RESOLUTION, RESOLUTION), size)
    predicted = scale_points(prediction.tracks, (RESOLUTION, RESOLUTION), size)
    frames = np.arange(truth.num_frames)
    query_frames = truth.query_points[:, :1]  # (N, 1)
    is_asked = frames > query_frames if query_mode == "first" else frames != query_frames
    evaluated = is_asked & ~truth.occluded
    scores = {"pck_box": compute_pck(target, predicted, evaluated, joint_box_area(target, ~truth.occluded))}
    if truth.labels.segmentation_area is not None:
        scores["pck"] = compute_pck(target, predicted, evaluated, np.asarray(truth.labels.segmentation_area))
    return scores
