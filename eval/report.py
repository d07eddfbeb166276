"""Scores, curves, predictions and recipes -> one self-contained HTML that opens offline.

The same inputs give the same bytes: no date, no machine, no random ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.clips import draw_clip
from eval.curves import read_training_log, render_curves_svg
from eval.graph import parse_dot, render_graph_svg
from eval.page import data_uri, render_page
from eval.predictions import Predictions, read_predictions
from eval.protocol import Truth
from eval.provenance import InputFile, describe_inputs
from eval.score import score_predictions
from eval.table import (
    STATIC,
    UNTRAINED_SUFFIX,
    ScoreTable,
    format_difference,
    format_percent,
    published_rows,
    published_sources,
    read_tables,
    table_rows,
    undefined_note,
)
from shards.files import sha256_of, write_text

HEADLINE_METRIC = "average_pts_within_thresh"
MAX_PANELS = 3  # trackers drawn beside the truth


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """The files that a report is made from; only `scores` is needed."""

    title: str
    scores: Sequence[Path]
    curves: Sequence[Path] = ()
    predictions: Sequence[Path] = ()
    truths: Sequence[Path] = ()
    recipes: Sequence[Path] = ()
    graph: Path | None = None
    notes: Sequence[str] = ()
    video: str | None = None


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The number at the top for one benchmark and query mode."""

    benchmark: str
    query_mode: str
    tracker: str
    value: str
    difference: str
    is_better: bool


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: its tracker, its length in percent and its text."""

    tracker: str
    kind: str
    percent: float
    text: str


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A score table as the template shows it."""

    table: ScoreTable
    header: list[str]
    rows: list[list[str]]
    published: list[list[str]]
    sources: list[str]
    best: list[set[int]]
    note: str
    bars: list[tuple[str, list[Bar]]]
    kinds: list[tuple[str, str]]


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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stage's recipe as the page shows it."""

    name: str
    sha256: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ReportView:
    """All that the template reads."""

    title: str
    headlines: list[Headline]
    tables: list[TableView]
    clips: list[ClipView]
    curves: list[tuple[str, list[tuple[str, str]]]]
    recipes: list[Recipe]
    truths: list[tuple[str, str]]
    inputs: list[InputFile]
    notes: list[str]
    graph_svg: str = ""
    graph_uri: str = ""


def write_report(inputs: ReportInputs, out_path: str | Path) -> Path:
    """Write the report; raises ValueError naming the input that is missing, malformed or does not fit the others."""
    view = collect_report(inputs)
    return write_text(out_path, render_page("report.html", report=view))


def collect_report(inputs: ReportInputs) -> ReportView:
    """Read all inputs and turn them into what the template shows."""
    tables = read_tables(inputs.scores)
    logs = [read_training_log(path) for path in inputs.curves]
    graph_svg, graph_uri = _read_graph(inputs.graph)
    files = [*inputs.scores, *inputs.predictions, *inputs.truths, *inputs.curves, *inputs.recipes]
    return ReportView(
        title=inputs.title,
        headlines=[headline for table in tables if (headline := _headline(table))],
        tables=[_table_view(table) for table in tables],
        clips=_draw_clips(inputs, tables),
        curves=[(log.name, render_curves_svg(log)) for log in logs],
        recipes=[_read_recipe(path) for path in inputs.recipes],
        truths=list(dict.fromkeys((table.benchmark, table.scores[0]["truth_sha256"]) for table in tables)),
        inputs=describe_inputs([*files, *([inputs.graph] if inputs.graph else [])]),
        notes=list(inputs.notes),
        graph_svg=graph_svg,
        graph_uri=graph_uri,
    )


def tracker_kind(tracker: str) -> str:
    """Return "static", "untrained" or "trained": which colour and which place a tracker has."""
    if tracker == STATIC:
        return "static"
    return "untrained" if tracker.endswith(UNTRAINED_SUFFIX) else "trained"


def _main_tracker(trackers: Iterable[str]) -> str:
    """Return the tracker that the report is about: the last trained one, else the last."""
    trackers = list(trackers)
    trained = [tracker for tracker in trackers if tracker_kind(tracker) == "trained"]
    return (trained or trackers)[-1]


def _headline(table: ScoreTable) -> Headline:
    tracker = _main_tracker(score["tracker"] for score in table.scores)
    score = next(score for score in table.scores if score["tracker"] == tracker)
    difference = table.difference_to_static(score, HEADLINE_METRIC)
    return Headline(
        benchmark=table.benchmark,
        query_mode=table.query_mode,
        tracker=tracker,
        value=format_percent(score["mean"][HEADLINE_METRIC]),
        difference="" if difference is None else format_difference(difference),
        is_better=difference is not None and difference > 0,
    )


def _table_view(table: ScoreTable) -> TableView:
    header, rows = table_rows(table)
    best = []
    for metric in table.columns:
        values = [score["mean"][metric] for score in table.scores]
        defined = [value for value in values if value is not None]
        is_contest = len(set(defined)) > 1
        best.append({i for i, value in enumerate(values) if is_contest and value == max(defined)})
    kinds = [(score["tracker"], tracker_kind(score["tracker"])) for score in table.scores]
    bars = [(video, _bars(table, video)) for video in table.scores[0]["videos"]]
    return TableView(
        table=table,
        header=header,
        rows=rows,
        published=published_rows(table),
        sources=published_sources(table),
        best=best,
        note=undefined_note(table),
        bars=bars,
        kinds=kinds,
    )


def _bars(table: ScoreTable, video: str) -> list[Bar]:
    bars = []
    for score in table.scores:
        value = score["videos"].get(video, {}).get(HEADLINE_METRIC)
        percent = 0.0 if value is None else round(100 * value, 2)
        tracker = score["tracker"]
        bars.append(Bar(tracker=tracker, kind=tracker_kind(tracker), percent=percent, text=format_percent(value)))
    return bars


def _draw_clips(inputs: ReportInputs, tables: Sequence[ScoreTable]) -> list[ClipView]:
    """Draw one clip for each benchmark and query mode that predictions were given for."""
    truths = {truth.sha256: truth for truth in map(Truth, inputs.truths)}
    groups: dict[tuple[str, str], list[Predictions]] = {}
    for path in inputs.predictions:
        predictions = read_predictions(path)
        if predictions.truth_sha256 not in truths:
            raise ValueError(f"{path}: made against a truth that was not given; add its index.json after --truth")
        groups.setdefault((predictions.truth_sha256, predictions.query_mode), []).append(predictions)
    return [
        _clip_view(truths[truth_sha256], mode, group, tables, inputs.video)
        for (truth_sha256, mode), group in groups.items()
    ]


def _clip_view(
    truth: Truth, query_mode: str, group: list[Predictions], tables: Sequence[ScoreTable], wanted: str | None
) -> ClipView:
    group = sorted(group, key=lambda each: ("static", "untrained", "trained").index(tracker_kind(each.tracker)))
    group = group[-MAX_PANELS:]
    scores = {each.tracker: _score_of(each, truth, tables) for each in group}
    main = _main_tracker(scores)
    video = wanted if wanted in truth.names else median_video(scores[main])
    drawing = draw_clip(truth, video, group, query_mode=query_mode)
    return ClipView(
        benchmark=truth.dataset,
        query_mode=query_mode,
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
    )


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


def _read_graph(path: Path | None) -> tuple[str, str]:
    """Return (inline svg, data uri): dot is drawn here; svg is embedded as an image, where it can run nothing."""
    if path is None:
        return "", ""
    content = Path(path).read_bytes()
    if Path(path).suffix == ".svg":
        return "", data_uri("image/svg+xml", content)
    try:
        return render_graph_svg(parse_dot(content.decode())), ""
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_recipe(path: Path) -> Recipe:
    path = Path(path)
    return Recipe(name="/".join(path.parts[-2:]), sha256=sha256_of(path), text=path.read_text())
