"""What the graph does with people: which models a benchmark's tables have, and which files each of them is."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from generation.config import as_words
from workflow.settings import CONSTANT, Benchmark, BodySource, Dataset, Stage

MODELS = ("blade_depthnet", "blade_posenet")
"""Models of trainer/models that say where a person is, not where points go."""
STARTS_FROM = {"blade_posenet": ("blade_depthnet",)}
"""Models that may start from the weights of another one, which is a part of them."""


@dataclass(frozen=True)
class People:
    """The data sets, stages and benchmarks of people in a configuration."""

    bodies: Mapping[str, BodySource]
    datasets: Mapping[str, Dataset]
    benchmarks: Mapping[str, Benchmark]
    """Of people alone."""
    stages: tuple[str, ...]
    """Those that train a model of people, in their order."""
    training_sets: Mapping[str, str]
    """The data set that each of these stages learns from; of a mixture the one that its recipe calls `dataset`."""
    mixtures: Mapping[str, tuple[str, ...]]
    """All that it learns from."""
    settings: Mapping[str, Mapping[str, Any]]
    """The `data.people` section of each of these stages."""

    @classmethod
    def of(
        cls,
        bodies: Mapping[str, BodySource],
        datasets: Mapping[str, Dataset],
        stages: Mapping[str, Stage],
        benchmarks: Mapping[str, Benchmark],
        recipes: Mapping[str, dict[str, Any]],
    ) -> "People":
        """Those of a whole configuration."""
        chosen = tuple(name for name in stages if recipes[name]["model"]["name"] in MODELS)
        return cls(
            bodies=bodies,
            datasets=datasets,
            benchmarks={n: b for n, b in benchmarks.items() if b.dataset in datasets and datasets[b.dataset].is_people},
            stages=chosen,
            training_sets={name: recipes[name]["data"]["dataset"] for name in chosen},
            mixtures={n: tuple(recipes[n]["data"]["mixture"] or [recipes[n]["data"]["dataset"]]) for n in chosen},
            settings={name: recipes[name]["data"]["people"] or {} for name in chosen},
        )

    # Data

    def words(self, dataset: str) -> list[str]:
        """Overrides of `python -m generation people` for a data set: key=value, sorted."""
        return as_words(self.datasets[dataset].overrides)

    def body_inputs(self, body: str) -> list[str]:
        """What a body file waits for: the packages that make it, a user's file, or nothing."""
        known = self.bodies[body]
        return {"anny": ["data/envs/body.json"], "smplx": [known.path], "toy": []}[known.source]

    def packages(self, body: str) -> str:
        """The option that names the packages of a body that they make."""
        return "--packages data/envs/body" if self.bodies[body].source == "anny" else ""

    def facts(self, rule: str, wildcards: Mapping[str, str]) -> dict[str, str]:
        """What decides a body file or a shard apart from code and inputs."""
        if rule == "body":
            return {"body": _digest(self.bodies[wildcards["body"]].words())}
        dataset = self.datasets[wildcards["dataset"]]
        seeds, overrides = dataset.seeds(wildcards["shard"]), _digest(self.words(dataset.name))
        return {"seeds": seeds, "overrides": overrides, "body": dataset.body, "codec": dataset.codec}

    def steps_of_bodies(self) -> Iterator[tuple[str, dict[str, str], tuple[str, ...]]]:
        """Rule, wildcards and outputs of the jobs that make the bodies of data sets."""
        used = sorted({dataset.body for dataset in self.datasets.values() if dataset.is_people})
        if any(self.bodies[body].source == "anny" for body in used):
            yield "body_packages", {}, ("data/envs/body.json",)
        for body in used:
            yield "body", {"body": body}, (f"data/bodies/{body}.npz",)

    # Training and evaluation

    @property
    def all(self) -> list[str]:
        """Every name that a row may have."""
        return [CONSTANT, *self.stages]

    def check(self) -> None:
        """Raise ValueError for a stage that learns from clips of the other kind, and for a table without rows."""
        for stage, name in ((stage, name) for stage, names in self.mixtures.items() for name in names):
            if not self.datasets[name].is_people:
                raise ValueError(
                    f"stages.{stage}: data.dataset={name} has no people; name one with a body, "
                    "such as a data set of source: people"
                )
            people = self.settings[stage]
            body, expected = people.get("body"), f"data/bodies/{self.datasets[name].body}.npz"
            if body not in (None, expected):
                raise ValueError(f"stages.{stage}: data.people.body={body}, but {name} has the body {expected}")
            if people.get("endless") and self.datasets[name].is_in_cycles:
                raise ValueError(
                    f"stages.{stage}: Blender renders the people of {name}, and none while they are learned from; set "
                    "data.people.endless=false, or another data set"
                )
            (given, behind) = people.get("panoramas"), next(iter(self.datasets[name].panoramas), None)
            if given not in (None, behind) or (people.get("endless") and given != behind):
                raise ValueError(
                    f"stages.{stage}: data.people.panoramas={given or 'null'}, but behind the people of {name} is "
                    f"{behind or 'none'}; set data.people.panoramas={behind or 'null'}"
                )
        for name in self.benchmarks:
            if not self.rows(name):
                raise ValueError(
                    f"benchmarks.{name}: no stage learns from people of the body '{self._body_name(name)}'; add one, "
                    "or remove the benchmark"
                )

    def rows(self, benchmark: str) -> list[str]:
        """Names of the rows of a benchmark's tables, in their order; the constant is that of a stage's training set."""
        asked, body = self.benchmarks[benchmark].trackers, self._body_name(benchmark)
        fitting = [stage for stage, name in self.training_sets.items() if self.datasets[name].body == body]
        return [row for row in ([CONSTANT, *fitting] if fitting else []) if asked is None or row in asked]

    def body(self, benchmark: str) -> str:
        """The body file that a benchmark's people were made with."""
        return f"data/bodies/{self._body_name(benchmark)}.npz"

    def training_set(self, benchmark: str) -> str:
        """The data set whose constant a benchmark's table has: that of the first stage with the benchmark's body."""
        body = self._body_name(benchmark)
        return next(name for name in self.training_sets.values() if self.datasets[name].body == body)

    def _body_name(self, benchmark: str) -> str | None:
        return self.datasets[self.benchmarks[benchmark].dataset].body

    def files(self, benchmark: str, kind: str) -> list[str]:
        """All predictions ("predictions.npz"), scores ("json") or overlays ("png") of a benchmark."""
        return [f"results/{benchmark}/{row}.people.{kind}" for row in self.rows(benchmark)]

    def steps(self, benchmark: str) -> Iterator[tuple[str, dict[str, str], tuple[str, ...]]]:
        """Rule, wildcards and outputs of every job of a benchmark."""
        for row in self.rows(benchmark):
            stem, names = f"results/{benchmark}/{row}.people", {"people": benchmark}
            predict = ("people_constant", names) if row == CONSTANT else ("predict_people", names | {"model": row})
            yield *predict, (f"{stem}.predictions.npz",)
            yield "score_people", names | {"row": row}, (f"{stem}.json",)
            yield "draw_overlay", names | {"row": row}, (f"{stem}.png",)
        tables = tuple(f"results/{benchmark}/table.{suffix}" for suffix in ("md", "csv"))
        yield "people_table", {"people": benchmark}, tables


def _digest(words: list[str]) -> str:
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
