"""Predictions + truth -> score json.

The benchmark's number is the plain mean over videos of each official metric. A metric that is undefined for a video
(0/0: no truly visible point after the query) would make the official mean nan; here such a video is left out of that
metric's mean, `undefined` counts how many were, and the video's own value is null.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from eval.labels import keep_labelled, score_joints
from eval.predictions import Predictions, VideoPrediction, read_predictions
from eval.protocol import Truth, VideoTruth
from eval.tapvid import RESOLUTION, compute_tapvid_metrics
from shards.files import write_text

FORMAT = "frameline-score/1"
REQUIRED_FIELDS = ("benchmark", "tracker", "query_mode", "resolution", "truth_sha256", "num_videos", "mean", "videos")


def score_predictions(predictions_path: str | Path, truth_path: str | Path) -> dict:
    """Score a predictions.npz against the truth index it was made for; returns the content of the score json.

    Raises ValueError when the predictions were made against another truth (by sha256), lack or add a video, answer
    other queries or another number of frames, or hold values that are not finite.
    """
    truth = Truth(truth_path)
    predictions = read_predictions(predictions_path)
    _check_same_benchmark(predictions, truth)
    videos = {}
    for name in truth.names:
        video_truth = truth.video(name, predictions.query_mode)
        videos[name] = score_video(
            video_truth, predictions.video(name), predictions.query_mode, where=str(predictions.path)
        )
    mean, undefined = mean_over_videos(videos)
    return {
        "format": FORMAT,
        "benchmark": truth.dataset,
        "tracker": predictions.tracker,
        "query_mode": predictions.query_mode,
        "resolution": RESOLUTION,
        "truth_sha256": truth.sha256,
        "predictions_sha256": hashlib.sha256(predictions.path.read_bytes()).hexdigest(),
        "num_videos": len(videos),
        "num_queries": sum(video["num_queries"] for video in videos.values()),
        "mean": mean,
        "undefined": undefined,
        "videos": videos,
    }


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
    if truth.labels is not None:
        truth, prediction = keep_labelled(truth, prediction)
    metrics = compute_tapvid_metrics(
        truth.query_points[None],
        truth.occluded[None],
        truth.target_points[None],
        prediction.occluded[None],
        prediction.tracks[None],
        query_mode,
    )
    values = {name: float(value[0]) for name, value in metrics.items()}
    score = {"num_queries": len(truth.query_points)} | {n: v if math.isfinite(v) else None for n, v in values.items()}
    return score | (score_joints(truth, prediction, query_mode) if truth.labels is not None else {})
