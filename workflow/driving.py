"""What the graph does with driving worlds: which stages train one, on which data sets, and the rows of their tables."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflow.addresses import check_path
from workflow.names import index_path, quote, short_digest
from workflow.settings import COPY, Benchmark, Dataset, Stage

MODELS = ("vista",)
"""Models of trainer/models that make videos of drives, and follow no points."""
RULES = ("drives_copy", "predict_drives", "drives_table")
"""Rules whose outputs settings of a benchmark decide."""
SIZE = r"\d+x\d+x\d+x\d+"
"""The size of a window in names of files: frames, height, width, and every how many-th frame of a clip."""


@dataclass(frozen=True)
class Driving:
    """The data sets, stages and benchmarks of driving worlds in a configuration."""

    datasets: Mapping[str, Dataset]
    """All of them, also those of other kinds."""
    benchmarks: Mapping[str, Benchmark]
    """Of drives alone."""
    stages: tuple[str, ...]
    """Those that train a world, in their order."""
    mixtures: Mapping[str, tuple[str, ...]]
    """The data sets that each of these stages learns from."""
    windows: Mapping[str, Mapping[str, Any]]
    """The `data.driving` section of each of these stages."""
    published: Mapping[str, str]
    """A file of the user's that a stage begins with (model.published): of those that start from no other stage."""

    @classmethod
    def of(
        cls,
        datasets: Mapping[str, Dataset],
        stages: Mapping[str, Stage],
        benchmarks: Mapping[str, Benchmark],
        recipes: Mapping[str, dict[str, Any]],
    ) -> "Driving":
        """Those of a whole configuration."""
        chosen = tuple(name for name in stages if recipes[name]["model"]["name"] in MODELS)
        return cls(
            datasets=datasets,
            benchmarks={
                n: b for n, b in benchmarks.items() if b.dataset in datasets and datasets[b.dataset].is_driving
            },
            stages=chosen,
            mixtures={n: tuple(recipes[n]["data"]["mixture"] or [recipes[n]["data"]["dataset"]]) for n in chosen},
            windows={name: recipes[name]["data"]["driving"] or {} for name in chosen},
            published={
                name: path
                for name in chosen
                if (path := recipes[name]["model"].get("published")) and not recipes[name]["init_from"]
            },
        )

    def check(self) -> None:
        """Raise ValueError for a stage that learns from clips without drives, says nothing of its windows, or names its
        published file as no path is; for a benchmark of which no row is left, or whose windows are given whole."""
        for stage, path in self.published.items():
            check_path(f"stages.{stage}: model.published", path)
        for stage in self.stages:
            if not self.windows[stage]:
                raise ValueError(f"stages.{stage}: it learns from drives; add data=driving to its overrides")
            for name in self.mixtures[stage]:
                if not self.datasets[name].is_driving:
                    raise ValueError(
                        f"stages.{stage}: data.dataset={name} has no drives; name one of recipe: driving, or of "
                        "source: nuscenes, opendv or vista_list"
                    )
        for name in self.benchmarks:
            if not self.worlds(name):
                raise ValueError(f"benchmarks.{name}: no stage makes drives; add one, or remove the benchmark")
            for stage in self.worlds(name):
                if self.given(name) >= self.windows[stage]["num_frames"]:
                    raise ValueError(
                        f"benchmarks.{name}: rollouts.given={self.given(name)}, and stages.{stage} makes windows of "
                        f"data.driving.num_frames={self.windows[stage]['num_frames']}; give fewer frames"
                    )

    def span(self, stage: str) -> int:
        """Frames of a clip that a window of a stage takes, from its first to its last."""
        window = self.windows[stage]
        return (window["num_frames"] - 1) * window["frame_step"] + 1

    # Evaluation

    @property
    def all(self) -> list[str]:
        """Every name that a row may have."""
        return [*dict.fromkeys(row for benchmark in self.benchmarks for row in self.rows(benchmark))]

    def worlds(self, benchmark: str) -> list[str]:
        """The stages that a benchmark scores; `trackers: [copy]` copies for the windows of all of them."""
        asked = set(self.benchmarks[benchmark].trackers or ()) - {COPY}
        return [stage for stage in self.stages if not asked or stage in asked]

    def rows(self, benchmark: str) -> list[str]:
        """Names of the rows of a benchmark's tables: copying once for each size of windows, then the stages."""
        asked, worlds = self.benchmarks[benchmark].trackers, self.worlds(benchmark)
        copies = [f"{COPY}-{size}" for size in dict.fromkeys(self._size(stage) for stage in worlds)]
        return [*(copies if asked is None or COPY in asked else []), *(worlds if asked != (COPY,) else [])]

    def _size(self, stage: str) -> str:
        """A stage's size of windows as in names of files (SIZE)."""
        window = self.windows[stage]
        return "x".join(str(window[name]) for name in ("num_frames", "height", "width", "frame_step"))

    def given(self, benchmark: str) -> int:
        """First frames of a window that are given."""
        return self.benchmarks[benchmark].rollouts.get("given", 1)

    def num_windows(self, benchmark: str) -> int:
        """Windows of each clip that are made."""
        return self.benchmarks[benchmark].rollouts.get("windows", 1)

    def truth(self, benchmark: str) -> str:
        """The index that a benchmark is scored against."""
        return index_path(self.benchmarks[benchmark].dataset)

    def copy_words(self, wildcards: Mapping[str, str]) -> str:
        """Options of `python -m eval drives-copy` for a benchmark and a size."""
        names = ("--num-frames", "--height", "--width", "--frame-step")
        words = [word for pair in zip(names, wildcards["size"].split("x"), strict=True) for word in pair]
        asked = self.benchmarks[wildcards["drives"]].rollouts
        which = [
            word
            for name in ("num_clips", "windows")
            if name in asked
            for word in (f"--{name.replace('_', '-')}", str(asked[name]))
        ]
        return quote([*words, "--num-given", str(self.given(wildcards["drives"])), *which])

    def rollout_words(self, wildcards: Mapping[str, str]) -> str:
        """Options of `python -m trainer.predict_drives` that a benchmark sets."""
        options = self.benchmarks[wildcards["drives"]].rollouts
        pairs = ((f"--{name.replace('_', '-')}", str(options[name])) for name in sorted(options))
        return quote([word for pair in pairs for word in pair])

    def files(self, benchmark: str, kind: str) -> list[str]:
        """All rollouts ("rollouts.npz"), scores ("json") or sheets ("png", "mp4") of a benchmark; copies have none."""
        rows = self.rows(benchmark) if kind in ("rollouts.npz", "json") else self.worlds(benchmark)
        return [f"results/{benchmark}/{row}.drives.{kind}" for row in rows if row in self.rows(benchmark)]

    def facts(self, rule: str, wildcards: Mapping[str, str]) -> dict[str, str]:
        """What settings of a benchmark say of an output of one of RULES."""
        if rule == "drives_table":
            return {"scores": short_digest(self.files(wildcards["drives"], "json"))}
        words = self.copy_words(wildcards) if rule == "drives_copy" else self.rollout_words(wildcards)
        return {"options": words} if words else {}

    def steps(self, benchmark: str) -> Iterator[tuple[str, dict[str, str], tuple[str, ...]]]:
        """Rule, wildcards and outputs of every job of a benchmark."""
        names = {"drives": benchmark}
        for row in self.rows(benchmark):
            stem, is_world = f"results/{benchmark}/{row}.drives", row in self.stages
            made = ("predict_drives", {"world": row}) if is_world else ("drives_copy", {"size": row.split("-", 1)[1]})
            yield made[0], names | made[1], (f"{stem}.rollouts.npz",)
            yield "score_drives", names | {"entry": row}, (f"{stem}.json",)
            if is_world:
                yield "draw_drives", names | {"world": row}, (f"{stem}.png", f"{stem}.mp4")
        tables = tuple(f"results/{benchmark}/table.{suffix}" for suffix in ("md", "csv"))
        yield "drives_table", names, tables
