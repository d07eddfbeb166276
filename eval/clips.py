"""One clip of a benchmark with the truth and the predictions of several trackers drawn on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.drawing import Panel, draw_film_strip, draw_panels, encode_webp
from eval.predictions import Predictions
from eval.protocol import Truth, VideoTruth, resize_frames, scale_points
from eval.tapvid import RESOLUTION

LONG_SIDE = 288
MAX_ANIMATION_FRAMES = 48
MAX_POINTS = 40
STRIP_FRAMES = 4
FRAMES_PER_SECOND = 12


@dataclass(frozen=True, kw_only=True)
class ClipDrawing:
    """A drawn clip: an animated and a still WebP, and what they show."""

    animation: bytes
    still: bytes
    width: int
    height: int
    num_points: int
    num_queries: int
    num_frames: int


def draw_clip(truth: Truth, name: str, predictions: Sequence[Predictions], *, query_mode: str = "first") -> ClipDrawing:
    """Draw the truth of the video `name` and one panel for each of `predictions`, at the video's own aspect ratio.

    Points are an even choice of at most MAX_POINTS queries, the same in all panels. Raises ValueError when the
    predictions are of another query mode or answer other queries.
    """
    video = truth.video(name, query_mode)
    source = truth.clip(name).video
    factor = LONG_SIDE / max(source.shape[1:3])
    size = (round(source.shape[1] * factor), round(source.shape[2] * factor))
    frames = resize_frames(source, size)
    chosen = np.unique(np.linspace(0, len(video.query_points) - 1, MAX_POINTS).round().astype(int))
    chosen = chosen[: len(video.query_points)]
    panels = [_truth_panel(video, chosen, size)]
    panels += [_predicted_panel(each, video, chosen, size) for each in predictions]

    step = -(-len(frames) // MAX_ANIMATION_FRAMES)
    num_columns = 3 if len(panels) == 3 else min(2, len(panels))
    animation = [
        draw_panels(frames[time], panels, time, num_columns=num_columns) for time in range(0, len(frames), step)
    ]
    still = draw_film_strip(frames, panels, choose_strip_times(panels[0].visible))
    return ClipDrawing(
        animation=encode_webp(animation, frame_ms=round(1000 * step / FRAMES_PER_SECOND)),
        still=encode_webp([still], quality=80),
        width=animation[0].width,
        height=animation[0].height,
        num_points=len(chosen),
        num_queries=len(video.query_points),
        num_frames=len(frames),
    )


def choose_strip_times(visible: np.ndarray) -> list[int]:
    """Return about four frames, evenly spread, moved to where most points of visible (T, N) have a known position.

    Some benchmarks are annotated in a few frames only; a still of another frame would show no truth.
    """
    num_frames = len(visible)
    num_visible = visible.sum(axis=1)
    reach = num_frames // (2 * STRIP_FRAMES)
    times = []
    for wanted in np.linspace(0, num_frames - 1, min(STRIP_FRAMES, num_frames)).round().astype(int):
        nearby = range(max(0, wanted - reach), min(num_frames, wanted + reach + 1))
        times.append(max(nearby, key=lambda time: (num_visible[time], -abs(time - wanted))))
    return sorted(set(times))


def _truth_panel(video: VideoTruth, chosen: np.ndarray, size: tuple[int, int]) -> Panel:
    tracks = scale_points(video.target_points[chosen], (RESOLUTION, RESOLUTION), size).swapaxes(0, 1)  # (T, N, 2)
    # A hidden point has no reliable truth in annotated videos: leave it out instead of drawing a guess.
    visible = ~video.occluded[chosen].T
    return Panel(
        title="truth",
        tracks=np.where(visible[..., None], tracks, np.nan),
        visible=visible,
        start=_query_frames(video, chosen),
    )


def _predicted_panel(predictions: Predictions, video: VideoTruth, chosen: np.ndarray, size: tuple[int, int]) -> Panel:
    prediction = predictions.video(video.name)
    if not np.array_equal(prediction.query_points, video.query_points):
        raise ValueError(f"{predictions.path}: {video.name}: answers other queries than the truth asks")
    tracks = scale_points(prediction.tracks[chosen], (RESOLUTION, RESOLUTION), size).swapaxes(0, 1)  # (T, N, 2)
    return Panel(
        title=predictions.tracker,
        tracks=tracks,
        visible=~prediction.occluded[chosen].T,
        start=_query_frames(video, chosen),
        target=_truth_panel(video, chosen, size).tracks,
    )


def _query_frames(video: VideoTruth, chosen: np.ndarray) -> np.ndarray:
    return np.round(video.query_points[chosen, 0]).astype(int)
