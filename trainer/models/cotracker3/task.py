"""CoTracker3 as the trainer sees it: build a model from a recipe's `model` section, and losses of a batch."""

from typing import Any

import torch
from torch import nn

from trainer.config import build as build_dataclass
from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.model import Cotracker3
from trainer.models.cotracker3.update_former import CrossBlock, SelfBlock

COMPUTED = ("time_emb", "pos_emb")
"""Parts of the names of what the constructor computes."""


def build(config: dict[str, Any]) -> Cotracker3:
    """The model of a recipe's `model` section (`name`, fields of Cotracker3Config); ValueError for unknown keys."""
    return Cotracker3(build_dataclass(Cotracker3Config, {k: v for k, v in config.items() if k != "name"}, "model"))


def fit_weights(tensors: dict[str, torch.Tensor], model: Cotracker3) -> dict[str, torch.Tensor]:
    """Weights of a model with another window for this one: the time embedding is computed, not learnt.

    So are position embeddings, which only former versions have: both are left out of what is read, as the published
    fine-tuning does. Everything else stays; what does not fit for another reason is left to the loader to refuse.
    """
    learnt = {key: value for key, value in tensors.items() if not any(name in key for name in COMPUTED)}
    return learnt | {"time_emb": model.time_emb}


def parts_to_compile(model: Cotracker3) -> list[nn.Module]:
    """What torch.compile takes as one program each: the encoder and the transformer."""
    return [model.fnet, model.updateformer]


def parts_to_shard(model: Cotracker3) -> list[nn.Module]:
    """What FSDP gathers one at a time: the encoder and the transformer's blocks."""
    blocks = (SelfBlock, CrossBlock)
    return [model.fnet, *(module for module in model.updateformer.modules() if isinstance(module, blocks))]


def losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weighted losses by name of a batch: video (B, T, H, W, 3) uint8, queries, tracks, visible in source pixels."""
    video = batch["video"].permute(0, 1, 4, 2, 3)
    return model.losses(video, batch["queries"], batch["tracks"], batch["visible"], batch.get("valid"))
