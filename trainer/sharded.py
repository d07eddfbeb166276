"""Checkpoints that many processes write and read together: a folder with every process's own shards.

Torch's distributed checkpoint in its safetensors format: tensors with their place in the whole, and no pickle. So any
number of processes reads what any other number wrote, each only what it needs. state.json holds the rest, and the
sha256 of every file.
"""

import contextlib
import json
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner

from shards.files import appearing, sha256_of, write_text
from trainer.checkpoint import damaged, other_run
from trainer.distributed import barrier, copy_buffers_of_main
from trainer.ema import Ema
from trainer.optim import numbered, trained

STATE = "state.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of a parameter: a count, and two tensors of its shape."""


def save_sharded(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any], ema: Ema | None = None
) -> None:
    """Write model, optimiser, averages and `state` (what JSON holds) into the folder `path`; all call it together.

    It appears when it is whole; a crash in the middle leaves the checkpoint before. Of what all processes have, rank 0
    writes its own. Raises OSError where a process could not write.
    """
    copy_buffers_of_main(model)
    rank = dist.get_rank()
    with contextlib.ExitStack() as stack:
        told = [str(stack.enter_context(appearing(path)))] if rank == 0 else [None]
        dist.broadcast_object_list(told)
        temporary = Path(told[0])
        try:
            distributed_checkpoint.save(
                {**tensors_of_model(model), **tensors_of_optimizer(model, optimizer), **tensors_of_ema(ema)},
                storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True),
                planner=DefaultSavePlanner(dedup_save_to_lowest_rank=True),
            )
        except CheckpointException as error:
            raise OSError(f"{path}: could not be written: {first_line(error)}") from None
        # torch names a process's file by its rank, from 1.
        own = {file.name: sha256_of(file) for file in temporary.glob(f"shard-{rank + 1:05}-*")}
        if rank == 0:
            files = {name: digest for part in gather(own) for name, digest in part.items()}
            write_text(temporary / STATE, json.dumps(state | {"files": files}, sort_keys=True))
        else:
            gather(own)
    barrier()  # it has its name


def load_sharded(
    path: Path,
    identity: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    older: Path | None = None,
    ema: Ema | None = None,
) -> dict[str, Any]:
    """Read into model, optimiser and averages what any number of processes wrote; returns the state.

    All processes call it together. Raises ValueError for another run's checkpoint, and for a damaged one; `older` is as
    in `load_checkpoint`.
    """
    state, files = read_state(path, older)
    if state.get("identity") != identity:
        raise other_run(path)
    check_files(path, files, older)
    # A process alone reads by itself, which is what torch warns of.
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
    try:
        reader = HuggingFaceStorageReader(str(path))
        moments = empty_moments(model, reader.read_metadata().state_dict_metadata.keys())
        tensors = {**tensors_of_model(model), **moments, **tensors_of_ema(ema)}
        distributed_checkpoint.load(tensors, storage_reader=reader, no_dist=not dist.is_initialized())  # in place
    except (CheckpointException, Exception) as error:  # the first is no Exception
        raise damaged(path, first_line(error), older) from None
    remembered = {
        number: {key: moments[f"optimizer.{name}.{key}"] for key in MOMENTS if f"optimizer.{name}.{key}" in moments}
        for number, name in enumerate(numbered(model, optimizer))
    }
    own = {number: values for number, values in remembered.items() if values}
    optimizer.load_state_dict({"state": own, "param_groups": optimizer.state_dict()["param_groups"]})
    return state


def read_state(path: Path, older: Path | None) -> tuple[dict[str, Any], dict[str, str]]:
    """The state of a checkpoint, and the sha256 of its files by name; raises ValueError where it is damaged."""
    try:
        state = json.loads((path / STATE).read_text())
        return state, dict(state.pop("files"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise damaged(path, f"{STATE}: {first_line(error)}", older) from None


def check_files(path: Path, files: dict[str, str], older: Path | None) -> None:
    """Raise ValueError in all processes where a file is missing or has other bytes; each is read by one of them."""
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    own = sorted(files)[rank::world_size]
    bad = [name for name in own if not (path / name).is_file() or sha256_of(path / name) != files[name]]
    for name in sorted(name for part in gather(bad) for name in part):
        raise damaged(path, f"{name} is missing or has other bytes", older)


def tensors_of_model(model: nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers by the names that they have in a checkpoint."""
    return {f"model.{key}": value for key, value in model.state_dict().items()}


def tensors_of_optimizer(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What the optimiser remembers of each parameter, by the names that it has in a checkpoint."""
    return {
        f"optimizer.{name}.{key}": value
        for name, parameter in trained(model).items()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def tensors_of_ema(ema: Ema | None) -> dict[str, torch.Tensor]:
    """The averages of parameters by the names that they have in a checkpoint."""
    return {f"ema.{name}": value for name, value in ema.tensors.items()} if ema else {}


def empty_moments(model: nn.Module, keys: Collection[str]) -> dict[str, torch.Tensor]:
    """Room for what of MOMENTS is among the keys of a checkpoint, sharded as the parameters are."""
    room = {
        f"optimizer.{name}.{key}": (parameter, key) for name, parameter in trained(model).items() for key in MOMENTS
    }
    return {
        name: torch.zeros(()) if key == "step" else torch.zeros_like(parameter)
        for name, (parameter, key) in room.items()
        if name in keys
    }


def gather(value: Any) -> list[Any]:
    """The value of every process, in their order; all call it together."""
    if not dist.is_initialized():
        return [value]
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]
