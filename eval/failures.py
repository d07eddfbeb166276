"""The worst tracks of a tracker, each drawn over its clip with the truth: what to look at before the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.drawing import Panel, add_title, contact_sheet, draw_tracks, encode_webp
from eval.predictions import Predictions
from eval.protocol import Truth, resize_frames, scale_points
from eval.tapvid import RESOLUTION, compute_tapvid_metrics

LONG_SIDE = 208
NUM_COLUMNS = 4
MOST_OF_A_VIDEO = 2
LOST_PX = 16
"""An error from which a point counts as lost: the widest of the benchmark's thresholds."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One bad track: its video and query, its delta_avg, and its errors in pixels at 256x256.

    errors: (T,) distance to the truth, nan where the truth is hidden or not scored.
    """

    video: str
    query: int
    query_frame: int
    delta: float
    errors: np.ndarray

    @property
    def mean_error(self) -> float:
        """Mean error over the frames where the point is scored and truly visible."""
        return float(np.nanmean(self.errors))

    @property
    def lost_from(self) -> int | None:
        """The first frame with an error of LOST_PX or more."""
        lost = np.flatnonzero(self.errors >= LOST_PX)
        return int(lost[0]) if len(lost) else None


def find_failures(truth: Truth, predictions: Predictions, count: int) -> list[Failure]:
    """The `count` tracks with the lowest delta_avg, then the largest mean error; at most MOST_OF_A_VIDEO of a video."""
    worst: list[Failure] = []
    for name in truth.names:
        worst += _rank(_failures_of_video(truth, predictions, name))[:MOST_OF_A_VIDEO]
    return _rank(worst)[:count]


def _rank(failures: Sequence[Failure]) -> list[Failure]:
    return sorted(failures, key=lambda each: (each.delta, -each.mean_error, each.video, each.query))


def _failures_of_video(truth: Truth, predictions: Predictions, name: str) -> list[Failure]:
    video, prediction = truth.video(name, predictions.query_mode), predictions.video(name)
    metrics = compute_tapvid_metrics(
        video.query_points[None],
        video.occluded[None],
        video.target_points[None],
        prediction.occluded[None],
        prediction.tracks[None],
        predictions.query_mode,
        get_trackwise_metrics=True,
    )
    delta = metrics["average_pts_within_thresh"][0]  # (N,), nan for a track that is never scored
    starts = np.round(video.query_points[:, 0]).astype(int)
    frames = np.arange(video.num_frames)
    is_first = predictions.query_mode == "first"
    is_scored = frames > starts[:, None] if is_first else frames != starts[:, None]
    errors = np.linalg.norm(prediction.tracks - video.target_points, axis=-1)  # (N, T)
    errors = np.where(is_scored & ~video.occluded, errors, np.nan)
    return [
        Failure(
            video=name,
            query=int(number),
            query_frame=int(starts[number]),
            delta=float(delta[number]),
            errors=errors[number],
        )
        for number in np.flatnonzero(np.isfinite(delta))
    ]


def choose_frames(failure: Failure) -> list[int]:
    """At most four frames: the query, where the point is first lost, where it is worst, and the last that is scored."""
    scored = np.flatnonzero(np.isfinite(failure.errors))
    lost = [] if failure.lost_from is None else [failure.lost_from]
    chosen = {failure.query_frame, *lost, int(np.nanargmax(failure.errors)), int(scored[-1])}
    # Where they coincide, more of the way fills the row.
    for frame in scored[np.linspace(0, len(scored) - 1, NUM_COLUMNS).round().astype(int)]:
        if len(chosen) < NUM_COLUMNS:
            chosen.add(int(frame))
    return sorted(chosen)


def draw_failure(truth: Truth, predictions: Predictions, failure: Failure) -> bytes:
    """A row of frames as WebP: the prediction blue, the truth orange where it is visible, a white line between them."""
    video, prediction = truth.video(failure.video, predictions.query_mode), predictions.video(failure.video)
    source = truth.clip(failure.video).video
    factor = LONG_SIDE / max(source.shape[1:3])
    size = (round(source.shape[1] * factor), round(source.shape[2] * factor))
    both = np.stack([video.target_points[failure.query], prediction.tracks[failure.query]], axis=1)  # (T, 2, 2)
    tracks = scale_points(both, (RESOLUTION, RESOLUTION), size)
    visible = np.stack([~video.occluded[failure.query], ~prediction.occluded[failure.query]], axis=1)  # (T, 2)
    tracks[:, 0] = np.where(visible[:, :1], tracks[:, 0], np.nan)
    target = np.stack([np.full_like(tracks[:, 0], np.nan), tracks[:, 0]], axis=1)
    times = choose_frames(failure)
    panel = Panel(title="", tracks=tracks, visible=visible, start=np.full(2, times[0]), target=target)
    cells = []
    for time in times:
        frame = resize_frames(source[time : time + 1], size)[0]
        error = failure.errors[time]
        told = "query" if time == failure.query_frame else f"{error:.0f} px off" if np.isfinite(error) else "not scored"
        cells.append(add_title(draw_tracks(frame, panel, time, radius=3.4, trail=6), f"frame {time}: {told}"))
    return encode_webp([contact_sheet(cells, num_columns=NUM_COLUMNS)], quality=70)
