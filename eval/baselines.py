"""Trackers that need no training: what a trained one must beat, `python -m eval track`.

A baseline is a function (query_points, num_frames, load_frames) -> (tracks, occluded): queries (N, 3) as (t, y, x),
tracks (N, T, 2) as (x, y), occluded (N, T), all at 256x256; `load_frames()` decodes the video, (T, 256, 256, 3) uint8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from eval.lucas_kanade import track_lucas_kanade
from eval.predictions import INDEPENDENT, TRACKED, Making, VideoPrediction, write_predictions
from eval.protocol import Truth

Baseline = Callable[[np.ndarray, int, Callable[[], np.ndarray]], tuple[np.ndarray, np.ndarray]]


def track_static(
    query_points: np.ndarray, num_frames: int, load_frames: Callable[[], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Leave every point at its query, visible in all frames."""
    del load_frames
    points_xy = query_points[:, [2, 1]].astype(np.float32)  # (N, 2) from (t, y, x)
    tracks = np.repeat(points_xy[:, None], num_frames, axis=1)  # (N, T, 2)
    return tracks, np.zeros(tracks.shape[:2], bool)


BASELINES: dict[str, Baseline] = {"static": track_static, "lucas_kanade": track_lucas_kanade}


def predict_baseline(tracker: str, truth_path: str | Path, query_mode: str, out_path: str | Path) -> Path:
    """Run the baseline `tracker` over every video of the truth index and write its predictions.npz.

    Raises ValueError for a tracker that is not in BASELINES.
    """
    if tracker not in BASELINES:
        raise ValueError(f"unknown tracker {tracker!r}; choose one of {', '.join(BASELINES)}")
    truth = Truth(truth_path)
    return write_predictions(
        out_path,
        tracker=tracker,
        query_mode=query_mode,
        truth_sha256=truth.sha256,
        making=Making(queries=INDEPENDENT, before_query=TRACKED),
        videos=_predict_videos(BASELINES[tracker], truth, query_mode),
    )


def _predict_videos(track: Baseline, truth: Truth, query_mode: str) -> Iterator[VideoPrediction]:
    for name in truth.names:
        video = truth.video(name, query_mode)
        tracks, occluded = track(video.query_points, video.num_frames, partial(truth.frames, name))
        yield VideoPrediction(name=name, query_points=video.query_points, tracks=tracks, occluded=occluded)
