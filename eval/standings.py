"""Score jsons -> what a report says of them: the headline, the table, the bars of each video, and the way to each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.provenance import InputFile, Provenance, Step
from eval.published import PUBLISHED
from eval.score import read_score
from eval.table import (
    IN_PIXELS,
    STATIC,
    UNTRAINED_SUFFIX,
    ScoreTable,
    format_difference,
    format_percent,
    protocol_note,
    published_note,
    published_rows,
    published_sources,
    table_rows,
    undefined_note,
)

HEADLINE_METRIC = "average_pts_within_thresh"
DIGESTS = ("predictions_sha256", "truth_sha256")
NUM_HUES = 6
"""Colours of stages in style.css; from then on they come again."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The number at the top for one benchmark and query mode."""

    benchmark: str
    query_mode: str
    tracker: str
    value: str
    difference: str
    is_better: bool
    num_others: int


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar: its tracker, the classes of its colour, its length in percent and its text."""

    tracker: str
    color: str
    percent: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a score table: its cells, the classes of its colour, and the columns in which it is the best."""

    tracker: str
    color: str
    cells: list[str]
    best: set[int]


@dataclass(frozen=True, kw_only=True)
class Trace:
    """The way to one number: from the score back to the clips that its weights were trained on."""

    tracker: str
    value: str
    steps: list[Step]
    is_main: bool


@dataclass(frozen=True, kw_only=True)
class TableView:
    """A score table as the template shows it, and the files that it was made from."""

    table: ScoreTable
    header: list[str]
    rows: list[Row]
    published: list[list[str]]
    sources: list[str]
    published_note: str
    note: str
    bars: list[tuple[str, list[Bar]]]
    key: list[tuple[str, str]]
    traces: list[Trace]
    files: list[InputFile]
    published_files: list[InputFile]


def tracker_kind(tracker: str) -> str:
    """Return "static", "untrained" or "trained": which place a tracker has."""
    if tracker == STATIC:
        return "static"
    return "untrained" if tracker.endswith(UNTRAINED_SUFFIX) else "trained"


def tracker_colors(trackers: Iterable[str]) -> dict[str, str]:
    """Classes of style.css by tracker: a stage has a hue, and its untrained weights the same one, fainter."""
    trackers = list(trackers)
    stages = dict.fromkeys(tracker.removesuffix(UNTRAINED_SUFFIX) for tracker in trackers if tracker != STATIC)
    hues = {stage: f"hue{number % NUM_HUES}" for number, stage in enumerate(stages)}
    colors = {}
    for tracker in trackers:
        kind, hue = tracker_kind(tracker), hues.get(tracker.removesuffix(UNTRAINED_SUFFIX), "")
        colors[tracker] = {"static": "static", "untrained": f"{hue} faint", "trained": hue}[kind]
    return colors


def trackers_of_interest(trackers: Iterable[str]) -> list[str]:
    """The trackers that a report is about: stages trained here, else all that were made to track, else the last one.

    A stage trained here has its untrained weights among the trackers too.
    """
    trackers = list(trackers)
    made_to_track = [tracker for tracker in trackers if tracker_kind(tracker) == "trained"]
    stages = [tracker for tracker in made_to_track if f"{tracker}{UNTRAINED_SUFFIX}" in trackers]
    return stages or made_to_track or trackers[-1:]


def main_tracker(values: Mapping[str, float | None]) -> str:
    """Return the best of the trackers that a report is about; the first one where none has a value."""
    return max(trackers_of_interest(values), key=lambda tracker: -1.0 if (value := values[tracker]) is None else value)


def headline_values(scores: Iterable[dict]) -> dict[str, float | None]:
    """delta_avg by tracker."""
    return {score["tracker"]: score["mean"][HEADLINE_METRIC] for score in scores}


def make_headline(table: ScoreTable) -> Headline:
    """The best trained tracker of a table against static points."""
    values = headline_values(table.scores)
    tracker = main_tracker(values)
    score = next(score for score in table.scores if score["tracker"] == tracker)
    difference = table.difference_to_static(score, HEADLINE_METRIC)
    return Headline(
        benchmark=table.benchmark,
        query_mode=table.query_mode,
        tracker=tracker,
        value=format_percent(score["mean"][HEADLINE_METRIC]),
        difference="" if difference is None else format_difference(difference),
        is_better=difference is not None and difference > 0,
        num_others=len(trackers_of_interest(values)) - 1,
    )


def make_table_view(table: ScoreTable, score_paths: Sequence[str | Path], provenance: Provenance) -> TableView:
    """The table with its bars, and for each of its scores the files on the way to it."""
    trackers = [score["tracker"] for score in table.scores]
    colors = tracker_colors(trackers)
    header, _ = table_rows(table)
    paths = _paths_by_tracker(table, score_paths)
    return TableView(
        table=table,
        header=header,
        rows=_make_rows(table, colors),
        published=published_rows(table, mark=""),
        sources=published_sources(table),
        published_note=published_note(table),
        note=" ".join(filter(None, (protocol_note(table), undefined_note(table)))),
        bars=[(video, _make_bars(table, video, colors)) for video in table.scores[0]["videos"]],
        key=[(tracker, colors[tracker]) for tracker in trackers],
        traces=[_make_trace(table, score, paths[score["tracker"]], provenance) for score in table.scores],
        files=provenance.describe(paths[tracker] for tracker in trackers),
        published_files=[provenance.describe_as(PUBLISHED, "eval/published.csv")] if table.published else [],
    )


def _make_trace(table: ScoreTable, score: dict, path: Path, provenance: Provenance) -> Trace:
    # What the score itself says holds where no sidecar came along.
    digests = [(key.removesuffix("_sha256"), score[key][:12]) for key in DIGESTS if key in score]
    return Trace(
        tracker=score["tracker"],
        value=format_percent(score["mean"][HEADLINE_METRIC]),
        steps=provenance.trace(path, [(f"{name} (sha256)", digits) for name, digits in digests]),
        is_main=score["tracker"] == main_tracker(headline_values(table.scores)),
    )


def _paths_by_tracker(table: ScoreTable, score_paths: Sequence[str | Path]) -> dict[str, Path]:
    found = {}
    for path in score_paths:
        score = read_score(path)
        of_table = table.benchmark, table.query_mode, table.resolution
        if (score["benchmark"], score["query_mode"], score["resolution"]) == of_table:
            found[score["tracker"]] = Path(path)
    return found


def _make_rows(table: ScoreTable, colors: Mapping[str, str]) -> list[Row]:
    best: list[set[int]] = [set() for _ in table.scores]
    for column, metric in enumerate(table.columns):
        values = [score["mean"][metric] for score in table.scores]
        defined = [value for value in values if value is not None]
        for number, value in enumerate(values):
            if len(set(defined)) > 1 and value == (min if metric in IN_PIXELS else max)(defined):
                best[number].add(column)
    _, cells = table_rows(table)
    return [  # a row's own name may say more than the tracker's
        Row(tracker=name, color=colors[score["tracker"]], cells=texts, best=columns)
        for score, (name, *texts), columns in zip(table.scores, cells, best, strict=True)
    ]


def _make_bars(table: ScoreTable, video: str, colors: Mapping[str, str]) -> list[Bar]:
    bars = []
    for score in table.scores:
        value = score["videos"].get(video, {}).get(HEADLINE_METRIC)
        percent = 0.0 if value is None else round(100 * value, 2)
        tracker = score["tracker"]
        bars.append(Bar(tracker=tracker, color=colors[tracker], percent=percent, text=format_percent(value)))
    return bars
