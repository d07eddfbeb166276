"""LBM as the trainer sees it: build a model from a recipe's `model` section, and losses of a batch."""

from typing import Any

import torch
from torch import nn

from trainer.config import build as build_dataclass
from trainer.models.lbm.config import LbmConfig
from trainer.models.lbm.model import Lbm


def build(config: dict[str, Any]) -> Lbm:
    """The model of a recipe's `model` section (`name` and fields of LbmConfig); ValueError for unknown keys."""
    return Lbm(build_dataclass(LbmConfig, {k: v for k, v in config.items() if k != "name"}, "model"))


def losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weighted losses by name of a batch: video (B, T, H, W, 3) uint8, queries, tracks, visible in source pixels."""
    video = batch["video"].permute(0, 1, 4, 2, 3)
    return model.losses(video, batch["queries"], batch["tracks"], batch["visible"])
