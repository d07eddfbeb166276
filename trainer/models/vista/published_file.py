"""Whole files of Stable Video Diffusion and Vista: all networks in one, strictly, both ways.

What is read: svd_xt.safetensors, vista.safetensors, and what a training of the reference leaves (raw weights, averages
under names without dots, adapters beside the layers that they correct). No published file was at hand: names of a
file's parts are those of their code, see `trainer.models.vista.keys` for what was checked how.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from trainer.lora import merged
from trainer.models.vista.image_keys import (
    CONDITION_PREFIX,
    FIRST_STAGE_PREFIX,
    PICTURE_PREFIX,
    autoencoder_names,
    publish_autoencoder,
    publish_picture_encoder,
    read_autoencoder,
    read_condition_encoder,
    read_picture_encoder,
)
from trainer.models.vista.keys import (
    GIVEN_EMBEDDING,
    UNET_PREFIX,
    fill_given_embedding,
    from_published,
    take_part,
    to_published,
    unet_names,
)

AVERAGE_PREFIX = "model_ema."
"""Before averages: the weight's name without its first part and without dots."""
COUNTERS = ("model_ema.decay", "model_ema.num_updates")
LEFT_OUT = ("conditioner.embedders.0.open_clip.model.",)
"""Of OpenCLIP, what is not its tower of pictures: nothing here reads texts."""
ADAPTER = re.compile(r"(.+)\.(q|k|v|out)_adapter_(down|up)\.weight$")


@dataclass(frozen=True, kw_only=True)
class World:
    """The networks of a file; None: that part of the file is not read."""

    unet: nn.Module
    autoencoder: nn.Module | None = None
    condition_encoder: nn.Module | None = None
    """An autoencoder of which the encoder alone is read: that of the condition frame."""
    picture_encoder: nn.Module | None = None


def load_world(world: World, tensors: Mapping[str, torch.Tensor], *, may_lack: Sequence[str] = ()) -> tuple[str, ...]:
    """Load a file's tensors (`trainer.published.read_published`) into networks, in place; the UNet's names it lacked.

    Averages and adapters are merged first. `may_lack` is SVD_LACKS, PHASE_1_LACKS or nothing: such weights keep what
    they begin with, but for the second time embedding, which begins as the first. Raises ValueError for any other
    name that is missing or unknown, anywhere in the file.
    """
    prefixes = (UNET_PREFIX, FIRST_STAGE_PREFIX, CONDITION_PREFIX, PICTURE_PREFIX, AVERAGE_PREFIX)
    strangers = [name for name in tensors if not name.startswith((*prefixes, *LEFT_OUT))]
    if strangers:
        raise ValueError(
            f"{len(strangers)} weights belong to no part of Stable Video Diffusion or Vista ({strangers[0]}); "
            f"known parts begin with {', '.join(prefixes)}"
        )
    loads = [(world.unet, *_fit_unet(world.unet, tensors, may_lack))]
    for network, prefix, read in (
        (world.autoencoder, FIRST_STAGE_PREFIX, read_autoencoder),
        (world.condition_encoder, CONDITION_PREFIX, read_condition_encoder),
        (world.picture_encoder, PICTURE_PREFIX, read_picture_encoder),
    ):
        if network is not None:
            loads.append((network, read(take_part(tensors, prefix), _shapes(network)), ()))
    for network, fitted, _ in loads:  # all is well: now, and not before, networks change
        network.load_state_dict({**network.state_dict(), **fitted})
    return loads[0][2]


def _fit_unet(
    unet: nn.Module, tensors: Mapping[str, torch.Tensor], may_lack: Sequence[str]
) -> tuple[dict[str, torch.Tensor], tuple[str, ...]]:
    names = unet_names(unet.state_dict())
    published = merge_adapters(pick_averages(tensors, names.values()))
    lacking = tuple(name for name in names.values() if name not in published)
    if GIVEN_EMBEDDING in may_lack:
        published = fill_given_embedding(published)
    return from_published(published, _shapes(unet), names, may_lack=may_lack), lacking


def _shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in network.state_dict().items()}


def pick_averages(tensors: Mapping[str, torch.Tensor], names: Iterable[str]) -> dict[str, torch.Tensor]:
    """The UNet's tensors of a file by published name, without prefix; its averages wherever it has them.

    `names` are those that a network has: an average's own name has no dots, and is found by them. A file of adapters
    and averages alone, as the reference's second phase leaves, is whole again by this. Raises ValueError for an average
    of no weight.
    """
    raw = {name.removeprefix(UNET_PREFIX): x for name, x in tensors.items() if name.startswith(UNET_PREFIX)}
    averages = {x for x in tensors if x.startswith(AVERAGE_PREFIX) and x not in COUNTERS}
    if not averages:
        return raw
    adapters = [f"{part}_adapter_{side}.weight" for part in _adapted(names) for side in ("down", "up")]
    flat = {_flat(name): name for name in (*names, *raw, *adapters)}
    unknown = sorted(averages - flat.keys())
    if unknown:
        raise ValueError(f"{len(unknown)} averages are of no weight of this network ({unknown[0]}); take its sizes")
    return raw | {flat[average]: tensors[average] for average in averages}


def _flat(name: str) -> str:
    return AVERAGE_PREFIX + (UNET_PREFIX.partition(".")[2] + name).replace(".", "")


def _adapted(names: Iterable[str]) -> list[str]:
    """What an adapter's name begins with, of each layer that the reference gives one."""
    found = [re.match(r"(.+)\.to_(q|k|v|out\.0)\.weight$", name) for name in names]
    return [f"{layer[1]}.{layer[2].partition('.')[0]}" for layer in found if layer]


def merge_adapters(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published tensors with each adapter in its layer's weight, W + up @ down, and no adapters.

    The scale is the reference's, 1. Raises ValueError for half an adapter, or one without its layer.
    """
    whole = {name: value for name, value in tensors.items() if not ADAPTER.match(name)}
    for found in filter(None, map(ADAPTER.match, tensors)):
        layer = f"{found[1]}.to_{'out.0' if found[2] == 'out' else found[2]}.weight"
        down, up = (f"{found[1]}.{found[2]}_adapter_{side}.weight" for side in ("down", "up"))
        lacking = [name for name in (down, up, layer) if name not in tensors]
        if lacking:
            raise ValueError(f"{found[0]}: its {lacking[0]} is missing")
        if found[3] == "up":
            product = tensors[up].float() @ tensors[down].float()
            whole[layer] = (whole[layer].float() + product).to(whole[layer])
    return whole


def publish_world(world: World) -> dict[str, torch.Tensor]:
    """The networks' tensors under published names, contiguous and on the CPU, adapters merged: what `load_world` reads.

    Of the condition frame's encoder the encoder alone; networks that are None have none.
    """
    unet = merged(world.unet)
    parts = {UNET_PREFIX: to_published(unet, unet_names(unet))}
    if world.autoencoder is not None:
        parts[FIRST_STAGE_PREFIX] = publish_autoencoder(world.autoencoder.state_dict())
    if world.condition_encoder is not None:
        state = world.condition_encoder.state_dict()
        names = autoencoder_names(name for name in state if not name.startswith("decoder."))
        published = publish_autoencoder(state) | {x: state[name] for name, x in names.items() if "quant_conv" in x}
        parts[CONDITION_PREFIX] = {x: value for x, value in published.items() if not x.startswith("decoder.")}
    if world.picture_encoder is not None:
        parts[PICTURE_PREFIX] = publish_picture_encoder(world.picture_encoder.state_dict())
    named = {prefix + name: value for prefix, part in parts.items() for name, value in part.items()}
    return {name: value.detach().cpu().contiguous() for name, value in named.items()}
