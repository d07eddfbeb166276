"""Vista as the trainer sees it: build a model from a recipe's `model` section, losses of a batch, whose weights fit."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from shards import ClipStore
from trainer.config import DataConfig, Recipe
from trainer.driving.config import DrivingData
from trainer.models.vista.encoders import encoders_digest, load_frozen
from trainer.models.vista.image_keys import CONDITION_PREFIX
from trainer.models.vista.keys import SVD_LACKS, UNET_PREFIX
from trainer.models.vista.model import Vista
from trainer.models.vista.objective import losses_of_clips
from trainer.models.vista.published_file import World, load_world, publish_world
from trainer.models.vista.recipe import read_config
from trainer.published import read_published
from trainer.run import Run

ADDED = (r"unet\..+\.to_[kv]\.action\.weight", r"unet\.frame_embedding\..+")
"""Weights that the second phase adds, and the first lacks: projections of actions, the embedding of frames' motion. Of
each kind all or none may be missing; what they add begins with zero, by which nothing changes."""


def build(config: dict[str, Any]) -> Vista:
    """The model of a recipe's `model` section (`name` and keys of VistaConfig); ValueError for unknown keys."""
    return Vista(read_config(config))


def make_sample(store: ClipStore, number: int, config: DataConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """What a training sample is: trainer.driving.samples says."""
    from trainer.driving.samples import make_drive_sample  # which packs actions as this package does

    return make_drive_sample(store, number, config, rng)


def make_validator(*settings: Any) -> Any:
    """Who scores the model during a training."""
    from trainer.driving.validation import DrivingValidator  # which reads weights of all models, this one among them

    return DrivingValidator(*settings)


def make_drawer(*settings: Any) -> Any:
    """Who writes samples during a training."""
    from trainer.driving.drawer import DriveDrawer  # as the validator

    return DriveDrawer(*settings)


def fit_weights(tensors: dict[str, torch.Tensor], model: Vista) -> dict[str, torch.Tensor]:
    """Weights of a Vista for this one: as they are, and its own beginnings of what a later phase adds (ADDED).

    Also those of a published file (svd_xt.safetensors, vista.safetensors, what a training of the reference leaves),
    which `load_published` loads. Raises ValueError for a published file that does not fit.
    """
    if any(name.startswith(UNET_PREFIX) for name in tensors):
        load_published(model, tensors)
        return model.state_dict()
    fitted = dict(tensors)
    for pattern in ADDED:
        added = {name: value for name, value in model.state_dict().items() if re.fullmatch(pattern, name)}
        if not added.keys() & tensors.keys():
            fitted |= added
    return fitted


def load_published(model: Vista, tensors: dict[str, torch.Tensor]) -> None:
    """Load a published file's tensors into a model, in place, its frozen networks' too; strictly, but for what Stable
    Video Diffusion lacks. Raises ValueError for names or shapes that do not fit, and for a network without such names.
    """
    if model.autoencoder is None:
        raise ValueError("published files are of latents; use model.space=latents, such as model=vista_svd")
    if not model.config.published_unet:
        load_frozen(model, tensors)
        return
    if not model.config.unet.has_published_names:
        raise ValueError(
            "no published file has weights of model.unet.frame_values or scales; take it in with frame_values=0 and "
            "scales=false, and start a stage with frame_values from that (init_from)"
        )
    world = World(unet=model.unet, autoencoder=model.autoencoder, picture_encoder=model.tower)
    may_lack = [part for part in SVD_LACKS if model.config.unet.with_actions or part != SVD_LACKS[1]]
    load_world(world, tensors, may_lack=may_lack)


def publish(model: Vista) -> dict[str, torch.Tensor]:
    """The weights under the names of vista.safetensors, for others; ValueError for a network that has none there."""
    if not model.config.unet.has_published_names:
        raise ValueError(
            "model.unet.frame_values and scales have no published names; these weights cannot be published"
        )
    frozen = model.autoencoder
    world = World(unet=model.unet, autoencoder=frozen, condition_encoder=frozen, picture_encoder=model.tower)
    named = publish_world(world).items()  # the file has the condition's encoder too, and no two names share memory
    return {name: value.clone() if name.startswith(CONDITION_PREFIX) else value for name, value in named}


def get_ready(model: Vista, recipe: Recipe, run: Run) -> None:
    """Give a model that is to be trained the weights that it begins with.

    Raises ValueError where there are none for the frozen networks, for frames that the model cannot take, and for
    latents (data.driving.latents) of other networks.
    """
    from trainer.driving.samples import settings_of

    data, config = settings_of(recipe.data), model.config
    config.check_size(data.height, data.width, "data.driving")
    if len(config.objective.condition_weights) > data.num_frames:
        raise ValueError(
            f"model.objective.condition_weights={list(config.objective.condition_weights)} gives up to "
            f"{len(config.objective.condition_weights) - 1} of data.driving.num_frames={data.num_frames} frames; none "
            "would be left to make"
        )
    if run.init_weights is None and config.published:
        load_published(model, read_published(_existing(config.published)))
    elif run.init_weights is None and config.space == "latents" and config.frozen != "tiny":
        raise ValueError(
            f"stage {recipe.stage}: its autoencoder and its tower are not trained; set model.published to "
            "svd_xt.safetensors (yours: huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt), or init_from"
        )
    if data.latents:
        check_encoders(model, data, run)


def check_encoders(model: Vista, data: DrivingData, run: Run) -> None:
    """ValueError for data.driving.latents that are not what this model's frozen networks say."""
    from trainer.driving.latents import latents_of

    if model.autoencoder is None:
        raise ValueError("data.driving.latents is for model.space=latents; set it to null")
    own = encoders_digest(model)
    for index in run.indexes:
        found = latents_of(ClipStore(index), data)
        if found.encoders_sha256 != own:
            raise ValueError(
                f"{found.folder}: latents of other networks (sha256 {found.encoders_sha256[:12]}) than this training's "
                f"autoencoder and tower ({own[:12]}); encode into another folder with the weights that it begins with "
                "(python -m trainer.encode_latents), or set data.driving.latents=null"
            )


def _existing(path: str) -> Path:
    if not Path(path).exists():
        raise ValueError(
            f"model.published={path} is not there; download svd_xt.safetensors from "
            "huggingface.co/stabilityai/stable-video-diffusion-img2vid-xt and put it there"
        )
    return Path(path)


def parts_to_compile(model: Vista) -> list[nn.Module]:
    """What torch.compile takes: the network's layers."""
    return model.unet.layers()


def parts_to_shard(model: Vista) -> list[nn.Module]:
    """What FSDP gathers one at a time: the network's layers, and the frozen networks."""
    frozen = [] if model.autoencoder is None else [model.autoencoder.encoder, model.autoencoder.decoder, model.tower]
    return [*model.unet.layers(), *frozen]


def losses(model: Vista, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weighted losses by name of a batch of windows (trainer.driving.samples).

    All draws are from torch's own generators, which the loop seeds for each step and rank: noise on the CPU, so that
    it is the same on any device; latents on the frames' device.
    """
    clean = model.clean(batch, _generator_of(batch["values"].device))
    settings = {"config": model.config.objective, "tokens": model.config.tokens}
    return losses_of_clips(model.unet, clean, model.condition(batch), torch.default_generator, **settings)


def _generator_of(device: torch.device) -> torch.Generator:
    """torch's own generator of a device."""
    return torch.default_generator if device.type == "cpu" else torch.cuda.default_generators[device.index or 0]
