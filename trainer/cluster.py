"""What one training asks a cluster for. Imports no torch: Snakemake reads it to submit the job."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """Of a job on Slurm; never part of a run's identity, and unused on one machine.

    How many processes there are, config/config.yaml says; they fill as many nodes as they need.
    """

    processes_per_node: int = 8
    gpus_per_process: int = 1
    """0 trains on the CPUs."""
    cpus_per_process: int = 8
    memory_gb_per_process: int = 48
    hours: float = 24.0
    """After these Slurm ends the job. It is told three minutes before, saves, and is queued again."""

    def __post_init__(self) -> None:
        for name, lowest in {
            "processes_per_node": 1, "gpus_per_process": 0, "cpus_per_process": 1, "memory_gb_per_process": 1,
        }.items():  # fmt: skip
            if getattr(self, name) < lowest:
                raise ValueError(f"cluster.{name}={getattr(self, name)} must be at least {lowest}")
        if self.hours <= 0:
            raise ValueError(f"cluster.hours={self.hours} must be positive")


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The nodes of one job, all alike: what `ClusterConfig` comes to for a number of processes."""

    num_nodes: int
    processes_per_node: int
    gpus_per_node: int
    cpus_per_node: int
    memory_mb_per_node: int
    minutes: int


def allocate(cluster: ClusterConfig, num_processes: int) -> Allocation:
    """Spread processes over nodes; raises ValueError where they fill some node half."""
    per_node = min(num_processes, cluster.processes_per_node)
    if num_processes % per_node:
        raise ValueError(
            f"{num_processes} processes do not fill nodes of {per_node}; "
            "change processes:, or cluster.processes_per_node in its overrides"
        )
    return Allocation(
        num_nodes=num_processes // per_node,
        processes_per_node=per_node,
        gpus_per_node=per_node * cluster.gpus_per_process,
        cpus_per_node=per_node * cluster.cpus_per_process,
        memory_mb_per_node=per_node * cluster.memory_gb_per_process * 1000,
        minutes=max(1, round(60 * cluster.hours)),
    )
