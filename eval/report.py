"""Scores, curves, predictions and recipes -> one self-contained HTML that opens offline.

The same inputs give the same bytes: no date of its own, no machine of its own, no random ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eval.costs import Costs, read_costs, tell_bytes, tell_hours
from eval.curves import read_training_log, render_curves_svg
from eval.driving.exhibit import DrivingView, show_driving
from eval.exhibits import Exhibits, draw_exhibits
from eval.graph import parse_dot, render_graph_svg
from eval.page import data_uri, render_page
from eval.people.exhibit import PeopleView, show_people
from eval.provenance import InputFile, Provenance, tell_seconds
from eval.standings import Headline, TableView, make_headline, make_table_view
from eval.table import MEANINGS, read_tables
from shards.files import write_text


@dataclass(frozen=True, kw_only=True)
class ReportInputs:
    """The files that a report is made from; only scores, of points, people or driving, are needed.

    root: the folder that Snakemake ran in, for what its jobs have cost.
    """

    title: str
    scores: Sequence[Path] = ()
    people_scores: Sequence[Path] = ()
    people_overlays: Sequence[Path] = ()
    driving_scores: Sequence[Path] = ()
    driving_sheets: Sequence[Path] = ()
    curves: Sequence[Path] = ()
    predictions: Sequence[Path] = ()
    truths: Sequence[Path] = ()
    recipes: Sequence[Path] = ()
    graph: Path | None = None
    root: Path | None = None
    notes: Sequence[str] = ()
    video: str | None = None


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The curves of one training: (title, svg) a panel."""

    name: str
    panels: list[tuple[str, str]]
    files: list[InputFile]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One stage's recipe as the page shows it."""

    file: InputFile
    text: str


@dataclass(frozen=True, kw_only=True)
class GraphView:
    """The graph as inline svg or as an image."""

    svg: str
    uri: str
    files: list[InputFile]


@dataclass(frozen=True, kw_only=True)
class CostView:
    """What the graph has cost, and the files that say so."""

    costs: Costs
    files: list[InputFile]


@dataclass(frozen=True, kw_only=True)
class ReportView:
    """All that the template reads."""

    title: str
    headlines: list[Headline]
    tables: list[TableView]
    other_metrics: list[str]
    exhibits: Exhibits
    people: list[PeopleView]
    driving: list[DrivingView]
    curves: list[Curves]
    recipes: list[Recipe]
    truths: list[tuple[str, str]]
    inputs: list[InputFile]
    notes: list[str]
    graph: GraphView | None
    cost: CostView | None


def write_report(inputs: ReportInputs, out_path: str | Path) -> Path:
    """Write the report; raises ValueError naming the input that is missing, malformed or does not fit the others."""
    view = collect_report(inputs)
    page = render_page(
        "report.html", report=view, tell_hours=tell_hours, tell_bytes=tell_bytes, tell_seconds=tell_seconds
    )
    return write_text(Path(out_path), page)


def collect_report(inputs: ReportInputs) -> ReportView:
    """Read all inputs and turn them into what the template shows."""
    provenance = Provenance()
    if not (inputs.scores or inputs.people_scores or inputs.driving_scores):
        raise ValueError("a report needs scores; make some by `python -m eval score`, `people-score` or `drives-score`")
    files = [*inputs.scores, *inputs.predictions, *inputs.truths, *inputs.curves, *inputs.recipes]
    provenance.describe(files)
    tables = read_tables(inputs.scores) if inputs.scores else []
    exhibits = draw_exhibits(inputs.predictions, inputs.truths, tables, provenance, inputs.video)
    graph = _read_graph(inputs.graph, provenance) if inputs.graph else None
    cost = _read_cost(inputs.root, provenance) if inputs.root else None
    return ReportView(
        title=inputs.title,
        headlines=[make_headline(table) for table in tables],
        tables=[make_table_view(table, inputs.scores, provenance) for table in tables],
        other_metrics=[text for key, text in MEANINGS.items() if any(key in table.columns for table in tables)],
        exhibits=exhibits,
        people=show_people(inputs.people_scores, inputs.people_overlays, provenance),
        driving=show_driving(inputs.driving_scores, inputs.driving_sheets, provenance),
        curves=[_read_curves(path, provenance) for path in inputs.curves],
        recipes=[Recipe(file=provenance.describe([path])[0], text=Path(path).read_text()) for path in inputs.recipes],
        truths=list(dict.fromkeys((table.benchmark, table.scores[0]["truth_sha256"]) for table in tables)),
        inputs=provenance.described,
        notes=list(inputs.notes),
        graph=graph,
        cost=cost,
    )


def _read_curves(path: Path, provenance: Provenance) -> Curves:
    log = read_training_log(path)
    return Curves(name=log.name, panels=render_curves_svg(log), files=provenance.describe([path]))


def _read_cost(root: Path, provenance: Provenance) -> CostView:
    costs = read_costs(root)
    return CostView(costs=costs, files=provenance.describe(costs.files))


def _read_graph(path: Path, provenance: Provenance) -> GraphView:
    """dot is drawn here; svg is embedded as an image, where it can run nothing."""
    content, files = Path(path).read_bytes(), provenance.describe([path])
    if Path(path).suffix == ".svg":
        return GraphView(svg="", uri=data_uri("image/svg+xml", content), files=files)
    try:
        return GraphView(svg=render_graph_svg(parse_dot(content.decode())), uri="", files=files)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
