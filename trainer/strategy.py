"""How the processes of a training share its model: each has all of it (ddp), or a shard (fsdp, hsdp)."""

import contextlib
import math
import warnings
from collections.abc import Mapping

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from trainer.config import Recipe
from trainer.distributed import Process, copy_buffers_of_main, gather_from_ranks


class Objective(nn.Module):
    """A model and its task's losses as one module whose forward DDP and FSDP can wrap."""

    def __init__(self, model: nn.Module, task):
        super().__init__()
        self.model, self.task = model, task

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Scalar losses by name, already weighted."""
        return self.task.losses(self.model, batch)


def distribute(recipe: Recipe, process: Process, objective: Objective) -> nn.Module:
    """The objective as the loop calls it: compiled in parts where the recipe asks, and shared by `training.strategy`.

    A process alone has nothing to share. Sharding replaces the model's parameters by others, so it comes before the
    optimiser; the parts that the task names are gathered when they run, everything else for the whole step. Raises
    ValueError for hsdp on nodes with different numbers of processes.

    The buckets that DDP exchanges are the gradients themselves (no second copy of them). Not used: static_graph, which
    saves nothing where all parameters take part and forbids no_sync; find_unused_parameters, for the same reason.
    """
    if recipe.training.compile:
        for part in objective.task.parts_to_compile(objective.model):
            part.compile()  # in place
    if process.world_size == 1:
        return objective
    if recipe.training.strategy == "ddp":
        # 1x1 convolutions hand over gradients with other strides of the length-1 axes: nothing is copied or lost.
        warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
        devices = [process.local_rank] if process.device.type == "cuda" else None
        return DistributedDataParallel(objective, device_ids=devices, gradient_as_bucket_view=True)
    mesh = make_mesh(recipe.training.strategy, process)
    # Linear layers return views of 2-D products; no module changes one in place, which is what torch warns of.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    for part in objective.task.parts_to_shard(objective.model):
        fully_shard(part, mesh=mesh)
    return fully_shard(objective, mesh=mesh)


def make_mesh(strategy: str, process: Process) -> DeviceMesh:
    """Who holds which shard: fsdp a line of all processes, hsdp (nodes, processes of a node). All call it together.

    Raises ValueError where hsdp's nodes have different numbers of processes.
    """
    if strategy == "fsdp":
        return init_device_mesh(process.device.type, (process.world_size,), mesh_dim_names=("shard",))
    own = torch.tensor(process.local_rank, device=process.device)
    local_ranks = [int(rank) for rank in gather_from_ranks(own)]
    num_nodes = max(1, local_ranks.count(0))
    per_node = process.world_size // num_nodes
    if local_ranks != list(range(per_node)) * num_nodes:
        raise ValueError(
            f"training.strategy=hsdp needs equally many processes on every node; their ranks on the nodes are "
            f"{local_ranks}. Start as many on each, or use training.strategy=fsdp"
        )
    return init_device_mesh(process.device.type, (num_nodes, per_node), mesh_dim_names=("replicate", "shard"))


def is_sharded(objective: nn.Module) -> bool:
    """Whether a process holds a shard of the objective's parameters only."""
    return isinstance(objective, FSDPModule)


def no_sync_unless(last: bool, objective: nn.Module) -> contextlib.AbstractContextManager:
    """Exchange gradients between ranks only in the last micro-batch of a step."""
    if isinstance(objective, FSDPModule):
        objective.set_requires_gradient_sync(last)
    if last or not isinstance(objective, DistributedDataParallel):
        return contextlib.nullcontext()
    return objective.no_sync()


def clip_gradients(model: nn.Module, max_norm: float | None) -> torch.Tensor:
    """Scale all gradients so that their norm over the whole model, sharded or not, is at most `max_norm` (None: any).

    Returns the norm before, a scalar that is the same in all processes.
    """
    norm = nn.utils.clip_grad_norm_(model.parameters(), math.inf if max_norm is None else max_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def whole_model(recipe: Recipe, objective: nn.Module, model: nn.Module) -> nn.Module:
    """The model with all of its weights in every process, to track with or to write down; all call it together.

    The model itself where it is not sharded; otherwise a copy, with the buffers of rank 0.
    """
    if not is_sharded(objective):
        return model
    copy_buffers_of_main(model)
    with torch.random.fork_rng(devices=[]):
        whole = objective.task.build(recipe.model)
    own = whole.state_dict()
    for key, value in model.state_dict().items():
        own[key].copy_(value.full_tensor() if isinstance(value, DTensor) else value)
    return whole.to(next(model.parameters()).device)


def shard_like(tensors: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Whole tensors by name, each sharded as the one of the same name in `own` is; all processes have the same."""
    return {
        key: distribute_tensor(value.to(own[key].device), own[key].device_mesh, own[key].placements)
        if isinstance(own[key], DTensor)
        else value
        for key, value in tensors.items()
    }
