"""PoseNet as the trainer sees it: build a model from a recipe's `model` section, and losses of a batch."""

from typing import Any

import torch
from torch import nn

from shards import ClipStore
from trainer.config import Recipe
from trainer.config import build as build_dataclass
from trainer.models.blade_posenet.config import PoseNetConfig
from trainer.models.blade_posenet.model import PoseAnswer, PoseNet
from trainer.people.losses import (
    distance_loss,
    geodesic_loss,
    heat_loss,
    join_crops,
    joint_place_loss,
    seen_loss,
)
from trainer.people.samples import body_of, check_body, make_people_sample, settings_of
from trainer.people.skinning import SkinnedBody
from trainer.run import Run

PREFIX = "depthnet."
SEEING = ("backbone.", "joints.")
"""The parts that a DepthNet with joints has too."""

make_sample = make_people_sample
"""What a training sample is."""


def build(config: dict[str, Any]) -> PoseNet:
    """The model of a recipe's `model` section (`name` and fields of PoseNetConfig); ValueError for unknown keys."""
    return PoseNet(build_dataclass(PoseNetConfig, {k: v for k, v in config.items() if k != "name"}, "model"))


def make_validator(*settings: Any) -> Any:
    """Who scores the model during a training, which decides the best weights."""
    from trainer.people.validation import PeopleValidator  # which reads weights of all models, this one among them

    return PeopleValidator(*settings)


def fit_weights(tensors: dict[str, torch.Tensor], model: PoseNet) -> dict[str, torch.Tensor]:
    """Weights of a PoseNet as they are; those of a DepthNet become the part `depthnet`, and with
    model.backbone_from_depthnet the start of its own backbone and joint maps too. The rest stays untrained.

    Raises ValueError where they are a DepthNet's and this PoseNet takes nothing of it, or has another backbone.
    """
    if "rest" in tensors:
        return tensors
    if model.depthnet is None and not model.config.backbone_from_depthnet:
        raise ValueError(
            f"model.depth={model.config.depth} without model.depthnet takes no DepthNet's weights; set init_from=null"
        )
    fitted = {key: value for key, value in model.state_dict().items() if not key.startswith(PREFIX)}
    if model.depthnet is not None:
        fitted |= {f"{PREFIX}{key}": value for key, value in tensors.items()}
    if model.config.backbone_from_depthnet:
        fitted |= seeing_parts(tensors, fitted)
    return fitted


def seeing_parts(tensors: dict[str, torch.Tensor], own: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Backbone and joint maps of a DepthNet's weights; ValueError where a PoseNet's own are others."""
    needed = {key for key in own if key.startswith(SEEING)}
    given = {key: value for key, value in tensors.items() if key.startswith(SEEING)}
    wrong = sorted(needed ^ given.keys()) or sorted(key for key in needed if own[key].shape != given[key].shape)
    if wrong:
        raise ValueError(
            f"model.backbone_from_depthnet: the DepthNet has another backbone or other joints ({wrong[0]}); give both "
            "the same model.backbone, backbone_width and num_joints, or set model.backbone_from_depthnet=false"
        )
    return given


def get_ready(model: PoseNet, recipe: Recipe, run: Run) -> None:
    """Give a model that is to be trained the body of its losses.

    Raises ValueError where it should know depths and has no trained DepthNet, and for another body than the data's.
    """
    config = model.config
    if model.depthnet is not None and run.init_weights is None:
        raise ValueError(
            f"stage {recipe.stage}: its DepthNet is not trained; set init_from=blade_depthnet (or "
            "paths.init_weights=FILE), or do without it: model.depth=none model.depthnet=null, or model.depth=oracle"
        )
    if config.backbone_from_depthnet and run.init_weights is None:
        raise ValueError(
            f"stage {recipe.stage}: model.backbone_from_depthnet begins with a trained DepthNet's backbone; set "
            "init_from=blade_depthnet (or paths.init_weights=FILE), or model.backbone_from_depthnet=false"
        )
    people = settings_of(recipe.data)
    body = body_of(people.body)
    for index in run.indexes:
        person, _ = ClipStore(index).read_person(0)
        check_body(body, person.body, str(index))
    if (body.num_joints, body.num_shapes) != (config.num_joints, config.num_shapes):
        raise ValueError(
            f"{people.body} has {body.num_joints} joints and {body.num_shapes} shape coefficients; set "
            f"model.num_joints={body.num_joints} and model.num_shapes={body.num_shapes}"
        )
    count = min(config.num_vertices or len(body.template_m), len(body.template_m))
    model.body = SkinnedBody(body, torch.linspace(0, len(body.template_m) - 1, count).long())


def parts_to_compile(model: PoseNet) -> list[nn.Module]:
    """What torch.compile takes: the backbone and the decoder."""
    return [model.backbone, model.decoder]


def parts_to_shard(model: PoseNet) -> list[nn.Module]:
    """What FSDP gathers one at a time."""
    return [model.backbone, model.decoder, model.shape_head]


def losses(model: PoseNet, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weighted losses by name of a batch of people (`trainer.people.samples`)."""
    config, depth_m, batch = model.config, None, join_crops(batch)
    if model.injection:
        depth_m = model.find_depth(batch)
        depth_m = depth_m * torch.exp(config.depth_noise * torch.randn_like(depth_m))
    answer = model(batch["image"], batch["box"], batch["picture"], depth_m)
    true = batch["joints_px"] / batch["image"].shape[1]
    return losses_of_pose(model, answer, batch) | {
        "places": config.lambda_places * joint_place_loss(answer.joints, true),
        "heat": config.lambda_heat * heat_loss(answer.heat, true),
        "seen": config.lambda_seen * seen_loss(answer.seen, batch["joints_seen"]),
    }


def losses_of_pose(model: PoseNet, answer: PoseAnswer, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """BLADE's losses of stage 2, of the samples that have a pose."""
    config, has_pose = model.config, batch["has_pose"]
    vertices, joints = model.body(answer.shape, answer.rotations)
    with torch.no_grad():
        true_vertices, true_joints = model.body(batch["shape"], batch["rotations"])
    return {
        "root": config.lambda_root * geodesic_loss(answer.rotations[:, :1], batch["rotations"][:, :1], has_pose),
        "pose": config.lambda_pose * geodesic_loss(answer.rotations[:, 1:], batch["rotations"][:, 1:], has_pose),
        "shape": config.lambda_shape * distance_loss(answer.shape, batch["shape"], has_pose),
        "joints": config.lambda_joints * distance_loss(joints, true_joints, has_pose),
        "vertices": config.lambda_vertices * distance_loss(vertices, true_vertices, has_pose),
    }
