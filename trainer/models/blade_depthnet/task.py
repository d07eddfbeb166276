"""DepthNet as the trainer sees it: build a model from a recipe's `model` section, and losses of a batch."""

from typing import Any

import torch
from torch import nn

from trainer.config import build as build_dataclass
from trainer.models.blade_depthnet.config import DepthNetConfig
from trainer.models.blade_depthnet.model import DepthNet
from trainer.people.losses import (
    heat_loss,
    join_crops,
    joint_place_loss,
    log_depth_loss,
    relative_depth_loss,
    seen_loss,
)
from trainer.people.samples import make_people_sample

make_sample = make_people_sample
"""What a training sample is."""


def build(config: dict[str, Any]) -> DepthNet:
    """The model of a recipe's `model` section (`name` and fields of DepthNetConfig); ValueError for unknown keys."""
    return DepthNet(build_dataclass(DepthNetConfig, {k: v for k, v in config.items() if k != "name"}, "model"))


def make_validator(*settings: Any) -> Any:
    """Who scores the model during a training, which decides the best weights."""
    from trainer.people.validation import PeopleValidator  # which reads weights of all models, this one among them

    return PeopleValidator(*settings)


def fit_weights(tensors: dict[str, torch.Tensor], model: DepthNet) -> dict[str, torch.Tensor]:
    """Weights of a DepthNet for this one: as they are."""
    return tensors


def parts_to_compile(model: DepthNet) -> list[nn.Module]:
    """What torch.compile takes: the parts of convolutions, and the decoder."""
    return [model.backbone, model.interface, model.decoder]


def parts_to_shard(model: DepthNet) -> list[nn.Module]:
    """What FSDP gathers one at a time."""
    return parts_to_compile(model)


def losses(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weighted losses by name of a batch of people (`trainer.people.samples`)."""
    config: DepthNetConfig = model.config
    batch = join_crops(batch)
    answer = model(batch["image"], batch["box"], batch["picture"])
    true_m = batch["pelvis_m"][:, 2]
    depth_loss = relative_depth_loss if config.loss == "relative" else log_depth_loss
    found = {"depth": config.lambda_depth * depth_loss(answer.depth_m, true_m, torch.ones_like(true_m, dtype=bool))}
    if answer.joints is not None:
        true = batch["joints_px"] / batch["image"].shape[1]
        found["joints"] = config.lambda_joints * joint_place_loss(answer.joints, true)
        found["heat"] = config.lambda_heat * heat_loss(answer.heat, true)
        found["seen"] = config.lambda_seen * seen_loss(answer.seen, batch["joints_seen"])
    return found
