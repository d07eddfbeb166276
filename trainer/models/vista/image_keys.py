"""Names of the weights of the autoencoder and of the picture's encoder in published files, and here, both ways.

As `trainer.models.vista.keys` does for the UNet. What was checked: against networks written from the published ones'
formulas, on random weights (tests). Not checked: a published file.
"""

import re
from collections.abc import Iterable, Mapping

import torch

from trainer.models.vista.keys import RESIDUAL, from_published, rewrite

FIRST_STAGE_PREFIX = "first_stage_model."
"""The autoencoder of videos."""
CONDITION_PREFIX = "conditioner.embedders.3.encoder."
"""The encoder of the condition frame, which has a last convolution `quant_conv` of its own."""
PICTURE_PREFIX = "conditioner.embedders.0.open_clip.model.visual."
"""OpenCLIP's tower of pictures. Beside it the file has parts of its tower of texts, which nothing reads."""

AUTOENCODER = (
    (r"down_blocks\.(\d+)\.resnets", r"down.\1.block"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up\.(\d+)\.resnets", r"up.\1.block"),
    (r"up\.(\d+)\.upsamplers\.0", r"up.\1.upsample"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"group_norm", "norm"),
    (r"to_([qkv])", r"\1"),
    (r"to_out\.0", "proj_out"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"time_conv_out", "conv_out.time_mix_conv"),
    (r"time_mixer\.mix_factor", "mix_factor"),
)
PICTURE = (
    (r"vision_model\.embeddings\.class_embedding", "class_embedding"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"vision_model\.embeddings\.patch_embedding", "conv1"),
    (r"vision_model\.pre_layrnorm", "ln_pre"),
    (r"vision_model\.post_layernorm", "ln_post"),
    (r"vision_model\.encoder\.layers", "transformer.resblocks"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
    (r"visual_projection\.weight", "proj"),
)
TRIPLE = re.compile(r"(.+)\.self_attn\.([qkv])_proj\.(weight|bias)$")
"""Queries', keys' and values' layers, which a published file has as one `in_proj`."""


def autoencoder_names(names: Iterable[str]) -> dict[str, str]:
    """The published name of each name of an AutoencoderKLTemporalDecoder's state dict."""
    names = list(names)
    levels = [int(found[1]) for name in names if (found := re.match(r"decoder\.up_blocks\.(\d+)\.", name))]
    last = max(levels, default=0)

    def published(name: str) -> str:
        name = re.sub(r"(?<=decoder\.)up_blocks\.(\d+)", lambda found: f"up.{last - int(found[1])}", name)
        place, temporal, rest = name.partition(".temporal_res_block.")
        if temporal:
            name = f"{place}.time_stack.{rewrite(rest, RESIDUAL)}"
        return rewrite(name.replace(".spatial_res_block.", "."), AUTOENCODER)

    found = {name: published(name) for name in names}
    assert len(set(found.values())) == len(names), "two names became one"
    return found


def read_autoencoder(tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, torch.Tensor]:
    """Own tensors of a published autoencoder (names without their prefix), all that a network of these shapes has.

    The one of videos has no `quant_conv`: it begins as the identity, which changes nothing. Raises ValueError as
    `from_published` does.
    """
    names = autoencoder_names(shapes)
    found = from_published(tensors, shapes, names, may_lack=["quant_conv."], may_have=["post_quant_conv."])
    if "quant_conv.weight" not in found:
        size = shapes["quant_conv.weight"][0]
        found |= {"quant_conv.weight": torch.eye(size)[..., None, None], "quant_conv.bias": torch.zeros(size)}
    return found


def read_condition_encoder(
    tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, torch.Tensor]:
    """Own tensors of the condition frame's encoder (names without their prefix): those without the decoder.

    Raises ValueError as `from_published` does.
    """
    encoder = {name: shape for name, shape in shapes.items() if not name.startswith("decoder.")}
    names = autoencoder_names(encoder)
    return from_published(tensors, encoder, names, may_have=["decoder.", "post_quant_conv."])


def publish_autoencoder(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published tensors of an autoencoder; where its quant_conv does nothing they have none.

    Layers of its attentions become 1x1 convolutions, as there.
    """
    names = autoencoder_names(tensors)
    weight, bias = tensors["quant_conv.weight"], tensors["quant_conv.bias"]
    is_idle = torch.equal(weight[..., 0, 0].cpu(), torch.eye(len(weight))) and not bias.any()
    return {
        names[name]: value[..., None, None] if ".mid.attn_1." in names[name] and value.ndim == 2 else value
        for name, value in tensors.items()
        if not (is_idle and name.startswith("quant_conv."))
    }  # fmt: skip


def read_picture_encoder(
    tensors: Mapping[str, torch.Tensor], shapes: Mapping[str, torch.Size]
) -> dict[str, torch.Tensor]:
    """Own tensors of OpenCLIP's tower of pictures (names without their prefix), for transformers' class.

    Its `in_proj` is taken apart, and its projection transposed. Raises ValueError as `from_published` does.
    """
    split = {}
    for name, value in tensors.items():
        if found := re.match(r"(.+)\.attn\.in_proj_(weight|bias)$", name):
            if len(value) % 3:
                raise ValueError(f"{name} {tuple(value.shape)}: not three layers of one size")
            split |= {f"{found[1]}.attn.{x}.{found[2]}": part for x, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            split[name] = value.T if name == "proj" else value
    return from_published(split, shapes, _picture_names(shapes))


def publish_picture_encoder(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published tensors of a tower of pictures: the inverse of `read_picture_encoder`."""
    names, published = _picture_names(tensors), {}
    for name, value in tensors.items():
        found = TRIPLE.match(name)
        if found is None:
            published[names[name]] = value.T if names[name] == "proj" else value
        elif found[2] == "q":
            parts = [tensors[f"{found[1]}.self_attn.{x}_proj.{found[3]}"] for x in "qkv"]
            published[f"{rewrite(found[1], PICTURE)}.attn.in_proj_{found[3]}"] = torch.cat(parts)
    return published


def _picture_names(names: Iterable[str]) -> dict[str, str]:
    return {
        name: f"{rewrite(found[1], PICTURE)}.attn.{found[2]}.{found[3]}" if found else rewrite(name, PICTURE)
        for name, found in ((name, TRIPLE.match(name)) for name in names)
    }
