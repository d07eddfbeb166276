"""The weights in a checkpoint, whole: of a file or of a folder of shards, by one process alone."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import yaml
from torch import nn
from torch.distributed import checkpoint as distributed_checkpoint
from torch.distributed.checkpoint import HuggingFaceStorageReader
from torch.distributed.checkpoint.api import CheckpointException

from trainer.checkpoint import check_keys, damaged, read_checkpoint
from trainer.config import Recipe, from_dict
from trainer.lora import adapt
from trainer.models import TASKS
from trainer.optim import trained
from trainer.sharded import check_files, first_line, read_state

PICKS = ("model", "ema")
"""What a checkpoint has weights of: the last step's, and their average."""


@dataclass(frozen=True, kw_only=True)
class Consolidated:
    """A model with weights of a checkpoint, the recipe that gives them, and the steps done."""

    model: nn.Module
    recipe: Recipe
    step: int
    pick: str


def consolidate(path: Path, pick: str | None = None) -> Consolidated:
    """The model of a run's checkpoint; `pick` is of PICKS, None what the run writes in the end.

    Raises ValueError for a damaged checkpoint, one without recipe.yaml beside it, one that lacks what is picked, and
    one whose keys are not those of the recipe's model.
    """
    recipe = _recipe_beside(path)
    averages = recipe.training.ema_decay is not None
    pick = pick or ("ema" if averages else "model")
    if pick == "ema" and not averages:
        raise ValueError(f"{path}: has no averages: training.ema_decay was not set; use --pick model")
    model = adapt(TASKS[recipe.model["name"]].build(recipe.model), recipe.training.lora)
    own = {"model": model.state_dict(), "ema": {**trained(model)} if averages else {}}
    step, tensors = (_read_folder if path.is_dir() else _read_file)(path, own)
    model.load_state_dict(tensors["model"] | (tensors["ema"] if pick == "ema" else {}))
    if pick == "model":  # a training that averages nothing has these weights
        recipe = replace(recipe, training=replace(recipe.training, ema_decay=None))
    return Consolidated(model=model.eval(), recipe=recipe, step=step, pick=pick)


def _recipe_beside(path: Path) -> Recipe:
    if not path.exists():
        raise FileNotFoundError(f"{path}: there is no such checkpoint")
    if (path / "recipe.yaml").exists():
        names = ", ".join(sorted(each.name for each in path.glob("checkpoint-*"))) or "it has none"
        raise ValueError(f"{path}: a run's folder; name one of its checkpoints ({names})")
    file = path.parent / "recipe.yaml"
    if not file.is_file():
        raise ValueError(f"{path}: its run's recipe.yaml must be beside it; copy {file.name} from the run's folder")
    return from_dict(yaml.safe_load(file.read_text()))


def _older(path: Path) -> Path | None:
    earlier = [each for each in path.parent.glob("checkpoint-*") if each.name < path.name]
    return max(earlier, default=None)


def _read_file(path: Path, own: dict[str, dict]) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    saved = read_checkpoint(path, _older(path))
    if not isinstance(saved, dict) or not {"model", "step", "identity"} <= saved.keys():
        raise ValueError(f"{path}: no checkpoint of a training here; take in others' weights by --from {path}")
    tensors = {pick: saved.get(pick, {}) for pick in PICKS}
    for pick in PICKS:
        check_keys(own[pick], tensors[pick], path)
    return saved["step"], tensors


def _read_folder(path: Path, own: dict[str, dict]) -> tuple[int, dict[str, dict[str, torch.Tensor]]]:
    older = _older(path)
    state, files = read_state(path, older)
    check_files(path, files, older)
    warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
    try:
        reader = HuggingFaceStorageReader(str(path))
        found = reader.read_metadata().state_dict_metadata
        room = {pick: _empty(found, f"{pick}.", own[pick]) for pick in PICKS}
        for pick in PICKS:
            check_keys(own[pick], room[pick], path)
        flat = {f"{pick}.{key}": value for pick in PICKS for key, value in room[pick].items()}
        distributed_checkpoint.load(flat, storage_reader=reader, no_dist=True)  # in place
    except ValueError:
        raise
    except (CheckpointException, Exception) as error:  # the first is no Exception
        raise damaged(path, first_line(error), older) from None
    return state["step"], room


def _empty(found: dict, prefix: str, own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Room for what of a checkpoint's tensors has the prefix, by the keys after it."""
    keys: Iterable[str] = [key for key in found if key.startswith(prefix)]
    sizes = {key.removeprefix(prefix): found[key].size for key in keys}
    return {key: torch.empty(size, dtype=own[key].dtype if key in own else None) for key, size in sizes.items()}
