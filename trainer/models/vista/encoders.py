"""The frozen networks that say what frames are to Vista's network: where their weights are from, and which they are."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import nn

from trainer.models.vista.build import make_autoencoder, make_picture_encoder
from trainer.models.vista.config import FROZEN
from trainer.models.vista.image_keys import FIRST_STAGE_PREFIX, PICTURE_PREFIX, read_autoencoder, read_picture_encoder
from trainer.models.vista.keys import take_part
from trainer.models.vista.latents import encode_moments, encode_pictures
from trainer.published import read_published
from trainer.strict import suggestion

DECODER = "decoder."
"""Weights of an autoencoder that encode nothing begin with it."""
OWN = {"autoencoder": "autoencoder.", "tower": "tower."}
"""What the frozen networks' weights begin with in a file of trainer.launch."""


class HasFrozen(Protocol):
    """A Vista of latents, or Encoders."""

    autoencoder: nn.Module
    tower: nn.Module


@dataclass(frozen=True)
class Encoders:
    """The frozen networks alone."""

    autoencoder: nn.Module
    tower: nn.Module

    @cached_property
    def sha256(self) -> str:
        """Their `encoders_digest`."""
        return encoders_digest(self)

    def check_size(self, height: int, width: int) -> None:
        """ValueError for frames, pixels, that are not whole cells of the autoencoder."""
        cell = 2 ** (len(self.autoencoder.config.block_out_channels) - 1)
        if height % cell or width % cell:
            raise ValueError(f"frames of {height}x{width}: this autoencoder takes sides that are multiples of {cell}")

    def to(self, device: str) -> "Encoders":
        """Itself, with its networks on a device."""
        self.autoencoder.to(device), self.tower.to(device)
        return self

    @torch.no_grad()
    def encode(self, frames: torch.Tensor, num_together: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Moments (T, 2, C, h, w) and tokens (T, D) of frames (T, 3, H, W) in [-1, 1], so many at a time."""
        moments = encode_moments(self.autoencoder, frames[None], num_together=num_together)[0]
        return moments, torch.cat([encode_pictures(self.tower, some) for some in frames.split(num_together)])


def make_encoders(frozen: str) -> Encoders:
    """The networks of a size (a key of FROZEN) with fresh weights; ValueError for another size."""
    if frozen not in FROZEN:
        raise ValueError(f"--frozen {frozen}: {suggestion(frozen, FROZEN)}")
    autoencoder, tower = FROZEN[frozen]
    return Encoders(
        make_autoencoder(autoencoder).requires_grad_(False).eval(),
        make_picture_encoder(tower).requires_grad_(False).eval(),
    )


def read_published_encoders(path: Path, frozen: str) -> Encoders:
    """Those of svd_xt.safetensors or vista.safetensors; ValueError where names or shapes do not fit."""
    encoders = make_encoders(frozen)
    load_frozen(encoders, read_published(path, (FIRST_STAGE_PREFIX, PICTURE_PREFIX)))
    return encoders


def take_own_encoders(tensors: dict[str, torch.Tensor], frozen: str, where: Path) -> Encoders:
    """Those of a weights file of trainer.launch; ValueError for one of a model of pixels."""
    encoders = make_encoders(frozen)
    for name, prefix in OWN.items():
        part = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        network = getattr(encoders, name)
        if part.keys() != network.state_dict().keys():
            raise ValueError(f"{where}: has no {name} of model.frozen={frozen}; name weights of model.space=latents")
        network.load_state_dict(part)
    return encoders


def load_frozen(model: HasFrozen, tensors: dict[str, torch.Tensor]) -> None:
    """Load autoencoder and tower of a published file into a model, in place; its network keeps its weights."""
    for network, prefix, read in (
        (model.autoencoder, FIRST_STAGE_PREFIX, read_autoencoder),
        (model.tower, PICTURE_PREFIX, read_picture_encoder),
    ):
        shapes = {name: value.shape for name, value in network.state_dict().items()}
        network.load_state_dict(read(take_part(tensors, prefix), shapes))


def encoders_digest(model: HasFrozen) -> str:
    """sha256 of all weights that decide latents and tokens: names, shapes and values, whichever file they are from."""
    digest = hashlib.sha256()
    for name, prefix in OWN.items():
        for key, value in sorted(getattr(model, name).state_dict().items()):
            if not key.startswith(DECODER):
                digest.update(f"{prefix}{key} {value.dtype} {tuple(value.shape)}\n".encode())
                digest.update(value.detach().cpu().reshape(-1).numpy())
    return digest.hexdigest()
