"""Every job of a plan, for `snakemake verify`: its rule, its wildcards and the files that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workflow.names import index_path, page_path
from workflow.settings import Benchmark, Dataset

if TYPE_CHECKING:
    from workflow.plan import Plan


@dataclass(frozen=True)
class Step:
    """One job: its rule and wildcards, and the files that it makes."""

    rule: str
    wildcards: dict[str, str]
    outputs: tuple[str, ...]


def steps_of(plan: Plan) -> Iterator[Step]:
    """Every job of the whole graph, in an order in which they can run."""
    rendered = [known for known in plan.datasets.values() if known.is_rendered or known.panoramas]
    if rendered or any(known.is_in_cycles for known in plan.datasets.values()):
        yield Step("render_environment", {}, ("data/envs/render.json",))
    yield from (Step(*step) for step in plan.people.steps_of_bodies())
    used = {known.assets for known in rendered}
    for assets, rule in (("open", "render_assets"), ("kubric", "mirror_assets")):
        if assets in used:
            yield Step(rule, {}, (f"data/assets/{assets}.json",))
    for assets in sorted({known.assets for known in plan.datasets.values() if known.panoramas}):
        yield Step("panoramas", {"assets": assets}, (f"data/panoramas/{assets}.npz",))
    for path in plan.downloads():
        yield Step("fetch", {"file": path}, (path,))
    for dataset in plan.datasets.values():
        yield from _steps_of_dataset(dataset)
    if plan.deepspeed_stages:
        yield Step("deepspeed_op", {}, (plan.deepspeed_op,))
    for stage in plan.stages:
        files = ("weights.safetensors", "untrained.safetensors", "metrics.jsonl", "recipe.yaml")
        yield Step("train_stage", {"stage": stage}, tuple(f"results/{stage}/{file}" for file in files))
        yield Step("curves", {"stage": stage}, (f"results/{stage}/curves.png",))
    for benchmark in plan.benchmarks.values():
        yield from _steps_of_benchmark(plan, benchmark)
    if plan.people_benchmarks:
        yield Step("blade_page", {}, ("results/blade.html",))
    if plan.driving_benchmarks:
        yield Step("vista_page", {}, ("results/vista.html",))
    yield Step("rulegraph", {}, ("results/graph.dot",))
    yield Step("report_page", {}, ("results/report.html",))


def _steps_of_dataset(dataset: Dataset) -> Iterator[Step]:
    for shard in dataset.shards:
        names = {"dataset": dataset.name, "shard": shard}
        stem = f"{dataset.name}/shard-{shard}"
        if dataset.is_rendered:
            yield Step("render_shard", names, (f"data/clips/{stem}.json",))
        if dataset.is_annotated:
            yield Step("annotate_shard", names, (f"data/tracks/{stem}.json",))
        rule = "draw_people" if dataset.is_drawn else "pack"
        yield Step(rule, names, tuple(f"data/shards/{stem}.{suffix}" for suffix in ("tar", "json")))
    rule = "link" if dataset.is_remote else "index"
    yield Step(rule, {"dataset": dataset.name}, (index_path(dataset.name),))
    yield Step("dataset_page", {"dataset": dataset.name}, (page_path(dataset.name),))


def _steps_of_benchmark(plan: Plan, benchmark: Benchmark) -> Iterator[Step]:
    if benchmark.name in plan.people.benchmarks:
        yield from (Step(*step) for step in plan.people.steps(benchmark.name))
        return
    if benchmark.name in plan.driving.benchmarks:
        yield from (Step(*step) for step in plan.driving.steps(benchmark.name))
        return
    for mode, resolution in benchmark.protocols:
        for tracker in plan.trackers.rows(benchmark.name, resolution):
            names = {"benchmark": benchmark.name, "mode": mode, "resolution": str(resolution)}
            stem = f"results/{benchmark.name}/{tracker}.{mode}.{resolution}"
            rule, wildcard = plan.trackers.rule_of(tracker)
            yield Step(rule, names | {wildcard: tracker}, (f"{stem}.predictions.npz",))
            yield Step("score", names | {"any": tracker}, (f"{stem}.json",))
    tables = tuple(f"results/{benchmark.name}/table.{suffix}" for suffix in ("md", "csv"))
    yield Step("table", {"benchmark": benchmark.name}, tables)
