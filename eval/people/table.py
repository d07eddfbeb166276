"""Score jsons of people -> tables as markdown and CSV: all frames, then by distance, each with its interval."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.compare import compare_scores
from eval.people.metrics import METRICS
from eval.people.predictions import PREDICTED, TRUE
from eval.people.score import read_people_score
from shards.files import write_text

UNDEFINED = "n/a"
CONDITION_MARKS = {PREDICTED: "", "none": ", no depth", TRUE: ", true depth"}
"""What stands behind a model's name: the depth that its pose was made for."""


@dataclass(frozen=True)
class PeopleTable:
    """The scores of several models on the same frames: comparable row by row."""

    benchmark: str
    scores: tuple[dict, ...]

    @property
    def body(self) -> str:
        """The body model that every number belongs to."""
        return self.scores[0]["body"]["name"]

    @property
    def metrics(self) -> list[str]:
        """Metrics that some score has, in their order."""
        return [metric for metric in METRICS if any(metric in score["mean"] for score in self.scores)]

    def note(self) -> str:
        """What the numbers are of."""
        first = self.scores[0]
        return (
            f"Body model: {self.body} ({first['body']['num_vertices']:,} vertices). {first['num_clips']:,} clips, "
            f"{first['num_frames']:,} frames; means over frames, in brackets {first['confidence']:.0%} intervals over "
            "clips. No camera: frames whose camera could not be solved; they count as 0 in mIoU and P-mIoU, and not "
            "in f and T_xy."
        )


def read_people_tables(paths: Iterable[str | Path]) -> list[PeopleTable]:
    """Group score jsons of people by benchmark, in order of first appearance.

    Raises ValueError for two of one benchmark that do not compare: another truth or body, or the same model twice.
    """
    groups: dict[str, dict[str, tuple[Path, dict]]] = {}
    for path in map(Path, paths):
        score = read_people_score(path)
        group = groups.setdefault(score["benchmark"], {})
        for other_path, other in list(group.values())[:1]:
            for field in ("truth_sha256", "body"):
                if score[field] != other[field]:
                    raise ValueError(f"{path}: scored with another {field} than {other_path}; score both again")
        if row_name(score) in group:
            raise ValueError(f"{path}: '{row_name(score)}' is also in {group[row_name(score)][0]}")
        group[row_name(score)] = (path, score)
    if not groups:
        raise ValueError("no score json was given; make one by `python -m eval people-score`")
    return [PeopleTable(name, tuple(score for _, score in group.values())) for name, group in groups.items()]


def row_name(score: dict) -> str:
    """The name of a score's row."""
    return model_name(score["model"], score["condition"], has_pose="vertex_error" in score["mean"])


def model_name(model: str, condition: str, *, has_pose: bool) -> str:
    """The model's name, with the depth that its pose, if it has one, was made for where that is not its own."""
    return model + (CONDITION_MARKS[condition] if has_pose else "")


def format_value(metric: str, value: float | None, *, sign: str = "") -> str:
    """A metric's value in the unit of its title; sign: "+" for a difference."""
    shown = METRICS[metric]
    return UNDEFINED if value is None else f"{shown.factor * value:{sign}.{shown.decimals}f}"


def format_cell(metric: str, summary: dict) -> str:
    """A mean and its interval: `0.280 [0.261, 0.299]`."""
    value, interval = summary["mean"].get(metric), summary["interval"].get(metric)
    told = f" [{', '.join(format_value(metric, end) for end in interval)}]" if value is not None and interval else ""
    return format_value(metric, value) + told


def table_rows(table: PeopleTable) -> tuple[list[str], list[list[str]]]:
    """Header and one row of formatted cells a model, for all frames."""
    header = ["model", *(METRICS[metric].title for metric in table.metrics), "no camera"]
    rows = [
        [row_name(score), *(format_cell(metric, score) for metric in table.metrics), str(score["num_failed"])]
        for score in table.scores
    ]
    return header, rows


def distance_rows(table: PeopleTable) -> tuple[list[str], list[list[str]]]:
    """Header and rows by distance: for each bin of true T_z that has frames, one row a model."""
    header = ["true T_z", "frames", "model", *(METRICS[metric].title for metric in table.metrics)]
    rows = [
        [bin_, str(summary["num_frames"]), row_name(score), *(format_cell(m, summary) for m in table.metrics)]
        for bin_ in table.scores[0]["by_distance"]
        for score in table.scores
        if (summary := score["by_distance"][bin_])["num_frames"]
    ]
    return header, rows


def write_people_tables(tables: Sequence[PeopleTable], path: str | Path) -> tuple[Path, Path]:
    """Write the tables to `path` as markdown and beside it as CSV; returns both paths."""
    path = Path(path)
    if path.suffix == ".csv":
        raise ValueError(f"{path}: name the markdown file (.md); the CSV is written beside it")
    return write_text(path, render_people_markdown(tables)), write_text(path.with_suffix(".csv"), render_csv(tables))


def render_people_markdown(tables: Sequence[PeopleTable]) -> str:
    """Every table under a heading of its own, with what its columns say."""
    parts = []
    for table in tables:
        meanings = "\n".join(f"- {METRICS[metric].meaning}" for metric in table.metrics)
        parts.append(
            f"## {table.benchmark}\n\n{table.note()}\n\n{render_rows(*table_rows(table))}\n\n"
            f"### By distance\n\n{render_rows(*distance_rows(table), num_left=3)}\n\n{meanings}"
        )
    return "\n\n".join(parts) + "\n"


def render_rows(header: list[str], rows: list[list[str]], *, num_left: int = 1) -> str:
    """A table of markdown; the first columns are aligned to the left."""
    alignment = ["---"] * num_left + ["---:"] * (len(header) - num_left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, alignment, *rows))


def render_csv(tables: Sequence[PeopleTable]) -> str:
    """All tables as one long CSV of plain numbers in SI units: one line a model, bin and metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["benchmark", "body", "model", "true_depth", "metric", "mean", "low", "high", "num_frames"])
    for table in tables:
        for score in table.scores:
            for bin_, summary in {"all": score, **score["by_distance"]}.items():
                for metric, value in summary["mean"].items():
                    ends = summary["interval"][metric] or ["", ""]
                    number = summary["num_defined"][metric]
                    cells = ["" if value is None else value, *ends, number]
                    writer.writerow([table.benchmark, table.body, row_name(score), bin_, metric, *cells])
    return stream.getvalue()


def render_people_comparison(first_path: str | Path, second_path: str | Path, seed: int = 0) -> str:
    """Two scores of the same frames, metric by metric: the paired difference over clips with its interval.

    Raises ValueError, with both files, where they cannot be compared.
    """
    first, second = read_people_score(first_path), read_people_score(second_path)
    for field in ("benchmark", "truth_sha256", "body"):
        if first[field] != second[field]:
            raise ValueError(f"{first_path} and {second_path} do not compare: {field} differs; score both again")
    rows = []
    for metric in (metric for metric in METRICS if metric in first["mean"] and metric in second["mean"]):
        found = compare_scores({"videos": first["clips"]}, {"videos": second["clips"]}, metric, seed)
        rows.append(
            [
                METRICS[metric].title,
                format_value(metric, found.first_mean),
                format_value(metric, found.second_mean),
                format_value(metric, found.mean_difference, sign="+"),
                " to ".join(format_value(metric, end, sign="+") for end in found.interval),
                "yes" if found.is_certain else "no",
                str(len(found.differences)),
            ]
        )
    names = [row_name(first), row_name(second)]
    header = ["metric", *names, "difference", f"{first['confidence']:.0%} interval", "differs", "clips"]
    told = f"{first['benchmark']}, body model {first['body']['name']}; means over clips, difference B - A."
    return f"## {names[1]} against {names[0]}\n\n{told}\n\n{render_rows(header, rows)}\n"
