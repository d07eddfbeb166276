"""Scores and sheets of driving -> what a report shows of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from eval.drawing import encode_webp
from eval.driving.drawing import read_subject
from eval.driving.rewards import chart_rewards
from eval.driving.score import read_driving_score
from eval.driving.table import PARTS, DrivingTable, meanings, read_driving_tables
from eval.page import data_uri
from eval.people.exhibit import QUALITY, PictureView
from eval.provenance import InputFile, Provenance, Step


@dataclass(frozen=True, kw_only=True)
class RowsView:
    """One table: its heading, empty for the first, and its cells."""

    heading: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, kw_only=True)
class DrivingView:
    """One benchmark of driving, at one size of its windows, as the page shows it."""

    title: str
    note: str
    tables: list[RowsView]
    meanings: list[str]
    pictures: list[PictureView]
    charts: list[str]
    """Inline SVG of the rewards of each model that has them."""
    traces: list[tuple[str, list[Step]]]
    files: list[InputFile] = field(default_factory=list)


def show_driving(scores: Sequence[Path], sheets: Sequence[Path], provenance: Provenance) -> list[DrivingView]:
    """What the page shows of each benchmark of driving; nothing where there is no score.

    Raises ValueError for a sheet that is none of ours, or of a model or benchmark without scores.
    """
    tables = read_driving_tables(scores) if scores else []
    by_row = {(table.benchmark, score["model"]): table for table in tables for score in table.scores}
    pictures: dict[str, list[PictureView]] = {table.title: [] for table in tables}
    for path in map(Path, sheets):
        try:
            benchmark, model = read_subject(path.read_bytes())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if (benchmark, model) not in by_row:
            raise ValueError(f"{path}: shows {model} on {benchmark}, of which no score was given; add it")
        pictures[by_row[benchmark, model].title].append(_picture(path, model, provenance))
    return [_view(table, scores, pictures[table.title], provenance) for table in tables]


def _picture(path: Path, model: str, provenance: Provenance) -> PictureView:
    with Image.open(io.BytesIO(path.read_bytes())) as image:  # a tenth of the PNG's bytes
        uri = data_uri("image/webp", encode_webp([image.convert("RGB")], quality=QUALITY))
    return PictureView(model=model, uri=uri, files=provenance.describe([path]))


def _view(
    table: DrivingTable, scores: Sequence[Path], pictures: list[PictureView], provenance: Provenance
) -> DrivingView:
    own = [path for path in scores if read_driving_tables([path])[0].title == table.title]
    made = ((heading, make_rows(table)) for heading, (make_rows, _) in PARTS.items())
    return DrivingView(
        title=table.title,
        note=table.note(),
        tables=[RowsView(heading=heading, header=header, rows=rows) for heading, (header, rows) in made if rows],
        meanings=meanings(),
        pictures=pictures,
        charts=[chart for chart in map(chart_rewards, table.scores) if chart],
        traces=[(read_driving_score(path)["model"], provenance.trace(path)) for path in own],
        files=provenance.describe(own),
    )
