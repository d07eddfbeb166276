"""Predictions -> the pictures of a report: a clip of each benchmark with its tracks, and the worst tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from eval.clips import draw_clip
from eval.failures import Failure, draw_failure, find_failures
from eval.page import data_uri
from eval.predictions import Predictions, read_predictions
from eval.protocol import Truth
from eval.provenance import InputFile, Provenance
from eval.score import score_predictions
from eval.standings import HEADLINE_METRIC, headline_values, main_tracker, tracker_kind, trackers_of_interest
from eval.table import ScoreTable, format_percent
from shards.files import sha256_of

MAX_PANELS = 3  # trackers drawn beside the truth
MAX_FAILURES = 4  # of one tracker
MAX_BYTES = 3_000_000  # of all pictures: a third more as text, and the page stays below 5 MB


@dataclass(frozen=True, kw_only=True)
class ClipView:
    """A drawn clip with its caption's facts."""

    benchmark: str
    query_mode: str
    video: str
    trackers: list[str]
    animation_uri: str
    still_uri: str
    width: int
    height: int
    num_points: int
    num_queries: int
    num_frames: int
    scores: list[tuple[str, str]]
    is_median_of: str
    files: list[InputFile]


@dataclass(frozen=True, kw_only=True)
class FailureView:
    """The worst tracks of one tracker: pictures with their captions' facts."""

    benchmark: str
    query_mode: str
    tracker: str
    pictures: list[tuple[str, Failure]]
    files: list[InputFile]


@dataclass(frozen=True, kw_only=True)
class Exhibits:
    """All pictures of a report, and what was not drawn because the page would have grown too large."""

    clips: list[ClipView] = field(default_factory=list)
    failures: list[FailureView] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Predictions for the same queries of the same truth."""

    truth: Truth
    query_mode: str
    predictions: list[Predictions]

    def files(self, provenance: Provenance, predictions: Sequence[Predictions]) -> list[InputFile]:
        return provenance.describe([*(each.path for each in predictions), self.truth.path])


def draw_exhibits(
    prediction_paths: Sequence[str | Path],
    truth_paths: Sequence[str | Path],
    tables: Sequence[ScoreTable],
    provenance: Provenance,
    video: str | None = None,
) -> Exhibits:
    """Draw a clip for each benchmark and query mode that predictions were given for, then the failures in each.

    Raises ValueError for predictions that were made against a truth that is not among the given ones.
    """
    exhibits, num_bytes = Exhibits(), 0
    groups = _group(prediction_paths, truth_paths)
    for group in groups:
        if num_bytes > MAX_BYTES:
            exhibits.left_out.append(f"a clip of {group.truth.dataset}, {group.query_mode}")
            continue
        view = _draw_clip(group, tables, provenance, video)
        exhibits.clips.append(view)
        num_bytes += (len(view.animation_uri) + len(view.still_uri)) * 3 // 4
    for group in groups:
        for predictions in _worth_a_look(group):
            if num_bytes > MAX_BYTES:
                where = f"{group.truth.dataset}, {group.query_mode}"
                exhibits.left_out.append(f"failures of {predictions.tracker} in {where}")
                continue
            view = _draw_failures(group, predictions, provenance)
            exhibits.failures.append(view)
            num_bytes += sum(len(uri) for uri, _ in view.pictures) * 3 // 4
    return exhibits


def _group(prediction_paths: Sequence[str | Path], truth_paths: Sequence[str | Path]) -> list[_Group]:
    truths = {truth.sha256: truth for truth in map(Truth, truth_paths)}
    groups: dict[tuple[str, str, int], list[Predictions]] = {}
    for path in prediction_paths:
        predictions = read_predictions(path)
        if predictions.truth_sha256 not in truths:
            raise ValueError(f"{path}: made against a truth that was not given; add its index.json after --truth")
        key = predictions.truth_sha256, predictions.query_mode, predictions.making.resolution
        groups.setdefault(key, []).append(predictions)
    return [
        _Group(truth=truths[truth_sha256], query_mode=mode, predictions=predictions)
        for (truth_sha256, mode, _), predictions in groups.items()
    ]


def _worth_a_look(group: _Group) -> list[Predictions]:
    """Predictions of the trackers that the report is about: who fails otherwise is no news."""
    names = trackers_of_interest(each.tracker for each in group.predictions)
    return [each for each in group.predictions if each.tracker in names]


def _draw_failures(group: _Group, predictions: Predictions, provenance: Provenance) -> FailureView:
    pictures = [
        (data_uri("image/webp", draw_failure(group.truth, predictions, failure)), failure)
        for failure in find_failures(group.truth, predictions, MAX_FAILURES)
    ]
    return FailureView(
        benchmark=group.truth.dataset,
        query_mode=group.query_mode,
        tracker=predictions.tracker,
        pictures=pictures,
        files=group.files(provenance, [predictions]),
    )


def _draw_clip(group: _Group, tables: Sequence[ScoreTable], provenance: Provenance, wanted: str | None) -> ClipView:
    truth = group.truth
    shown = sorted(group.predictions, key=lambda each: _place(each, group))[-MAX_PANELS:]
    scores = {each.tracker: _score_of(each, truth, tables) for each in shown}
    main = main_tracker(headline_values(scores.values()))
    video = wanted if wanted in truth.names else median_video(scores[main])
    drawing = draw_clip(truth, video, shown, query_mode=group.query_mode)
    return ClipView(
        benchmark=truth.dataset,
        query_mode=group.query_mode,
        video=video,
        trackers=list(scores),
        animation_uri=data_uri("image/webp", drawing.animation),
        still_uri=data_uri("image/webp", drawing.still),
        width=drawing.width,
        height=drawing.height,
        num_points=drawing.num_points,
        num_queries=drawing.num_queries,
        num_frames=drawing.num_frames,
        scores=[(name, format_percent(score["videos"][video][HEADLINE_METRIC])) for name, score in scores.items()],
        is_median_of="" if video == wanted else main,
        files=group.files(provenance, shown),
    )


def _place(predictions: Predictions, group: _Group) -> tuple[bool, int]:
    """Where a tracker comes beside others: static, untrained, trained, and last those that the report is about."""
    kind = ("static", "untrained", "trained").index(tracker_kind(predictions.tracker))
    return predictions in _worth_a_look(group), kind


def _score_of(predictions: Predictions, truth: Truth, tables: Sequence[ScoreTable]) -> dict:
    """Return the given score of these predictions, or score them now when it was not among the inputs."""
    sha256 = sha256_of(predictions.path)
    for table in tables:
        for score in table.scores:
            if score.get("predictions_sha256") == sha256:
                return score
    return score_predictions(predictions.path, truth.path)


def median_video(score: dict) -> str:
    """Return the video with the median delta_avg (the lower one of two): neither the best nor the worst is shown."""
    values = [(video[HEADLINE_METRIC], name) for name, video in score["videos"].items()]
    ranked = sorted((value, name) for value, name in values if value is not None)
    return ranked[(len(ranked) - 1) // 2][1] if ranked else values[0][1]
