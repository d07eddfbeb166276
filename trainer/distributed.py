"""Processes of one training: who am I, set-up and tear-down. Plain torch.distributed, started by torchrun or Slurm."""

import contextlib
import ctypes
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")
"""Rank, world size and rank on the node."""
NODE_LISTS = ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST")


@dataclass(frozen=True, kw_only=True)
class Process:
    """One process of the training: its rank among `world_size`, its rank on this node, and its device."""

    rank: int
    world_size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


@contextlib.contextmanager
def process_group(threads: int) -> Iterator[Process]:
    """Join the group of this training's processes (`init_distributed`), and leave it at the end.

    Fixes the number of CPU threads: results depend on it.
    """
    torch.set_num_threads(threads)
    process = init_distributed()
    try:
        yield process
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def init_distributed() -> Process:
    """Join the group that torchrun or Slurm described in the environment; one process alone without them.

    NCCL where CUDA is there, gloo otherwise. Raises ValueError for variables that contradict each other.
    """
    place = find_place(os.environ)
    _die_with_parent()
    if torch.cuda.is_available():
        # Slurm may show every task its own GPU only, which is number 0 then.
        is_only_one = place.is_from_slurm and torch.cuda.device_count() == 1
        device = torch.device("cuda", 0 if is_only_one else place.local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if place.world_size > 1:
        os.environ |= place.meeting
        if place.is_from_slurm and place.rank == 0:
            where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
            print(f"Slurm: waiting at {where} for {place.world_size} tasks of one srun", file=sys.stderr, flush=True)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, rank=place.rank, world_size=place.world_size)
    return Process(rank=place.rank, world_size=place.world_size, local_rank=place.local_rank, device=device)


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the environment says about a process, and variables that say where the processes meet, if it lacks them."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    is_from_slurm: bool = False
    meeting: dict[str, str]


def find_place(environment: Mapping[str, str]) -> Place:
    """Read torchrun's variables, else Slurm's, else none: a process alone.

    With Slurm's, the processes meet on the first node, at a port derived from the job's number, unless MASTER_ADDR and
    MASTER_PORT say otherwise. Raises ValueError for a number that is none, and for a rank outside 0..world_size-1.
    """
    if "RANK" in environment:
        rank, size, local = (_number(environment, n, d) for n, d in zip(TORCHRUN, (0, 1, 0), strict=True))
        _check_rank("RANK", rank, "WORLD_SIZE", size)
        return Place(rank=rank, world_size=size, local_rank=local, meeting={})
    if "SLURM_PROCID" not in environment or "SLURM_NTASKS" not in environment:
        return Place(meeting={})
    rank, size, local = (_number(environment, n, d) for n, d in zip(SLURM, (0, 1, 0), strict=True))
    _check_rank("SLURM_PROCID", rank, "SLURM_NTASKS", size)
    nodes = next((environment[name] for name in NODE_LISTS if environment.get(name)), None)
    if size > 1 and nodes is None and "MASTER_ADDR" not in environment:
        raise ValueError(f"SLURM_NTASKS={size}, but neither {' nor '.join(NODE_LISTS)} is set; set MASTER_ADDR")
    port = 10_000 + _number(environment, "SLURM_JOB_ID", 0) % 20_000  # below the ports that Linux gives away
    meeting = {"MASTER_ADDR": first_host(nodes) if nodes else "", "MASTER_PORT": str(port)}
    missing = {name: value for name, value in meeting.items() if name not in environment}
    return Place(rank=rank, world_size=size, local_rank=local, is_from_slurm=True, meeting=missing)


def first_host(nodes: str) -> str:
    """The first name in Slurm's short form of a list: `node[07-12,20],login` is node07 and others."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    if not first or nodes.count("[") != nodes.count("]"):
        raise ValueError(f"'{nodes}' is no list of Slurm's nodes, such as node[1-3,7]; set MASTER_ADDR")
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdigit():
        raise ValueError(f"the environment has {name}={text!r}: expected a number")
    return int(text)


def _check_rank(name: str, rank: int, size_name: str, size: int) -> None:
    if rank >= size:
        raise ValueError(f"the environment has {name}={rank} and {size_name}={size}: ranks are below the size")


def _die_with_parent() -> None:
    """Ask Linux to kill this worker when torchrun dies, so that `kill -9` leaves no orphan that goes on training."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if _is_orphan():
            raise OSError("torchrun has died; start it again")


def _is_orphan() -> bool:
    """Whether the parent died before it could be watched: then nobody would ever answer at the meeting place."""
    parent = Path(f"/proc/{os.getppid()}")
    is_init = parent.name == "1" or (parent / "comm").read_text().strip() == "systemd"
    return is_init and b"torch" not in (parent / "cmdline").read_bytes()


def barrier() -> None:
    """Wait for all processes; nothing where there is one."""
    if dist.is_initialized():
        dist.barrier()


def copy_buffers_of_main(model: nn.Module) -> None:
    """Give all processes the buffers of rank 0, such as batch norm's running statistics: those are saved."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def gather_from_ranks(values: torch.Tensor) -> list[torch.Tensor]:
    """The `values` of all processes in the order of ranks; shape and type are the same in all of them."""
    if not dist.is_initialized():
        return [values]
    gathered = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, values)
    return gathered


def mean_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """The mean of `values` (any shape) over all processes."""
    if dist.is_initialized():
        values = values.clone()
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values
