"""What a configuration cannot mean, found before a job starts: each check raises ValueError with one line."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from generation.config import parse_recipe, parse_tracks
from generation.driving.config import parse_drive
from generation.people.config import parse_people
from trainer.config import suggestion
from workflow.addresses import check_path
from workflow.people import STARTS_FROM
from workflow.settings import Dataset

if TYPE_CHECKING:
    from workflow.plan import Plan

MOST_SHARDS = 1_000_000
"""Shards have six digits in their names."""


def check_plan(plan: Plan) -> None:
    """All checks; raises ValueError for the first mistake."""
    for name, recipe in plan.recipes.items():
        _check_edges(plan, name, recipe)
    _check_order(plan)
    plan.people.check()
    plan.driving.check()
    num_frames = {name: _check_words(plan, name) for name in plan.datasets_of("render")}
    num_frames |= {name: known.clip_length for name, known in plan.datasets.items() if known.clip_length}
    for name in plan.datasets_of("people"):
        _check_people(plan, name)
    for dataset in plan.datasets.values():
        _check_shards(dataset)
    for benchmark in plan.benchmarks.values():
        _check_scenes(plan, f"benchmarks.{benchmark.name}", benchmark.dataset)
    for name, recipe in plan.recipes.items():
        if recipe["validation"]["dataset"]:
            _check_scenes(plan, f"validation of stages.{name}", recipe["validation"]["dataset"])
    for name, recipe in plan.recipes.items():
        _check_samples(plan, name, recipe, num_frames)
    for name in plan.driving.benchmarks:
        _check_windows(plan, name, num_frames.get(plan.benchmarks[name].dataset))
    for name in plan.deepspeed_stages:
        if find_spec("deepspeed") is None:
            raise ValueError(
                f"stages.{name}: training.strategy=deepspeed_zero2 needs DeepSpeed, which is not installed; "
                "pip install 'frameline[deepspeed]', or use training.strategy=fsdp"
            )


def _check_words(plan: Plan, dataset: str) -> int:
    """Hold what is rendered and annotated against what generation knows; returns the frames of a clip."""
    known = plan.datasets[dataset]
    if known.is_drive and known.tracks:
        raise ValueError(f"datasets.{dataset}.tracks: drives are packed without tracks; leave it out")
    try:
        words = plan.generation_words(dataset)
        config = parse_drive(words) if known.is_drive else parse_recipe(known.recipe, words)
    except ValueError as error:
        raise ValueError(f"datasets.{dataset}.overrides: {error}") from None
    try:
        parse_tracks(plan.track_words(dataset))
    except ValueError as error:
        raise ValueError(f"datasets.{dataset}.tracks: {error}") from None
    return config.num_frames


def _check_people(plan: Plan, dataset: str) -> None:
    """Hold what is drawn against what generation knows."""
    try:
        parse_people(plan.people.words(dataset))
    except ValueError as error:
        raise ValueError(f"datasets.{dataset}.overrides: {error}") from None


def _check_shards(dataset: Dataset) -> None:
    if dataset.is_made_here and dataset.num_shards > MOST_SHARDS:
        enough = -(-dataset.num_clips // 10_000)
        raise ValueError(
            f"datasets.{dataset.name}: {dataset.num_clips} clips at clips_per_shard={dataset.clips_per_shard} are "
            f"{dataset.num_shards} shards, and a shard is a job; with clips_per_shard={enough} they are 10000"
        )


def _check_samples(plan: Plan, stage: str, recipe: dict[str, Any], num_frames: dict[str, int]) -> None:
    """Hold what a training reads against what its data set has, where that is known: clips, and frames of a clip."""
    data, training = recipe["data"], recipe["training"]
    datasets = [plan.datasets[name] for name in plan.datasets_of_stage(stage)]
    key, needed = "data.num_frames", data["num_frames"]
    if stage in plan.driving.stages:
        key, needed = "data.driving.num_frames at its frame_step", plan.driving.span(stage)
    for dataset in datasets if data["people"] is None else ():  # of people a sample is one frame
        frames = num_frames.get(dataset.name)
        if frames is not None and needed > frames:
            raise ValueError(
                f"stages.{stage}: {key}={needed} of clips of {frames} frames ({dataset.name}); "
                f"train with {key}={frames} or make longer clips"
            )
    batch_size, steps, processes = training["batch_size"], training["accumulation_steps"], plan.stages[stage].processes
    global_batch = training["global_batch_size"] or batch_size * steps * processes
    num_clips, names = sum(dataset.num_clips for dataset in datasets), ", ".join(one.name for one in datasets)
    is_known = all(dataset.is_rendered for dataset in datasets)
    if training["num_epochs"] is not None and is_known and num_clips < global_batch:
        raise ValueError(
            f"stages.{stage}: an epoch of {num_clips} clips ({names}) has no whole batch of "
            f"{global_batch} (batch_size {batch_size} x accumulation_steps {steps} x {processes} processes); lower one "
            "of them, or set training.num_steps and training.num_epochs=null"
        )


def _check_windows(plan: Plan, benchmark: str, num_frames: int | None) -> None:
    """Hold the windows that are made of a benchmark of driving against the frames of a clip, where that is known."""
    for stage in plan.driving.worlds(benchmark):
        span, asked = plan.driving.span(stage), plan.driving.num_windows(benchmark)
        if num_frames is not None and num_frames - span + 1 < asked:
            raise ValueError(
                f"benchmarks.{benchmark}: rollouts.windows={asked} of stages.{stage}, each over {span} frames, and "
                f"clips have {num_frames} ({plan.benchmarks[benchmark].dataset}); make longer clips, or fewer windows"
            )


def _check_scenes(plan: Plan, who: str, dataset: str) -> None:
    """A seed is a scene: none that a model is scored on may be trained on."""
    tested = plan.datasets[dataset]
    for stage, trained in _trained_on(plan):
        shared = range(
            max(tested.all_seeds.start, trained.all_seeds.start), min(tested.all_seeds.stop, trained.all_seeds.stop)
        )
        is_same = tested.is_made_here and tested.source == trained.source and tested.split == trained.split
        if is_same and shared:
            of_split, or_split = (f" of split {tested.split}", ", or its split") if tested.is_rendered else ("", "")
            raise ValueError(
                f"{who} scores on scenes that stages.{stage} trains on: {tested.name} and "
                f"{trained.name} share seeds {shared.start}:{shared.stop}{of_split}; "
                f"change datasets.{tested.name}.first_seed{or_split}"
            )


def _trained_on(plan: Plan) -> Iterator[tuple[str, Dataset]]:
    """Every stage with each data set that it trains on."""
    for stage in plan.recipes:
        yield from ((stage, plan.datasets[name]) for name in plan.datasets_of_stage(stage))


def _check_edges(plan: Plan, stage: str, recipe: dict[str, Any]) -> None:
    source, key = recipe["init_from"], "data.mixture: " if recipe["data"]["mixture"] else "data.dataset="
    for dataset in plan.datasets_of_stage(stage):
        if dataset not in plan.datasets:
            raise ValueError(
                f"stages.{stage}: {key}{dataset} is not under datasets:, {suggestion(dataset, plan.datasets)}"
            )
    validated = recipe["validation"]["dataset"]
    if validated and validated not in plan.datasets:
        raise ValueError(
            f"stages.{stage}: validation.dataset={validated} is not under datasets: (null turns validation off), "
            f"{suggestion(validated, plan.datasets)}"
        )
    if source and source not in plan.stages:
        raise ValueError(f"stages.{stage}: init_from={source} is not under stages:, {suggestion(source, plan.stages)}")
    if source:
        names = [each["model"]["name"] for each in (recipe, plan.recipes[source])]
        if names[1] not in (names[0], *STARTS_FROM.get(names[0], ())):
            raise ValueError(f"stages.{stage}: init_from={source} gives weights of {names[1]}, this one is {names[0]}")
    labels = plan.labels.get(stage)
    for teacher in labels.stages if labels else ():
        if teacher == stage or teacher not in plan.stages:
            known = suggestion(teacher, plan.stages.keys() - {stage})
            raise ValueError(f"stages.{stage}: teacher {teacher} is no other stage under stages:, {known}")
    for path in labels.files if labels else ():
        check_path(f"stages.{stage}: pseudo_labels.teachers", str(path))


def _check_order(plan: Plan) -> None:
    """A stage comes after those whose weights it starts from or is taught by: in no circle."""
    for stage in plan.stages:
        way = [stage]
        todo = [iter(_sources(plan, stage))]
        done: set[str] = set()
        while todo:
            following = next(todo[-1], None)
            if following is None:
                todo.pop()
                done.add(way.pop())
            elif following in way:
                circle = " <- ".join([*way[way.index(following) :], following])
                raise ValueError(f"stages: {circle}: each waits for the other (init_from, pseudo_labels.teachers)")
            elif following not in done:
                way.append(following)
                todo.append(iter(_sources(plan, following)))


def _sources(plan: Plan, stage: str) -> Iterator[str]:
    """The stages whose weights a stage needs."""
    if source := plan.recipes[stage]["init_from"]:
        yield source
    if stage in plan.labels:
        yield from plan.labels[stage].stages
