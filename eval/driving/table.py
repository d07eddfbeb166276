"""Score jsons of driving -> tables as markdown and CSV: pictures, motion, frame by frame, rewards."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.driving.columns import COMPARISONS, FLOORS, LEADING, METRICS, MOTION, PICTURE, REWARDS
from eval.driving.copying import COPY
from eval.driving.rollouts import SIZES
from eval.driving.score import read_driving_score
from eval.people.table import render_rows
from shards.files import write_text

UNDEFINED = "n/a"


@dataclass(frozen=True)
class DrivingTable:
    """The scores of several models on the same windows of the same clips: comparable row by row."""

    benchmark: str
    scores: tuple[dict, ...]

    @property
    def title(self) -> str:
        """The benchmark, and the size of its windows: PSNR at another size is another number."""
        size = self.scores[0]["settings"]
        given, step = size["num_given"], size["frame_step"]
        apart = "" if step == 1 else f", {step} frames of the clip apart"
        told = f"{size['num_frames']} frames of {size['height']}x{size['width']}{apart}, {given} given"
        return f"{self.benchmark}: {told}"

    def note(self) -> str:
        """What the numbers are of."""
        first = self.scores[0]
        each = len(next(iter(first["windows"].values())))
        windows = f", {each} windows of each" if each > 1 else ""
        return (
            f"{first['num_clips']:,} clips{windows}; means over clips of the frames that are made, in brackets "
            f"{first['confidence']:.0%} intervals over clips. {COPY}: the last given frame, repeated."
        )


def read_driving_tables(paths: Iterable[str | Path]) -> list[DrivingTable]:
    """Group score jsons of driving by benchmark and size of the windows, in order of first appearance.

    Raises ValueError for two of one group that do not compare: another truth, other clips, or the same model twice.
    """
    groups: dict[tuple, dict[str, tuple[Path, dict]]] = {}
    for path in map(Path, paths):
        score = read_driving_score(path)
        group = groups.setdefault((score["benchmark"], *(score["settings"][name] for name in SIZES)), {})
        for other_path, other in list(group.values())[:1]:
            if score["truth_sha256"] != other["truth_sha256"]:
                raise ValueError(f"{path}: scored with another truth_sha256 than {other_path}; score both again")
            if score["windows"] != other["windows"]:
                what = "windows" if score["windows"].keys() == other["windows"].keys() else "clips"
                raise ValueError(f"{path}: scored on other {what} than {other_path}; predict the same ones with both")
        if score["model"] in group:
            raise ValueError(f"{path}: '{score['model']}' is also in {group[score['model']][0]}")
        group[score["model"]] = (path, score)
    if not groups:
        raise ValueError("no score json was given; make one by `python -m eval drives-score`")
    return [DrivingTable(key[0], tuple(score for _, score in group.values())) for key, group in groups.items()]


def format_cell(metric: str, score: dict) -> str:
    """A figure and its interval: `18.71 [18.20, 19.20]`; n/a where it is not known."""
    value, interval, decimals = score["mean"].get(metric), score["interval"].get(metric), METRICS[metric].decimals
    if value is None:
        return UNDEFINED
    ends = f" [{', '.join(f'{end:.{decimals}f}' for end in interval)}]" if interval else ""
    return f"{value:.{decimals}f}{ends}"


def leading_rows(table: DrivingTable) -> tuple[list[str], list[list[str]]]:
    """Header and one row of formatted cells a model: the figures that say most."""
    header = ["model", *(METRICS[metric].title for metric in LEADING)]
    return header, [[score["model"], *(format_cell(metric, score) for metric in LEADING)] for score in table.scores]


def motion_rows(table: DrivingTable) -> tuple[list[str], list[list[str]]]:
    """Header and rows of motion read back: a row a model and telling, and the floor of the true clips."""
    header = ["model", "told", *(metric.title for metric in MOTION.values())]
    rows = []
    for name, (told, _, words) in COMPARISONS.items():
        # The floor is that of the true clips: the same whoever is scored.
        for score in table.scores if told else table.scores[:1]:
            if f"turn_error_{name}" in score["mean"]:
                cells = [format_cell(f"{metric}_{name}", score) for metric in MOTION]
                rows.append([score["model"] if told else "the truth", words, *cells])
    return header, rows


def frame_rows(table: DrivingTable) -> tuple[list[str], list[list[str]]]:
    """Header and rows of PSNR at each made frame: a row for each model and what it was told, and copying."""
    size = table.scores[0]["settings"]
    header = ["model", "told", *map(str, range(size["num_given"], size["num_frames"]))]
    rows = [[COPY, "", *(f"{value:.1f}" for value in table.scores[0]["by_frame"][COPY])]]
    for score in table.scores:
        by_frame = {told: score["by_frame"][told] for told in score["told"] if score["model"] != COPY}
        rows += [[score["model"], told, *(f"{one:.1f}" for one in values)] for told, values in by_frame.items()]
    return header, rows


def reward_rows(table: DrivingTable) -> tuple[list[str], list[list[str]]]:
    """Header and one row a model that says how sure it is; no row where none does."""
    header = ["model", *(metric.title for metric in REWARDS.values())]
    rewarded = [score for score in table.scores if any(metric in score["mean"] for metric in REWARDS)]
    return header, [[score["model"], *(format_cell(metric, score) for metric in REWARDS)] for score in rewarded]


def other_rows(table: DrivingTable) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the pictures' figures that the first table leaves out."""
    metrics = [metric for metric in (*PICTURE, *FLOORS) if metric not in LEADING]
    header = ["model", *(METRICS[metric].title for metric in metrics)]
    return header, [[score["model"], *(format_cell(metric, score) for metric in metrics)] for score in table.scores]


PARTS = {
    "": (leading_rows, 1),
    "Motion": (motion_rows, 2),
    "PSNR by frame, dB": (frame_rows, 2),
    "Other figures of pictures": (other_rows, 1),
    "Reward": (reward_rows, 1),
}
"""Tables of a benchmark by their heading: what makes the rows, and how many columns are words."""


def meanings() -> list[str]:
    """What the columns say, a sentence each."""
    metrics = (*PICTURE.values(), *MOTION.values(), *REWARDS.values())
    return [metric.meaning for metric in metrics if metric.meaning]


def write_driving_tables(tables: Sequence[DrivingTable], path: str | Path) -> tuple[Path, Path]:
    """Write the tables to `path` as markdown and beside it as CSV; returns both paths."""
    path = Path(path)
    if path.suffix == ".csv":
        raise ValueError(f"{path}: name the markdown file (.md); the CSV is written beside it")
    return write_text(path, render_driving_markdown(tables)), write_text(path.with_suffix(".csv"), render_csv(tables))


def render_driving_markdown(tables: Sequence[DrivingTable]) -> str:
    """Every table under a heading of its own, with what its columns say."""
    parts = []
    for table in tables:
        parts += [f"## {table.title}", table.note()]
        for heading, (make_rows, num_left) in PARTS.items():
            header, rows = make_rows(table)
            if rows:
                parts += [*([f"### {heading}"] if heading else []), render_rows(header, rows, num_left=num_left)]
    parts.append("\n".join(f"- {meaning}" for meaning in meanings()))
    return "\n\n".join(parts) + "\n"


def render_csv(tables: Sequence[DrivingTable]) -> str:
    """All tables as one long CSV of plain numbers: one line a model and figure, and a model, telling and frame."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["benchmark", *SIZES, "model", "metric", "mean", "low", "high", "num_defined"])
    for table in tables:
        for score in table.scores:
            about = [table.benchmark, *(score["settings"][name] for name in SIZES), score["model"]]
            for metric, value in score["mean"].items():
                ends = score["interval"][metric] or ["", ""]
                writer.writerow([*about, metric, "" if value is None else value, *ends, score["num_defined"][metric]])
            for told, values in score["by_frame"].items():
                for frame, value in enumerate(values, start=score["settings"]["num_given"]):
                    writer.writerow([*about, f"psnr_{told}_frame_{frame}", value, "", "", score["num_clips"]])
    return stream.getvalue()
