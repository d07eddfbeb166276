"""Names of weights: those of Stable Video Diffusion's and Vista's files, and those of the networks here, both ways.

Published files name a UNet's blocks by their place in three lists, as the code they come from (sgm) does; diffusers
names them by level. One direction is written down, own to published; the other is its inverse over a network's names.
The UNet's names are checked by outputs of the reference (tests/data/vista), on no published file yet.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import torch

UNET_PREFIX = "model.diffusion_model."
"""Before a UNet's names in a published file."""
GIVEN_EMBEDDING = "cond_time_stack_embed."
ACTION_PROJECTION = "_adapter_action_control"
ADAPTERS = ("_adapter_down", "_adapter_up")
SVD_LACKS = (GIVEN_EMBEDDING, ACTION_PROJECTION)
"""What Stable Video Diffusion's UNet has not, and Vista's has."""
PHASE_1_LACKS = (ACTION_PROJECTION,)
"""What Vista's has not after its first phase."""

Rules = tuple[tuple[str, str], ...]
"""Patterns of own names and what stands for them in published ones; each pattern is whole parts of a name."""

TOP: Rules = (
    (r"conv_in", "input_blocks.0.0"),
    (r"time_embedding\.linear_1", "time_embed.0"),
    (r"time_embedding\.linear_2", "time_embed.2"),
    (r"given_time_embedding\.linear_1", "cond_time_stack_embed.0"),
    (r"given_time_embedding\.linear_2", "cond_time_stack_embed.2"),
    (r"add_embedding\.linear_1", "label_emb.0.0"),
    (r"add_embedding\.linear_2", "label_emb.0.2"),
    (r"conv_norm_out", "out.0"),
    (r"conv_out", "out.2"),
)
RESIDUAL: Rules = (
    (r"temporal_res_block", "time_stack"),
    (r"norm1", "in_layers.0"),
    (r"conv1", "in_layers.2"),
    (r"time_emb_proj", "emb_layers.1"),
    (r"norm2", "out_layers.0"),
    (r"conv2", "out_layers.3"),
    (r"conv_shortcut", "skip_connection"),
)
ATTENTION: Rules = (
    (r"temporal_transformer_blocks", "time_stack"),
    (r"time_pos_embed\.linear_1", "time_pos_embed.0"),
    (r"time_pos_embed\.linear_2", "time_pos_embed.2"),
    (r"to_([kv])\.action", r"\1_adapter_action_control"),
    (r"parametrizations\.weight\.original", "weight"),  # of trainer.lora, as are the next two
    (r"to_([qkv])\.parametrizations\.weight\.0\.(down|up)", r"\1_adapter_\2.weight"),
    (r"to_out\.0\.parametrizations\.weight\.0\.(down|up)", r"out_adapter_\1.weight"),
)
RULES = {"resnets": RESIDUAL, "attentions": ATTENTION}


def unet_names(names: Iterable[str]) -> dict[str, str]:
    """The published name of each name of a VistaUNet's state dict (with or without actions and adapters).

    Raises ValueError for a name that no such network has.
    """
    names = list(names)
    places = [re.match(r"down_blocks\.(\d+)\.resnets\.(\d+)\.", name) for name in names]
    per_level = 1 + max((int(place[2]) for place in places if place), default=0)
    attending = {name.split(".attentions.")[0] for name in names if ".attentions." in name}
    published = {name: _unet_name(name, per_level, attending) for name in names}
    assert len(set(published.values())) == len(names), "two names became one"
    return published


def temporal_names(names: Iterable[str]) -> set[str]:
    """The names of a VistaUNet's layers over time, and of its second time embedding: what the first phase trains at the
    whole learning rate, and the rest at a tenth. What positions and mixes frames is of the rest, as in the reference.
    """
    return {name for name, published in unet_names(names).items() if "time_stack" in published}


def _unet_name(name: str, per_level: int, attending: set[str]) -> str:
    part, _, rest = name.partition(".")
    place = re.fullmatch(r"(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)", rest)
    if place is None:
        return _rewrite_top(name)
    level, kind, index, rest = int(place[1] or 0), place[2], int(place[3]), place[4]
    rest = rewrite(rest.removeprefix("spatial_res_block."), RULES.get(kind, ()))
    if part == "mid_block":  # residual, attention, residual
        return f"middle_block.{2 * index if kind == 'resnets' else 1}.{rest}"
    first = level * (per_level + 1)
    if part == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{first + per_level + 1}.0.op.{rest.removeprefix('conv.')}"
        return f"input_blocks.{1 + first + index}.{int(kind == 'attentions')}.{rest}"
    if kind == "upsamplers":
        return f"output_blocks.{first + per_level}.{1 + (f'up_blocks.{level}' in attending)}.{rest}"
    return f"output_blocks.{first + index}.{int(kind == 'attentions')}.{rest}"


def _rewrite_top(name: str) -> str:
    for pattern, published in TOP:
        if found := re.match(rf"{pattern}\.(weight|bias)$", name):
            return f"{published}.{found[1]}"
    raise ValueError(f"no UNet of Vista has a weight called {name}")


def rewrite(name: str, rules: Rules) -> str:
    """A name with the patterns of rules, in their order, replaced where they are whole parts of it."""
    for pattern, published in rules:
        name = re.sub(rf"(?<![^.]){pattern}(?![^.])", published, name)
    return name


def from_published(
    tensors: Mapping[str, torch.Tensor],
    shapes: Mapping[str, torch.Size],
    names: Mapping[str, str],
    *,
    may_lack: Sequence[str] = (),
    may_have: Sequence[str] = (),
) -> dict[str, torch.Tensor]:
    """Tensors of a published file under own names; `shapes` are a network's, `names` its names to published ones.

    The names that contain one of `may_lack` may be missing, all of them together; one that begins with one of
    `may_have` is left out; and nothing else: raises ValueError that names what is missing, unknown, or of another
    shape. A 1x1 convolution is also taken for a linear layer, as they are the same.
    """
    own = {published: name for name, published in names.items()}
    absent = [part for part in may_lack if not any(part in x for x in tensors)]
    missing = [x for x in own if x not in tensors and not any(part in x for part in absent)]
    unknown = [x for x in tensors if x not in own and not x.startswith(tuple(may_have))]
    found = {name: tensors[x] for x, name in own.items() if x in tensors}
    fitted = {name: value.reshape(value.shape[: len(shapes[name])]) if _is_pointwise(value, shapes[name]) else value
              for name, value in found.items()}  # fmt: skip
    wrong = [
        f"{names[name]} {tuple(value.shape)} for {tuple(shapes[name])}"
        for name, value in fitted.items()
        if value.shape != shapes[name]
    ]
    problems = {"missing": missing, "not known here": unknown, "of another shape": wrong}
    if any(problems.values()):
        said = "; ".join(f"{len(each)} {what} ({_few(each)})" for what, each in problems.items() if each)
        raise ValueError(f"these weights are not this network's: {said}; take the file and the sizes of one model")
    return fitted


def _is_pointwise(value: torch.Tensor, shape: torch.Size) -> bool:
    return value.ndim > len(shape) and value.shape == (*shape, *[1] * (value.ndim - len(shape)))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def take_part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin with a prefix, without it; ValueError where there are none."""
    part = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    if not part:
        raise ValueError(f"no weight's name begins with {prefix}: this is no file of Stable Video Diffusion or Vista")
    return part


def fill_given_embedding(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published tensors, with the second time embedding begun as a copy of the first where they have none."""
    copies = {
        GIVEN_EMBEDDING + name.removeprefix("time_embed."): value
        for name, value in tensors.items()
        if name.startswith("time_embed.")
    }
    return {**copies, **tensors}


def to_published(tensors: Mapping[str, torch.Tensor], names: Mapping[str, str]) -> dict[str, torch.Tensor]:
    """Own tensors under published names."""
    return {names[name]: value for name, value in tensors.items()}
