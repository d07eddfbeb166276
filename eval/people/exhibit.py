"""Scores and overlays of people -> what a report shows of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from eval.drawing import encode_webp
from eval.page import data_uri
from eval.people.metrics import METRICS
from eval.people.overlay import read_subject
from eval.people.table import PeopleTable, distance_rows, read_people_tables, row_name, table_rows
from eval.provenance import InputFile, Provenance, Step

QUALITY = 75


@dataclass(frozen=True, kw_only=True)
class PictureView:
    """The overlays of one model."""

    model: str
    uri: str
    files: list[InputFile]


@dataclass(frozen=True, kw_only=True)
class PeopleView:
    """One benchmark of people as the page shows it."""

    benchmark: str
    note: str
    header: list[str]
    rows: list[list[str]]
    distance_header: list[str]
    distance_rows: list[list[str]]
    meanings: list[str]
    failures: list[str]
    pictures: list[PictureView]
    traces: list[tuple[str, list[Step]]]
    files: list[InputFile] = field(default_factory=list)


def show_people(scores: Sequence[Path], overlays: Sequence[Path], provenance: Provenance) -> list[PeopleView]:
    """What the page shows of each benchmark of people; nothing where there is no score.

    Raises ValueError for an overlay that is none of ours or of a benchmark without scores.
    """
    tables = read_people_tables(scores) if scores else []
    pictures: dict[str, list[PictureView]] = {table.benchmark: [] for table in tables}
    for path in map(Path, overlays):
        content = path.read_bytes()
        try:
            benchmark, model, _ = read_subject(content)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        if benchmark not in pictures:
            raise ValueError(f"{path}: shows {benchmark}, of which no score was given; add it after --people-scores")
        files = provenance.describe([path])
        with Image.open(io.BytesIO(content)) as image:  # a tenth of the PNG's bytes
            uri = data_uri("image/webp", encode_webp([image.convert("RGB")], quality=QUALITY))
        pictures[benchmark].append(PictureView(model=model, uri=uri, files=files))
    return [_view(table, scores, pictures[table.benchmark], provenance) for table in tables]


def _view(
    table: PeopleTable, scores: Sequence[Path], pictures: list[PictureView], provenance: Provenance
) -> PeopleView:
    header, rows = table_rows(table)
    by_distance_header, by_distance = distance_rows(table)
    own = [path for path in scores if any(each.benchmark == table.benchmark for each in read_people_tables([path]))]
    names = [row_name(score) for score in table.scores]
    return PeopleView(
        benchmark=table.benchmark,
        note=table.note(),
        header=header,
        rows=rows,
        distance_header=by_distance_header,
        distance_rows=by_distance,
        meanings=[METRICS[metric].meaning for metric in table.metrics],
        failures=[
            f"{row_name(score)}: {count} frames, {reason}"
            for score in table.scores
            for reason, count in score["failures"].items()
        ],
        pictures=pictures,
        traces=[(name, provenance.trace(path)) for name, path in zip(names, own, strict=True)],
        files=provenance.describe(own),
    )
