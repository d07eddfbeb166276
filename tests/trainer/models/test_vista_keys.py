"""Names and shapes of published weights, without the networks that have them."""

import sys

import pytest
import torch

from trainer.models.vista.build import make_picture_encoder
from trainer.models.vista.config import PictureConfig
from trainer.models.vista.image_keys import autoencoder_names
from trainer.models.vista.keys import fill_given_embedding, from_published, take_part, temporal_names, unet_names
from trainer.models.vista.published_file import merge_adapters

UNET = {
    "conv_in.weight": "input_blocks.0.0.weight",
    "time_embedding.linear_2.bias": "time_embed.2.bias",
    "given_time_embedding.linear_1.weight": "cond_time_stack_embed.0.weight",
    "add_embedding.linear_2.weight": "label_emb.0.2.weight",
    "down_blocks.0.resnets.1.spatial_res_block.norm1.weight": "input_blocks.2.0.in_layers.0.weight",
    "down_blocks.0.downsamplers.0.conv.bias": "input_blocks.3.0.op.bias",
    "down_blocks.3.resnets.0.temporal_res_block.time_emb_proj.bias": "input_blocks.10.0.time_stack.emb_layers.1.bias",
    "down_blocks.1.attentions.0.proj_in.weight": "input_blocks.4.1.proj_in.weight",
    "mid_block.resnets.1.time_mixer.mix_factor": "middle_block.2.time_mixer.mix_factor",
    "mid_block.attentions.0.time_pos_embed.linear_1.weight": "middle_block.1.time_pos_embed.0.weight",
    "up_blocks.0.resnets.2.spatial_res_block.conv_shortcut.weight": "output_blocks.2.0.skip_connection.weight",
    "up_blocks.0.upsamplers.0.conv.weight": "output_blocks.2.1.conv.weight",  # a level without attention
    "up_blocks.1.upsamplers.0.conv.weight": "output_blocks.5.2.conv.weight",
    "up_blocks.1.attentions.2.temporal_transformer_blocks.0.attn2.to_k.action.weight":
        "output_blocks.5.1.time_stack.0.attn2.k_adapter_action_control.weight",
    "up_blocks.3.attentions.1.transformer_blocks.0.attn1.to_out.0.weight":
        "output_blocks.10.1.transformer_blocks.0.attn1.to_out.0.weight",
    "up_blocks.3.attentions.1.transformer_blocks.0.attn1.to_q.parametrizations.weight.original":
        "output_blocks.10.1.transformer_blocks.0.attn1.to_q.weight",
    "up_blocks.3.attentions.1.transformer_blocks.0.attn1.to_q.parametrizations.weight.0.down":
        "output_blocks.10.1.transformer_blocks.0.attn1.q_adapter_down.weight",
    "up_blocks.3.attentions.1.transformer_blocks.0.attn1.to_out.0.parametrizations.weight.0.up":
        "output_blocks.10.1.transformer_blocks.0.attn1.out_adapter_up.weight",
    "conv_norm_out.bias": "out.0.bias",
}  # fmt: skip
"""Of a UNet with two blocks a level, as Stable Video Diffusion's."""
AUTOENCODER = {
    "encoder.down_blocks.1.resnets.0.conv_shortcut.weight": "encoder.down.1.block.0.nin_shortcut.weight",
    "encoder.down_blocks.2.downsamplers.0.conv.bias": "encoder.down.2.downsample.conv.bias",
    "encoder.mid_block.attentions.0.group_norm.weight": "encoder.mid.attn_1.norm.weight",
    "encoder.mid_block.attentions.0.to_out.0.weight": "encoder.mid.attn_1.proj_out.weight",
    "decoder.mid_block.resnets.1.spatial_res_block.norm2.bias": "decoder.mid.block_2.norm2.bias",
    "decoder.mid_block.resnets.0.time_mixer.mix_factor": "decoder.mid.block_1.mix_factor",
    "decoder.up_blocks.0.upsamplers.0.conv.weight": "decoder.up.3.upsample.conv.weight",
    "decoder.up_blocks.3.resnets.2.temporal_res_block.conv2.weight":
        "decoder.up.0.block.2.time_stack.out_layers.3.weight",
    "decoder.conv_norm_out.weight": "decoder.norm_out.weight",
    "decoder.time_conv_out.bias": "decoder.conv_out.time_mix_conv.bias",
    "quant_conv.weight": "quant_conv.weight",
}  # fmt: skip


def test_names_are_the_published_ones():
    assert unet_names(UNET) == UNET
    assert autoencoder_names(AUTOENCODER) == AUTOENCODER
    temporal = temporal_names(UNET)
    assert {name.split(".")[-1] for name in temporal} == {"weight", "bias"} and len(temporal) == 3
    with pytest.raises(ValueError, match="no UNet of Vista has a weight called encoder"):
        unet_names(["encoder.weight"])


def test_what_may_be_missing_may_be_so_together_only():
    shapes = {name: torch.Size([2, 3]) for name in ("a", "b", "c")}
    names = {"a": "x.one", "b": "y.one", "c": "y.two"}
    tensors = {published: torch.ones(2, 3) for published in names.values()}
    assert from_published(tensors, shapes, names).keys() == names.keys()
    without_y = {"x.one": torch.ones(2, 3, 1, 1)}
    found = from_published(without_y, shapes, names, may_lack=["y."])
    assert found.keys() == {"a"} and found["a"].shape == (2, 3), "a 1x1 convolution is a linear layer"
    half = {name: value for name, value in tensors.items() if name != "y.two"}
    for may_lack in ([], ["y."]):
        with pytest.raises(ValueError, match=r"1 missing \(y\.two\); take the file and the sizes of one model"):
            from_published(half, shapes, names, may_lack=may_lack)
    more = {**tensors, "z.one": torch.ones(1), "x.one": torch.ones(3, 2)}
    message = r"1 not known here \(z\.one\); 1 of another shape \(x\.one \(3, 2\) for \(2, 3\)\)"
    with pytest.raises(ValueError, match=message):
        from_published(more, shapes, names)
    assert from_published({**tensors, "z.one": torch.ones(1)}, shapes, names, may_have=["z."]).keys() == names.keys()


def test_the_second_embedding_begins_as_the_first_only_where_there_is_none():
    first = {"time_embed.0.weight": torch.ones(2), "time_embed.2.bias": torch.zeros(2)}
    filled = fill_given_embedding(first)
    assert torch.equal(filled["cond_time_stack_embed.0.weight"], torch.ones(2)) and len(filled) == 4
    own = fill_given_embedding({**first, "cond_time_stack_embed.0.weight": torch.full((2,), 7.0)})
    assert own["cond_time_stack_embed.0.weight"][0] == 7


def test_parts_are_taken_and_adapters_merged():
    assert take_part({"a.b": torch.ones(1), "c.b": torch.ones(1)}, "a.").keys() == {"b"}
    with pytest.raises(ValueError, match="no weight's name begins with d"):
        take_part({"a.b": torch.ones(1)}, "d.")
    down, up, weight = torch.randn(2, 3), torch.randn(4, 2), torch.randn(4, 3)
    tensors = {"m.attn1.to_out.0.weight": weight, "m.attn1.out_adapter_down.weight": down}
    merged = merge_adapters({**tensors, "m.attn1.out_adapter_up.weight": up})
    assert merged.keys() == {"m.attn1.to_out.0.weight"}
    torch.testing.assert_close(merged["m.attn1.to_out.0.weight"], weight + up @ down)
    with pytest.raises(ValueError, match=r"its m\.attn1\.out_adapter_up\.weight is missing"):
        merge_adapters(tensors)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"needs transformers .*pip install 'frameline\[vista\]'"):
        make_picture_encoder(PictureConfig())
