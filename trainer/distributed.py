"""Processes of one training: who am I, set-up and tear-down. Plain torch.distributed, started by torchrun."""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn


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
    """Join the group that torchrun described in the environment (one process without it), and leave it at the end.

    NCCL where CUDA is there, gloo otherwise. Fixes the number of CPU threads: results depend on it.
    """
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    _die_with_parent()
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if world_size > 1:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Process(rank=rank, world_size=world_size, local_rank=local_rank, device=device)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _die_with_parent() -> None:
    """Ask Linux to kill this worker when torchrun dies, so that `kill -9` leaves no orphan that goes on training."""
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


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
