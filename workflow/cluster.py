"""What the graph's jobs ask a cluster for, by stage: read by rules as resources, unused on one machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from trainer.cluster import Allocation, allocate
from trainer.config import Recipe
from workflow.settings import Stage
from workflow.trackers import UNTRAINED

SECONDS_TO_SAVE = 180
"""So long before the end of its time Slurm tells a training, which saves and is queued again."""


@dataclass(frozen=True)
class Cluster:
    """The allocations of all stages."""

    allocations: Mapping[str, Allocation]

    @classmethod
    def of(cls, stages: Mapping[str, Stage], recipes: Mapping[str, Recipe]) -> "Cluster":
        """Raises ValueError with one line for a stage whose processes fill some node half."""
        allocations = {}
        for name, recipe in recipes.items():
            try:
                allocations[name] = allocate(recipe.cluster, stages[name].processes)
            except ValueError as error:
                raise ValueError(f"stages.{name}: {error}") from None
        return cls(allocations)

    def launcher(self, stage: str) -> str:
        """Options of `python -m workflow.torchrun` for a stage."""
        here = self.allocations[stage]
        return (
            f"--nodes {here.num_nodes} --processes-per-node {here.processes_per_node}"
            f" --cpus-per-node {here.cpus_per_node}"
        )

    def launches_itself(self, stage: str) -> str | None:
        """ "srun" where a training starts a step of its own over several nodes; None where it has one node."""
        return "srun" if self.allocations[stage].num_nodes > 1 else None

    def training_options(self, stage: str) -> str:
        """What else sbatch is told of a training: GPUs, and when to give notice of the end."""
        gpus = self.allocations[stage].gpus_per_node
        return " ".join([*_gpus(gpus), f"--signal=USR1@{SECONDS_TO_SAVE}", "--requeue", "--open-mode=append"])

    def prediction_memory_mb(self, tracker: str) -> int:
        """Memory for a tracker's predictions: that of one process of its training."""
        training = self.allocations[tracker.removesuffix(UNTRAINED)]
        return training.memory_mb_per_node // training.processes_per_node

    def prediction_options(self, tracker: str) -> str:
        """What else sbatch is told of a tracker's predictions: one GPU, if its stage trains on such."""
        return " ".join(_gpus(min(1, self.allocations[tracker.removesuffix(UNTRAINED)].gpus_per_node)))


def _gpus(number: int) -> list[str]:
    # Not Snakemake's resource `gpu`: the plugin would start a process for each.
    return [f"--gpus-per-node={number}"] if number else []
