"""Weights (safetensors) and resumable state (torch.save), written atomically, read without running foreign code."""

import io
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from shards.files import write_bytes
from trainer.config import Recipe, as_dict, from_dict, no_weights

METADATA_KEY = "frameline"
"""One metadata entry only: safetensors writes several in no fixed order, and equal weights must have equal bytes."""


def save_weights(path: Path, model: nn.Module, recipe: Recipe) -> None:
    """Write a model's state dict with what of its recipe decides it; the same weights give the same bytes."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    values = as_dict(recipe)
    deciding = {key: value for key, value in values.items() if key not in no_weights(values)}
    metadata = {METADATA_KEY: json.dumps({"recipe": deciding}, sort_keys=True)}
    write_bytes(path, save(tensors, metadata))


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], Recipe]:
    """Read weights that `save_weights` wrote: state dict and recipe (what decides no weights at its defaults).

    Raises ValueError for anything else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); train again or fetch it again") from None
    if METADATA_KEY not in metadata:
        raise ValueError(f"{path}: no recipe inside; take it in by python -m trainer.export --from {path} --out FILE")
    return tensors, from_dict(json.loads(metadata[METADATA_KEY])["recipe"])


def load_into(model: nn.Module, tensors: dict[str, torch.Tensor], where: Path) -> None:
    """Load a state dict strictly; raises ValueError that names the first keys that do not fit."""
    check_keys(model.state_dict(), tensors, where)
    model.load_state_dict(tensors)


def check_keys(own: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], where: Path) -> None:
    """Raise ValueError that names the first keys of `tensors` that do not fit a model's `own` state dict."""
    wrong = sorted(
        {f"{key} is missing" for key in own.keys() - tensors.keys()}
        | {f"{key} is unknown" for key in tensors.keys() - own.keys()}
        | {
            f"{key} has shape {tuple(tensors[key].shape)}, the model {tuple(own[key].shape)}"
            for key in own.keys() & tensors.keys()
            if own[key].shape != tensors[key].shape
        }
    )
    if wrong:
        raise ValueError(f"{where}: weights of another model: {'; '.join(wrong[:3])} ({len(wrong)} keys do not fit)")


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write resumable state: a crash in the middle leaves the previous checkpoint."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_bytes(path, buffer.getbuffer())


def load_checkpoint(path: Path, identity: str, older: Path | None = None) -> dict[str, Any]:
    """Read resumable state of the run with this identity; raises ValueError for another run's or a damaged file.

    `older` is the checkpoint before, which the error names: going back to it is left to the user.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises many kinds for damaged files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise damaged(path, reason, older) from None
    if not isinstance(state, dict) or state.get("identity") != identity:
        raise other_run(path)
    return state


def damaged(path: Path, reason: str, older: Path | None) -> ValueError:
    """The error for a checkpoint that cannot be read, with the command that goes back to the one before."""
    then = f"go on from {older.name}" if older else "start this run again"
    remove = "rm -r" if path.is_dir() else "rm"
    return ValueError(f"{path}: damaged checkpoint ({reason}); delete it to {then}: {remove} {path}")


def other_run(path: Path) -> ValueError:
    """The error for a checkpoint of something else."""
    return ValueError(
        f"{path}: checkpoint of another recipe, data set or code; delete the folder {path.parent} to start again, "
        "or put the former recipe back"
    )
