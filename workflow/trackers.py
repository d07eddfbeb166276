"""Which trackers a benchmark's tables have, and which rule makes the predictions of each."""

from collections.abc import Mapping
from dataclasses import dataclass

from workflow.settings import BASELINES, RESOLUTION, Benchmark, Stage

UNTRAINED = "-untrained"
JOINT_MODELS = ("cotracker3",)
"""Models that track the queries of a video together, if they are not told otherwise."""


@dataclass(frozen=True)
class Trackers:
    """The trackers of a configuration: baselines, stages before and after training, and those that run elsewhere."""

    stages: dict[str, Stage]
    benchmarks: dict[str, Benchmark]
    models: dict[str, str]
    """The name of each stage's model."""

    @property
    def trained(self) -> list[str]:
        """Each stage's weights before and after its training."""
        return [tracker for stage in self.stages for tracker in (f"{stage}{UNTRAINED}", stage)]

    @property
    def foreign(self) -> list[str]:
        """Trackers that run elsewhere: some benchmark lists their predictions."""
        return sorted({tracker for benchmark in self.benchmarks.values() for tracker in benchmark.predictions})

    @property
    def all(self) -> list[str]:
        """Every name that a row may have."""
        return [*BASELINES, *self.trained, *self.foreign]

    def rows(self, benchmark: str, resolution: int = RESOLUTION) -> list[str]:
        """Names of the rows of a benchmark's tables at a resolution, in their order; what runs elsewhere has the
        official one."""
        asked, foreign = self.benchmarks[benchmark].trackers, self.benchmarks[benchmark].predictions
        ours, others = [*BASELINES, *self.trained], list(foreign) if resolution == RESOLUTION else []
        return [t for t in ours if asked is None or t.removesuffix(UNTRAINED) in asked] + others

    def rule_of(self, tracker: str) -> tuple[str, str]:
        """The rule that makes a tracker's predictions, and its wildcard that is the tracker's name."""
        if tracker in BASELINES:
            return "baseline", "baseline"
        return ("adopt", "foreign") if tracker in self.foreign else ("predict", "tracker")

    def prediction_facts(self, wildcards: Mapping[str, str]) -> dict[str, str]:
        """What decides a stage's predictions apart from its weights, its code and the truth."""
        memory_size = self.benchmarks[wildcards["benchmark"]].memory_size
        facts = {"resolution": wildcards["resolution"], "memory_size": str(memory_size or "by data set")}
        return facts | ({"queries": "one by one"} if self._is_single_point(wildcards) else {})

    def prediction_words(self, wildcards: Mapping[str, str]) -> str:
        """The options of trainer.predict that the benchmark sets."""
        memory_size = self.benchmarks[wildcards["benchmark"]].memory_size
        words = [f"--memory-size {memory_size}"] if memory_size else []
        return " ".join([*words, *(["--single-point"] if self._is_single_point(wildcards) else [])])

    def _is_single_point(self, wildcards: Mapping[str, str]) -> bool:
        model = self.models[wildcards["tracker"].removesuffix(UNTRAINED)]
        return self.benchmarks[wildcards["benchmark"]].single_point and model in JOINT_MODELS

    def score_facts(self, wildcards: Mapping[str, str]) -> dict[str, str]:
        """What decides a score apart from the predictions and the truth."""
        metrics = self.benchmarks[wildcards["benchmark"]].metrics
        return {"metrics": ",".join(sorted(metrics))} if metrics else {}

    def score_words(self, wildcards: Mapping[str, str]) -> str:
        """The options of `python -m eval score` that the benchmark sets."""
        metrics = self.benchmarks[wildcards["benchmark"]].metrics
        return f"--also {' '.join(metrics)}" if metrics else ""

    def weights_of(self, tracker: str) -> str:
        """The weights file of a trained or untrained tracker."""
        stage = tracker.removesuffix(UNTRAINED)
        return f"results/{stage}/{'untrained' if stage != tracker else 'weights'}.safetensors"
