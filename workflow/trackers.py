"""Which trackers a benchmark's tables have, and which rule makes the predictions of each."""

from dataclasses import dataclass

from workflow.settings import BASELINES, RESOLUTION, Benchmark, Stage

UNTRAINED = "-untrained"


@dataclass(frozen=True)
class Trackers:
    """The trackers of a configuration: baselines, stages before and after training, and those that run elsewhere."""

    stages: dict[str, Stage]
    benchmarks: dict[str, Benchmark]

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

    def weights_of(self, tracker: str) -> str:
        """The weights file of a trained or untrained tracker."""
        stage = tracker.removesuffix(UNTRAINED)
        return f"results/{stage}/{'untrained' if stage != tracker else 'weights'}.safetensors"
