"""The graph of a configuration: names of shards, trackers and files, and the facts that decide each output.

Snakemake compares the facts between runs (as params), the provenance of each file records them, and
`snakemake verify` holds the one against the other.
"""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from generation.config import as_words
from trainer.config import HOW_IT_RUNS, as_dict, compose, flat_keys, no_weights
from workflow.archive import NOTE
from workflow.checks import check_plan
from workflow.cluster import Cluster
from workflow.driving import RULES as DRIVING_RULES
from workflow.driving import Driving
from workflow.names import index_path, quote, short_digest
from workflow.people import People
from workflow.settings import Benchmark, Dataset, read_settings
from workflow.sources import SOURCES, digest_of, making_of
from workflow.steps import Step, steps_of
from workflow.trackers import Trackers


class Plan:
    """What a configuration asks for; raises ValueError with one line for a mistake in it."""

    def __init__(self, config: dict[str, Any], root: Path = Path()):
        self.config, self.root = config, root
        settings = read_settings(config)
        self.datasets, self.stages, self.benchmarks = settings.datasets, settings.stages, settings.benchmarks
        self.kubric_assets, self.publish = settings.kubric_assets, settings.publish
        recipes = {name: compose(name, stage.overrides) for name, stage in self.stages.items()}
        self.cluster = Cluster.of(self.stages, recipes)
        self.recipes = {name: as_dict(recipe) for name, recipe in recipes.items()}
        models = {name: recipe["model"]["name"] for name, recipe in self.recipes.items()}
        self.people = People.of(settings.bodies, self.datasets, self.stages, self.benchmarks, self.recipes)
        self.driving = Driving.of(self.datasets, self.stages, self.benchmarks, self.recipes)
        others = (*self.people.stages, *self.driving.stages)
        tracking = {name: stage for name, stage in self.stages.items() if name not in others}
        self.trackers = Trackers(tracking, self.benchmarks, models)
        self.labels = {name: recipe.pseudo_labels for name, recipe in recipes.items() if recipe.pseudo_labels}
        check_plan(self)

    # Data

    def datasets_of(self, *sources: str) -> list[str]:
        """Names of the data sets that come from these sources."""
        return [name for name, dataset in self.datasets.items() if dataset.source in sources]

    @property
    def packed_datasets(self) -> list[str]:
        """Names of the data sets whose shards are packed here from files."""
        return [name for name, dataset in self.datasets.items() if not dataset.is_drawn and not dataset.is_remote]

    def is_available(self, dataset: str) -> bool:
        """Whether a data set can be had here without a download: made here, packed, elsewhere, or its file is there."""
        known = self.datasets[dataset]
        if known.is_drawn:
            path = self.people.bodies[known.body].path
            return not path or self.is_there(path)
        return known.is_rendered or known.is_remote or self.is_there(known.path) or self.is_there(index_path(dataset))

    def is_there(self, path: str) -> bool:
        return (self.root / path).exists()

    def shard_files(self) -> list[str]:
        """Tar and JSON of every shard of the data sets that can be had here."""
        available = [dataset for dataset in self.datasets.values() if self.is_available(dataset.name)]
        stems = [f"data/shards/{dataset.name}/shard-{shard}" for dataset in available for shard in dataset.shards]
        return [f"{stem}.{suffix}" for stem in stems for suffix in ("tar", "json")]

    def downloads(self) -> dict[str, Dataset]:
        """Data sets that are not there yet, or that a download made, by the file that it writes.

        What a person put there is never touched.
        """
        files = [known for name in self.datasets_of("tapvid") if not (known := self.datasets[name]).is_archive]
        found = {dataset.path: dataset for dataset in files if self.is_made_by_us(dataset.path)}
        archives = (dataset for dataset in self.datasets.values() if dataset.is_archive)
        return found | {_marker(known): known for known in archives if self.is_unpacked_by_us(known.path)}

    def is_made_by_us(self, path: str) -> bool:
        return not self.is_there(path) or self.is_there(f"{path}.prov.json")

    def is_unpacked_by_us(self, folder: str) -> bool:
        return not self.is_there(folder) or self.is_there(f"{folder}/{NOTE}")

    def fetch_words(self, dataset: Dataset) -> str:
        """The command that downloads a data set, but for its output."""
        keys = ("url", "sha256") if dataset.is_archive else ("url", "member", "sha256")
        words = [f"--{key}={value}" for key in keys if (value := getattr(dataset, key))]
        if dataset.is_archive:
            return quote(["workflow.archive", *words, f"--folder={dataset.path}"])
        return quote(["workflow.fetch", *words])

    def link_words(self, dataset: str) -> str:
        """Arguments of `python -m shards link` for a data set whose shards lie elsewhere, but for its output."""
        known = self.datasets[dataset]
        return quote([f"{known.index}#sha256={known.sha256}", *(["--fetch"] if known.fetch else [])])

    def pack_input(self, dataset: str, shard: str) -> str:
        """What a shard waits for: a list of clips, a file, a folder, or the marker of an unpacked one."""
        known = self.datasets[dataset]
        if known.is_rendered:
            return f"data/{'tracks' if known.is_annotated else 'clips'}/{dataset}/shard-{shard}.json"
        return _marker(known) if known.is_archive and self.is_unpacked_by_us(known.path) else known.path

    def pack_source(self, dataset: str, shard: str) -> str:
        """What a shard is packed from."""
        known = self.datasets[dataset]
        return self.pack_input(dataset, shard) if known.is_rendered else known.path

    def pack_words(self, dataset: str) -> str:
        """Options of `python -m shards pack` that only videos, labels of people and drives have."""
        known = self.datasets[dataset]
        words = [word for name, value in known.pack_options.items() if value is not None for word in (name, str(value))]
        words += [word for path in self.body_files(dataset) for word in ("--body", path)]
        return quote([*words, *["--truncate-shape"] * known.truncate_shape])

    def body_files(self, dataset: str) -> list[str]:
        """The body file that a data set's labels of people belong to, if it has such labels."""
        body = self.datasets[dataset].body
        return [f"data/bodies/{body}.npz"] if body else []

    def generation_words(self, dataset: str) -> list[str]:
        """Overrides of `python -m generation <recipe>` for a data set: key=value, sorted."""
        known = self.datasets[dataset]
        return as_words({"split": known.split} | known.overrides)

    def track_words(self, dataset: str) -> list[str]:
        """Overrides of `python -m generation annotate` for a data set: key=value, sorted."""
        return as_words(self.datasets[dataset].tracks)

    # Training and evaluation

    def datasets_of_stage(self, stage: str) -> list[str]:
        """Names of the data sets that a stage trains on: one, or those of its mixture."""
        data = self.recipes[stage]["data"]
        return sorted(data["mixture"]) if data["mixture"] else [data["dataset"]]

    def validation_index(self, stage: str) -> list[str]:
        """The index that a stage is validated on during its training, if it is."""
        dataset = self.recipes[stage]["validation"]["dataset"]
        return [index_path(dataset)] if dataset else []

    def teacher_files(self, stage: str) -> list[str]:
        """The files of the teachers that label a stage's videos, if there are some."""
        return [str(path) for path in self.labels[stage].files] if stage in self.labels else []

    deepspeed_op = "data/deepspeed_op/op.json"
    """Written when DeepSpeed's CPU op is built beside it."""

    @property
    def deepspeed_stages(self) -> list[str]:
        """Stages whose processes share a model by DeepSpeed: it takes two of them."""
        by_deepspeed = (n for n, recipe in self.recipes.items() if recipe["training"]["strategy"] == "deepspeed_zero2")
        return [name for name in by_deepspeed if self.stages[name].processes > 1]

    def rows(self, benchmark: str) -> list[str]:
        """Names of the rows of a benchmark's tables, of whichever kind it is."""
        kinds = (kind for kind in (self.people, self.driving) if benchmark in kind.benchmarks)
        return next(kinds, self.trackers).rows(benchmark)

    def files_of_benchmark(self, benchmark: str, kind: str) -> list[str]:
        """All predictions ("predictions.npz") or scores ("json") of a benchmark."""
        return [
            f"results/{benchmark}/{row}.{mode}.{resolution}.{kind}"
            for mode, resolution in self.benchmarks[benchmark].protocols
            for row in self.trackers.rows(benchmark, resolution)
        ]

    @cached_property
    def available_benchmarks(self) -> list[Benchmark]:
        """Benchmarks that the report can hold: those whose data set is there or is rendered here."""
        return [benchmark for benchmark in self.benchmarks.values() if self.is_available(benchmark.dataset)]

    @property
    def tracking_benchmarks(self) -> list[Benchmark]:
        """Available benchmarks that trackers are scored on."""
        others = self.people.benchmarks.keys() | self.driving.benchmarks.keys()
        return [benchmark for benchmark in self.available_benchmarks if benchmark.name not in others]

    @property
    def people_benchmarks(self) -> list[Benchmark]:
        """Available benchmarks that models of people are scored on."""
        return [benchmark for benchmark in self.available_benchmarks if benchmark.name in self.people.benchmarks]

    @property
    def driving_benchmarks(self) -> list[Benchmark]:
        """Available benchmarks that driving worlds are scored on."""
        return [benchmark for benchmark in self.available_benchmarks if benchmark.name in self.driving.benchmarks]

    def notes(self) -> list[str]:
        """What the report leaves out, and why."""
        missing = (b for b in self.benchmarks.values() if b not in self.available_benchmarks)
        return [
            f"{b.name} was not scored: {self.datasets[b.dataset].path} is not there. "
            "Put it there or run `snakemake evaluate`, which downloads it; then `snakemake report` again."
            for b in missing
        ]

    def recipe_words(self, stage: str, section: str = "") -> str:
        """What decides a stage's weights, or one section of it, as sorted key=value.

        Sections of `no_weights` decide nothing (they have no words), nor does HOW_IT_RUNS.
        """
        whole = self.recipes[stage]
        recipe = {key: {} if key in no_weights(whole) else value for key, value in whole.items()}
        for name, keys in HOW_IT_RUNS.items():
            recipe[name] = {key: value for key, value in recipe[name].items() if key not in keys}
        recipe = recipe[section] if section else recipe
        return " ".join(sorted(f"{key}={json.dumps(_lookup(recipe, key))}" for key in flat_keys(recipe)))

    def edges(self) -> dict[str, Any]:
        """What decides which rules the graph has."""
        return {
            "datasets": {name: dataset.source for name, dataset in self.datasets.items()},
            "stages": {name: [*self.datasets_of_stage(name), one["init_from"]] for name, one in self.recipes.items()}
            | {f"teachers of {name}": labels.stages for name, labels in self.labels.items()}
            | {f"DeepSpeed's op for {name}": self.deepspeed_op for name in self.deepspeed_stages},
            "benchmarks": {benchmark.name: benchmark.dataset for benchmark in self.available_benchmarks},
            "trackers": {benchmark.name: self.rows(benchmark.name) for benchmark in self.available_benchmarks},
        }

    # Facts

    def facts(self, rule: str, wildcards: dict[str, str]) -> dict[str, str]:
        """All that decides the outputs of a job apart from its inputs, as short texts."""
        is_of_drives = rule == "render_shard" and self.datasets[wildcards["dataset"]].is_drive
        code = "render_drives" if is_of_drives else rule
        return making_of(code, *self._models_of(rule, wildcards)) | self._own_facts(rule, wildcards)

    def _models_of(self, rule: str, wildcards: dict[str, str]) -> list[str]:
        """Names of the models whose code decides a job's outputs: a stage's own, and its teachers'."""
        if not SOURCES[rule].has_model:
            return []
        stage = next(wildcards[name] for name in ("model", "world", "stage", "tracker") if name in wildcards)
        stage = stage.removesuffix("-untrained")
        teachers = self.labels[stage].teachers if rule == "train_stage" and stage in self.labels else ()
        return sorted({self.recipes[each]["model"]["name"] for each in (stage, *teachers) if each in self.recipes})

    def _own_facts(self, rule: str, wildcards: dict[str, str]) -> dict[str, str]:
        if rule == "render_shard":
            dataset, shard = wildcards["dataset"], wildcards["shard"]
            recipe = self.datasets[dataset].recipe
            seeds = self.datasets[dataset].seeds(shard)
            overrides = short_digest(self.generation_words(dataset))
            return {"recipe": recipe, "seeds": seeds, "overrides": overrides, "assets": self.datasets[dataset].assets}
        if rule in ("draw_people", "body"):
            return self.people.facts(rule, wildcards)
        if rule == "annotate_shard":
            return {"tracks": short_digest(self.track_words(wildcards["dataset"]))}
        if rule == "mirror_assets":
            return {"url": self.kubric_assets}
        if rule == "fetch":
            dataset = self.downloads()[wildcards["file"]]
            return {"url": dataset.url or "", "sha256": dataset.sha256 or ""}
        if rule == "link":
            known = self.datasets[wildcards["dataset"]]
            return {"url": known.index, "sha256": known.sha256}
        if rule == "pack":
            dataset = wildcards["dataset"]
            facts = {"layout": self.layout(dataset), "codec": self.datasets[dataset].codec}
            words = self.pack_words(dataset)
            return facts | ({"options": words} if words else {})
        if rule == "index":
            return {"shards": str(len(self.datasets[wildcards["dataset"]].shards))}
        if rule == "train_stage":
            stage = wildcards["stage"]
            return {
                "recipe": short_digest(self.recipe_words(stage)),
                "processes": str(self.stages[stage].processes),
            }
        if rule == "predict":
            return self.trackers.prediction_facts(wildcards)
        if rule == "score":
            return self.trackers.score_facts(wildcards)
        if rule == "table":
            return {"scores": short_digest(self.files_of_benchmark(wildcards["benchmark"], "json"))}
        if rule == "score_people":
            return {"most_failed": str(self.benchmarks[wildcards["people"]].most_failed)}
        if rule == "people_table":
            return {"scores": short_digest(self.people.files(wildcards["people"], "json"))}
        if rule in DRIVING_RULES:
            return self.driving.facts(rule, wildcards)
        if rule == "rulegraph":
            return {"edges": short_digest(self.edges())}
        if rule == "report_page":
            return {"benchmarks": ",".join(b.name for b in self.available_benchmarks)}
        return {}

    def layout(self, dataset: str) -> str:
        """The name by which `python -m shards pack --source` knows a data set's files."""
        return self.datasets[dataset].layout

    def steps(self) -> Iterator[Step]:
        """Every job of the whole graph, in an order in which they can run."""
        return steps_of(self)

    # What Snakemake's rules ask for

    def made(self, rule: str, wildcards: dict[str, str]) -> str:
        """The rule's name and the facts as words of a command line."""
        return quote([rule, *(f"{key}={value}" for key, value in self.facts(rule, wildcards).items())])

    def launch_words(self, stage: str) -> str:
        """Arguments of trainer.launch for a stage, but for the weights that it starts from."""
        paths = (
            "paths.run_root=runs",
            f"paths.output_dir=results/{stage}",
            f"paths.source_digest={digest_of('train_stage', *self._models_of('train_stage', {'stage': stage}))}",
        )
        return quote([f"stage={stage}", *self.stages[stage].overrides, *paths])


def _marker(dataset: Dataset) -> str:
    """What is written when a data set's archive is unpacked: a folder's own time stamps say nothing."""
    return f"{dataset.path}.json"


def _lookup(values: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        values = values[key]
    return values
