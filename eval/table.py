"""Score jsons -> one table a benchmark and protocol, as markdown and CSV (x100, one decimal)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.predictions import JOINT
from eval.published import MARK, OFFICIAL_NUM_VIDEOS, PublishedScore, published_scores
from eval.score import read_score
from eval.tapvid import RESOLUTION
from shards.files import write_text

STATIC = "static"
UNTRAINED_SUFFIX = "-untrained"
UNDEFINED = "n/a"
JOINT_MARK = " (joint)"

# Column title by official key; the columns of single thresholds follow from the keys that the scores have.
LEADING_COLUMNS = {
    "average_pts_within_thresh": "delta_avg",
    "average_jaccard": "AJ",
    "occlusion_accuracy": "OA",
}
# Of data sets whose labels are joints (eval.labels): a share of the animal's size instead of pixels.
JOINT_COLUMNS = {"pck": "PCK", "pck_box": "PCK of the joints' box"}
# Metrics of other benchmarks, shown where every score has them (python -m eval score --also).
OTHER_COLUMNS = {
    "aj_rd": "AJ_RD",
    "survival": "survival",
    "median_trajectory_error": "MTE px",
    "accuracy": "accuracy",
    "accuracy_vis": "accuracy visible",
    "accuracy_occ": "accuracy hidden",
}
MEANINGS = {
    "pck": "PCK: share of visible joints nearer to the truth than 0.2 sqrt(area of the animal).",
    "pck_box": "PCK of the joints' box: of joints nearer than 0.2 sqrt(area of the box around them); not as published.",
    "aj_rd": "AJ_RD: average Jaccard of tracks from where they come back after hiding (TAPNext++).",
    "survival": "Survival: share of the frames before a point is lost, 50 px from the truth (PointOdyssey).",
    "median_trajectory_error": "MTE: median distance from the truth, in pixels; lower is better.",
    "accuracy": "Accuracy: delta_avg of all positions, and of visible and hidden ones alone (Dynamic Replica).",
}
"""What the columns say that only some tables have."""
IN_PIXELS = ("median_trajectory_error",)
DIFFERENCE_COLUMNS = {
    "average_pts_within_thresh": "delta_avg vs static",
    "average_jaccard": "AJ vs static",
}


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """The scores of several trackers on the same queries: comparable row by row."""

    benchmark: str
    query_mode: str
    scores: tuple[dict, ...]
    published: tuple[PublishedScore, ...] = ()

    @property
    def num_videos(self) -> int:
        return self.scores[0]["num_videos"]

    @property
    def resolution(self) -> int:
        return self.scores[0]["resolution"]

    @property
    def columns(self) -> dict[str, str]:
        """Official metric key -> column title, in the order of the table."""
        keys = [key for key in self.scores[0]["mean"] if key.startswith("pts_within_")]
        joints = {key: title for key, title in JOINT_COLUMNS.items() if key in self.scores[0]["mean"]}
        pixels = {key: f"<{key.removeprefix('pts_within_')} px" for key in keys}
        others = {key: title for key, title in OTHER_COLUMNS.items() if all(key in row["mean"] for row in self.scores)}
        return LEADING_COLUMNS | joints | pixels | others

    def difference_to_static(self, score: dict, metric: str) -> float | None:
        """Return score - static in 0..1, or None for static itself and where either is undefined or missing."""
        static = next((row for row in self.scores if row["tracker"] == STATIC), None)
        if static is None or score is static:
            return None
        here, there = score["mean"][metric], static["mean"][metric]
        return None if here is None or there is None else here - there


def read_tables(score_paths: Iterable[str | Path]) -> list[ScoreTable]:
    """Group score jsons by benchmark, query mode and resolution, in order of first appearance.

    Raises ValueError when two files of one group are not comparable: another truth or the same tracker twice.
    """
    groups: dict[tuple[str, str, int], dict[str, tuple[Path, dict]]] = {}
    truths: dict[str, tuple[Path, str]] = {}
    for path in map(Path, score_paths):
        score = read_score(path)
        benchmark = score["benchmark"]
        first_path, first_sha256 = truths.setdefault(benchmark, (path, score["truth_sha256"]))
        if score["truth_sha256"] != first_sha256:
            raise ValueError(
                f"{path}: scored against another truth of {benchmark!r} than {first_path}; score both again"
            )
        group = groups.setdefault((benchmark, score["query_mode"], score["resolution"]), {})
        if score["tracker"] in group:
            raise ValueError(f"{path}: tracker {score['tracker']!r} is also in {group[score['tracker']][0]}")
        group[score["tracker"]] = (path, score)
    if not groups:
        raise ValueError("no score json was given; make one by `python -m eval score`")
    return [
        ScoreTable(
            benchmark=benchmark,
            query_mode=mode,
            scores=_ordered([score for _, score in group.values()]),
            published=published_scores(benchmark, mode) if resolution == RESOLUTION else (),
        )
        for (benchmark, mode, resolution), group in groups.items()
    ]


def _ordered(scores: Sequence[dict]) -> tuple[dict, ...]:
    """Static first; then stage by stage as they came, each one's untrained weights before the trained ones."""
    stages = [score["tracker"].removesuffix(UNTRAINED_SUFFIX) for score in scores]

    def position(score: dict) -> tuple[bool, int, bool]:
        tracker = score["tracker"]
        is_untrained = tracker.endswith(UNTRAINED_SUFFIX)
        return tracker != STATIC, stages.index(tracker.removesuffix(UNTRAINED_SUFFIX)), not is_untrained

    return tuple(sorted(scores, key=position))


def format_percent(value: float | None) -> str:
    """Format a fraction x100 with one decimal."""
    return UNDEFINED if value is None else f"{100 * value:.1f}"


def format_difference(value: float | None) -> str:
    """Format a difference of fractions x100 with sign and one decimal."""
    return UNDEFINED if value is None else f"{100 * value:+.1f}"


def format_metric(metric: str, value: float | None, *, sign: str = "") -> str:
    """Format a metric's value x100 with one decimal, or pixels with two; sign: "+" for a difference."""
    if value is None:
        return UNDEFINED
    return f"{value:{sign}.2f}" if metric in IN_PIXELS else f"{100 * value:{sign}.1f}"


def table_rows(table: ScoreTable) -> tuple[list[str], list[list[str]]]:
    """Return the header and one row of formatted cells a tracker."""
    columns, differences = table.columns, DIFFERENCE_COLUMNS
    header = ["tracker", *columns.values(), *differences.values()]
    rows = [
        [
            row_name(score),
            *(format_metric(metric, score["mean"][metric]) for metric in columns),
            *(format_difference(table.difference_to_static(score, metric)) for metric in differences),
        ]
        for score in table.scores
    ]
    return header, rows


def row_name(score: dict) -> str:
    """Return the tracker's name, marked when it answers the queries of a video together."""
    return score["tracker"] + (JOINT_MARK if score.get("queries") == JOINT else "")


def protocol_note(table: ScoreTable) -> str:
    """Say in what the rows are not TAP-Vid's official protocol; empty when nothing is known to differ."""
    notes = []
    if table.resolution != RESOLUTION:
        notes.append(
            f"Trackers were given frames of {table.resolution}x{table.resolution}: a protocol of its own, not the "
            f"official {RESOLUTION}x{RESOLUTION}; errors are measured at {RESOLUTION}x{RESOLUTION}."
        )
    if any(score.get("queries") == JOINT for score in table.scores):
        notes.append("(joint): queries of a video are tracked together, against TAP-Vid's official rule.")
    return " ".join(notes)


def published_rows(table: ScoreTable, *, mark: str = f" ({MARK})") -> list[list[str]]:
    """Return one row of cells for each published score, under the header of `table_rows`; empty where none is stated.

    The number behind a tracker's name is that of its source in `published_sources`; the mark follows it.
    """
    titles, sources = table_rows(table)[0][1:], published_sources(table)
    return [
        [
            f"{score.tracker} [{sources.index(score.citation) + 1}]{mark}",
            *(str(score.numbers[title]) if title in score.numbers else "" for title in titles),
        ]
        for score in table.published
    ]


def published_sources(table: ScoreTable) -> list[str]:
    """Return the sources of the published scores, each once."""
    return list(dict.fromkeys(score.citation for score in table.published))


def published_note(table: ScoreTable) -> str:
    """Say that the published scores are means over other videos than the table's; empty where they are not."""
    official = OFFICIAL_NUM_VIDEOS.get(table.benchmark, table.num_videos)
    if not table.published or official == table.num_videos:
        return ""
    return f"Published rows are means over {official} videos, the others over {table.num_videos}: do not compare them."


def undefined_note(table: ScoreTable) -> str:
    """Say how many videos were left out of a mean because the metric is 0/0 there; empty when none was."""
    counts = {}
    for score in table.scores:
        for metric, count in score.get("undefined", {}).items():
            counts[metric] = max(counts.get(metric, 0), count)
    if not counts:
        return ""
    told = ", ".join(f"{metric}: {count}" for metric, count in sorted(counts.items()))
    return f"Videos left out of a mean because the metric is undefined (0/0) there: {told}."


def write_tables(tables: Sequence[ScoreTable], path: str | Path) -> tuple[Path, Path]:
    """Write the tables to `path` as markdown and beside it as CSV; returns both paths."""
    path = Path(path)
    if path.suffix == ".csv":
        raise ValueError(f"{path}: name the markdown file (.md); the CSV is written beside it")
    return write_text(path, render_markdown(tables)), write_text(path.with_suffix(".csv"), render_csv(tables))


def render_markdown(tables: Sequence[ScoreTable]) -> str:
    """Render every table under a heading of its own."""
    parts = []
    for table in tables:
        header, rows = table_rows(table)
        alignment = ["---", *["---:"] * (len(header) - 1)]
        lines = [f"| {' | '.join(cells)} |" for cells in (header, alignment, *rows, *published_rows(table))]
        note = "\n\n".join(filter(None, (protocol_note(table), undefined_note(table))))
        parts.append(
            f"## {table.benchmark}, queries: {table.query_mode}\n\n"
            f"{table.num_videos} videos at {table.resolution}x{table.resolution}, mean over videos, x100.\n\n"
            + "\n".join(lines)
            + (f"\n\n{note}" if note else "")
            + _render_sources(table)
        )
    return "\n\n".join(parts) + "\n"


def _render_sources(table: ScoreTable) -> str:
    """The published rows' note and sources as markdown; empty where nothing is published."""
    lines = [f"{number}. {source}" for number, source in enumerate(published_sources(table), start=1)]
    parts = [published_note(table), "Sources of what others published:", "\n".join(lines)] if lines else []
    return "".join(f"\n\n{part}" for part in parts if part)


def _csv_name(title: str) -> str:
    """Return a column title that needs no quoting in other tools: `<4 px` becomes pts_4."""
    return title.replace("<", "pts_").removesuffix(" px").replace(" ", "_")


def render_csv(tables: Sequence[ScoreTable]) -> str:
    """Render all tables as one CSV with the benchmark and the query mode as columns."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    last_header = None
    for table in tables:
        header, rows = table_rows(table)
        if header != last_header:
            writer.writerow(
                ["benchmark", "query_mode", "resolution", "num_videos", *map(_csv_name, header), "published_in"]
            )
            last_header = header
        for row in rows:
            cells = ["" if cell == UNDEFINED else cell for cell in row]
            writer.writerow([table.benchmark, table.query_mode, table.resolution, table.num_videos, *cells, ""])
        for score, row in zip(table.published, published_rows(table), strict=True):
            writer.writerow(
                [
                    table.benchmark,
                    table.query_mode,
                    table.resolution,
                    "",
                    score.tracker,
                    *row[1:],
                    f"{MARK}: {score.citation}",
                ]
            )
    return stream.getvalue()
