"""LBM as the trainer sees it: build a model from a recipe's `model` section, and losses of a batch."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from trainer.config import build as build_dataclass
from trainer.models.lbm.blocks import FeedForward
from trainer.models.lbm.config import LbmConfig
from trainer.models.lbm.model import Lbm


def build(config: dict[str, Any]) -> Lbm:
    """The model of a recipe's `model` section (`name` and fields of LbmConfig); ValueError for unknown keys."""
    return Lbm(build_dataclass(LbmConfig, {k: v for k, v in config.items() if k != "name"}, "model"))


def fit_weights(tensors: dict[str, torch.Tensor], model: Lbm) -> dict[str, torch.Tensor]:
    """Weights of a model with another input size for this one: the position embedding is interpolated (bilinear).

    Everything else stays as it is; what does not fit for another reason is left to the loader to refuse.
    """
    own, name = model.state_dict(), "backbone.frame_pos_embedding"
    if name not in tensors or tensors[name].ndim != 4 or tensors[name].shape == own[name].shape:
        return tensors
    embedding = F.interpolate(tensors[name].float(), own[name].shape[-2:], mode="bilinear", align_corners=False)
    sizes = {key: own[key] for key in ("transformer.spatial_shapes", "transformer.start_levels")}
    fits = all(key in tensors and tensors[key].shape == value.shape for key, value in sizes.items())
    return tensors | {name: embedding} | (sizes if fits else {})


def parts_to_compile(model: Lbm) -> list[nn.Module]:
    """What torch.compile takes in seconds: the encoder and the feed-forward nets.

    All else runs through a memory that grows and through formulations of our own: every frame would be a program.
    """
    return [model.backbone, *(module for module in model.modules() if isinstance(module, FeedForward))]


def parts_to_shard(model: Lbm) -> list[nn.Module]:
    """What FSDP gathers one at a time: the encoder and the feed-forward nets, which are three quarters of the weights.

    The layers are no such parts: the memory and the fused maps read their weights from outside.
    """
    return parts_to_compile(model)


def losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weighted losses by name of a batch: video (B, T, H, W, 3) uint8, queries, tracks, visible in source pixels."""
    video = batch["video"].permute(0, 1, 4, 2, 3)
    return model.losses(video, batch["queries"], batch["tracks"], batch["visible"])
