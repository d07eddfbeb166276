"""What the graph does with driving worlds: which stages train one, and on which data sets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from workflow.settings import Benchmark, Dataset, Stage

MODELS = ("vista",)
"""Models of trainer/models that make videos of drives, and follow no points."""


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
        )

    def check(self) -> None:
        """Raise ValueError for a stage that learns from clips without drives, or says nothing of its windows."""
        for stage in self.stages:
            if not self.windows[stage]:
                raise ValueError(f"stages.{stage}: it learns from drives; add data=driving to its overrides")
            for name in self.mixtures[stage]:
                if not self.datasets[name].is_driving:
                    raise ValueError(
                        f"stages.{stage}: data.dataset={name} has no drives; name one of recipe: driving, or of "
                        "source: nuscenes, opendv or vista_list"
                    )

    def span(self, stage: str) -> int:
        """Frames of a clip that a window of a stage takes, from its first to its last."""
        window = self.windows[stage]
        return (window["num_frames"] - 1) * window["frame_step"] + 1
