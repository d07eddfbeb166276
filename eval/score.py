"""Predictions + truth -> score json.

The benchmark's number is the plain mean over videos of each official metric. A metric that is undefined for a video
(0/0: no truly visible point after the query) would make the official mean nan; here such a video is left out of that
metric's mean, `undefined` counts how many were, and the video's own value is null.

Beside TAP-Vid's metrics a score holds those of METRIC_GROUPS that are asked for, and on demand `tracks`: TAP-Vid's
metrics of every query by video.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from eval.labels import keep_labelled, score_joints
from eval.predictions import Predictions, VideoPrediction, read_predictions
from eval.protocol import Truth, VideoTruth, protocol_name
from eval.redetection import compute_redetection
from eval.survival import compute_accuracy, compute_median_trajectory_error, compute_survival
from eval.tapvid import compute_tapvid_metrics
from shards.files import write_text

FORMAT = "frameline-score/1"
REQUIRED_FIELDS = ("benchmark", "tracker", "query_mode", "resolution", "truth_sha256", "num_videos", "mean", "videos")


def _redetection(truth: VideoTruth, prediction: VideoPrediction) -> dict[str, float]:
    return compute_redetection(truth.occluded, truth.target_points, prediction.occluded, prediction.tracks)


def _accuracy(truth: VideoTruth, prediction: VideoPrediction) -> dict[str, float]:
    return compute_accuracy(truth.query_frame, truth.occluded, truth.target_points, prediction.tracks)


def _survival(truth: VideoTruth, prediction: VideoPrediction) -> dict[str, float]:
    video = (truth.query_frame, truth.occluded, truth.target_points, prediction.tracks)
    return {"survival": compute_survival(*video), "median_trajectory_error": compute_median_trajectory_error(*video)}


METRIC_GROUPS: dict[str, Callable[[VideoTruth, VideoPrediction], dict[str, float]]] = {
    "redetection": _redetection,
    "survival": _survival,
    "accuracy": _accuracy,
}
"""Metrics of other benchmarks by the name that asks for them: TAPNext++, PointOdyssey, Dynamic Replica."""


def score_predictions(
    predictions_path: str | Path, truth_path: str | Path, *, also: Sequence[str] = (), with_tracks: bool = False
) -> dict:
    """Score a predictions.npz against the truth index it was made for; returns the content of the score json.

    also: names of METRIC_GROUPS to add. with_tracks: add `tracks`, TAP-Vid's metrics of each query. Raises ValueError
    when the predictions were made against another truth (by sha256), lack or add a video, answer other queries or
    another number of frames, hold values that are not finite, or do not say in mode strided how the frames before a
    query were made.
    """
    unknown = [group for group in also if group not in METRIC_GROUPS]
    if unknown:
        raise ValueError(f"unknown metrics {unknown[0]!r}; choose among {', '.join(METRIC_GROUPS)}")
    truth = Truth(truth_path)
    predictions = read_predictions(predictions_path)
    _check_same_benchmark(predictions, truth)
    mode, where = predictions.query_mode, str(predictions.path)
    videos, tracks = {}, {}
    for name in truth.names:
        asked, answer = truth.video(name, mode), predictions.video(name)
        videos[name] = score_video(asked, answer, mode, where=where)
        for group in also:
            videos[name] |= _as_json(METRIC_GROUPS[group](*_labelled(asked, answer)))
        if with_tracks:
            tracks[name] = score_tracks(asked, answer, mode)
    mean, undefined = mean_over_videos(videos)
    return {
        "format": FORMAT,
        "benchmark": truth.dataset,
        "tracker": predictions.tracker,
        "protocol": protocol_name(mode, predictions.making.resolution),
        "query_mode": mode,
        **asdict(predictions.making),
        "truth_sha256": truth.sha256,
        "predictions_sha256": hashlib.sha256(predictions.path.read_bytes()).hexdigest(),
        "num_videos": len(videos),
        "num_queries": sum(video["num_queries"] for video in videos.values()),
        "mean": mean,
        "undefined": undefined,
        "videos": videos,
    } | ({"tracks": tracks} if with_tracks else {})


def mean_over_videos(videos: dict[str, dict]) -> tuple[dict[str, float | None], dict[str, int]]:
    """Average each metric over the videos where it is defined; also count, by metric, the videos where it is not."""
    mean: dict[str, float | None] = {}
    undefined: dict[str, int] = {}
    metrics = [metric for metric in next(iter(videos.values())) if metric != "num_queries"]
    for metric in metrics:
        defined = [video[metric] for video in videos.values() if video[metric] is not None]
        mean[metric] = math.fsum(defined) / len(defined) if defined else None
        if len(defined) < len(videos):
            undefined[metric] = len(videos) - len(defined)
    return mean, undefined


def write_score(score: dict, path: str | Path) -> Path:
    """Write a score as json, atomically."""
    return write_text(path, json.dumps(score, indent=1, allow_nan=False) + "\n")


def read_score(path: str | Path) -> dict:
    """Read a score json; raises ValueError when the file is not one."""
    try:
        score = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid json ({error}); score again (python -m eval score --help)") from error
    if not isinstance(score, dict) or score.get("format") != FORMAT:
        raise ValueError(f"{path}: not a {FORMAT} file; make one by `python -m eval score`")
    missing = [field for field in REQUIRED_FIELDS if field not in score]
    if missing:
        raise ValueError(f"{path}: `{missing[0]}` is missing; score again (python -m eval score --help)")
    return score


def _check_same_benchmark(predictions: Predictions, truth: Truth) -> None:
    if predictions.truth_sha256 != truth.sha256:
        raise ValueError(
            f"{predictions.path}: made against another truth (sha256 {predictions.truth_sha256[:12]}..., but "
            f"{truth.path} has {truth.sha256[:12]}...); predict again with --truth {truth.path}"
        )
    try:
        predictions.making.check_mode(predictions.query_mode)
    except ValueError as error:
        raise ValueError(f"{predictions.path}: {error}") from None
    missing = sorted(set(truth.names) - set(predictions.names))
    extra = sorted(set(predictions.names) - set(truth.names))
    if missing or extra:
        told = [f"lacks {len(missing)} videos, such as {missing[0]!r}"] if missing else []
        told += [f"has {len(extra)} unknown videos, such as {extra[0]!r}"] if extra else []
        raise ValueError(f"{predictions.path}: {' and '.join(told)}, against {truth.path}; predict every video again")


def score_video(truth: VideoTruth, prediction: VideoPrediction, query_mode: str, *, where: str) -> dict:
    """Return the official metrics of one video as fractions (None where undefined), and its number of queries.

    A video that is annotated in some frames only is scored in these, and by PCK too.
    Raises ValueError, which begins with `where` and the video, when the prediction answers other queries or another
    number of frames than the truth asks.
    """
    where = f"{where}: {truth.name}"
    if not np.array_equal(truth.query_points, prediction.query_points):
        raise ValueError(
            f"{where}: answers {len(prediction.query_points)} queries that are not the {len(truth.query_points)} of "
            f"mode {query_mode!r}; predict the queries that eval.protocol gives, in their order"
        )
    if truth.occluded.shape != prediction.occluded.shape:
        raise ValueError(f"{where}: {prediction.occluded.shape[1]} frames predicted, the video has {truth.num_frames}")
    values = _as_json({name: float(value[0]) for name, value in _tapvid(truth, prediction, query_mode).items()})
    joints = score_joints(*_labelled(truth, prediction), query_mode) if truth.labels is not None else {}
    return {"num_queries": len(truth.query_points)} | values | joints


def score_tracks(truth: VideoTruth, prediction: VideoPrediction, query_mode: str) -> dict[str, list[float | None]]:
    """Return the official metrics of each query of a video, in the order of the queries; None where undefined."""
    metrics = _tapvid(truth, prediction, query_mode, get_trackwise_metrics=True)
    return {name: [_or_none(value) for value in values[0].tolist()] for name, values in metrics.items()}


def _tapvid(truth: VideoTruth, prediction: VideoPrediction, query_mode: str, **options: bool) -> dict[str, np.ndarray]:
    truth, prediction = _labelled(truth, prediction)
    of_truth = (truth.query_points[None], truth.occluded[None], truth.target_points[None])
    return compute_tapvid_metrics(*of_truth, prediction.occluded[None], prediction.tracks[None], query_mode, **options)


def _labelled(truth: VideoTruth, prediction: VideoPrediction) -> tuple[VideoTruth, VideoPrediction]:
    return (truth, prediction) if truth.labels is None else keep_labelled(truth, prediction)


def _as_json(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _or_none(value) for name, value in values.items()}


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
