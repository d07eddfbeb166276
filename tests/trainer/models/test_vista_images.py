"""The autoencoder's and the picture encoder's published names, against networks written from their formulas.

Those below read weights by their published names and know nothing of diffusers or transformers: so names, the order of
blocks, and which of two mixed signals a factor weighs are checked by what comes out.
"""

import pytest
import torch
import torch.nn.functional as F

from trainer.models.vista.build import make_autoencoder, make_picture_encoder
from trainer.models.vista.config import AutoencoderConfig, PictureConfig
from trainer.models.vista.image_keys import (
    autoencoder_names,
    publish_autoencoder,
    publish_picture_encoder,
    read_autoencoder,
    read_condition_encoder,
    read_picture_encoder,
)

pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
SMALL = AutoencoderConfig(widths=(32, 64), blocks_per_level=2)
PICTURE = PictureConfig(width=32, feedforward=80, num_layers=2, num_heads=2, image_size=28, patch_size=14, out_width=24)
Tensors = dict[str, torch.Tensor]


def randomised(model: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            spread = 1 / parameter[0].numel() ** 0.5 if parameter.ndim > 1 else 0.3
            parameter.copy_(spread * torch.randn(parameter.shape, generator=generator) + (parameter.ndim == 1) * 0.5)
    return model.eval()


@pytest.fixture(scope="module")
def autoencoder() -> torch.nn.Module:
    return randomised(make_autoencoder(SMALL))


@pytest.fixture(scope="module")
def tower() -> torch.nn.Module:
    return randomised(make_picture_encoder(PICTURE))


def convolve(w: Tensors, name: str, x: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
    call = F.conv3d if x.ndim == 5 else F.conv2d
    shape = w[f"{name}.weight"].shape[2:]
    return call(x, w[f"{name}.weight"], w[f"{name}.bias"], stride, padding or tuple(side // 2 for side in shape))


def norm(w: Tensors, name: str, x: torch.Tensor, eps: float = 1e-6) -> torch.Tensor:
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"], eps)


def residual(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    y = convolve(w, f"{name}.conv1", F.silu(norm(w, f"{name}.norm1", x)))
    y = convolve(w, f"{name}.conv2", F.silu(norm(w, f"{name}.norm2", y)))
    x = (convolve(w, f"{name}.nin_shortcut", x) if f"{name}.nin_shortcut.weight" in w else x) + y
    if f"{name}.mix_factor" not in w:
        return x
    clip = x.transpose(0, 1)[None]  # frames become depth
    layers, eps = f"{name}.time_stack", 1e-5
    y = convolve(w, f"{layers}.in_layers.2", F.silu(norm(w, f"{layers}.in_layers.0", clip, eps)))
    y = convolve(w, f"{layers}.out_layers.3", F.silu(norm(w, f"{layers}.out_layers.0", y, eps)))
    share = torch.sigmoid(w[f"{name}.mix_factor"])  # of what passed through time
    return (share * (clip + y) + (1 - share) * clip)[0].transpose(0, 1)


def attend(w: Tensors, name: str, x: torch.Tensor) -> torch.Tensor:
    normed = norm(w, f"{name}.norm", x)
    q, k, v = (convolve(w, f"{name}.{letter}", normed).flatten(2) for letter in "qkv")
    weights = (q.transpose(1, 2) @ k / q.shape[1] ** 0.5).softmax(-1)
    return x + convolve(w, f"{name}.proj_out", (v @ weights.transpose(1, 2)).view_as(x))


def middle(w: Tensors, side: str, x: torch.Tensor) -> torch.Tensor:
    return residual(w, f"{side}.mid.block_2", attend(w, f"{side}.mid.attn_1", residual(w, f"{side}.mid.block_1", x)))


def encode(w: Tensors, frames: torch.Tensor) -> torch.Tensor:
    x = convolve(w, "encoder.conv_in", frames)
    for level in range(2):
        for block in range(2):
            x = residual(w, f"encoder.down.{level}.block.{block}", x)
        if level == 0:
            pad = F.pad(x, (0, 1, 0, 1))
            x = F.conv2d(pad, w["encoder.down.0.downsample.conv.weight"], w["encoder.down.0.downsample.conv.bias"], 2)
    return convolve(w, "encoder.conv_out", F.silu(norm(w, "encoder.norm_out", middle(w, "encoder", x))))


def decode(w: Tensors, latents: torch.Tensor) -> torch.Tensor:
    x = middle(w, "decoder", convolve(w, "decoder.conv_in", latents))
    for level in (1, 0):
        for block in range(3):
            x = residual(w, f"decoder.up.{level}.block.{block}", x)
        if level:
            x = convolve(w, "decoder.up.1.upsample.conv", F.interpolate(x, scale_factor=2))
    x = convolve(w, "decoder.conv_out", F.silu(norm(w, "decoder.norm_out", x)))
    return convolve(w, "decoder.conv_out.time_mix_conv", x.transpose(0, 1)[None])[0].transpose(0, 1)


def test_the_autoencoder_is_the_published_one(autoencoder):
    state = autoencoder.state_dict()
    published = publish_autoencoder(state)
    assert {"quant_conv.weight", "decoder.conv_out.time_mix_conv.bias"} <= published.keys()
    generator = torch.Generator().manual_seed(1)
    frames, latents = torch.randn(3, 3, 12, 16, generator=generator), torch.randn(5, 4, 6, 8, generator=generator)
    with torch.no_grad():
        moments = convolve(published, "quant_conv", encode(published, frames))
        answer = autoencoder.encode(frames).latent_dist.parameters
        torch.testing.assert_close(answer, moments, rtol=1e-4, atol=1e-4)
        decoded = autoencoder.decode(latents, num_frames=5).sample
        torch.testing.assert_close(decoded, decode(published, latents), rtol=1e-4, atol=1e-4)
        other = {name: -value if "mix_factor" in name else value for name, value in published.items()}
        assert (decode(other, latents) - decoded).abs().max() > 0.01, "the direction of the mix matters"


def test_the_autoencoder_comes_back_and_has_what_it_needs(autoencoder):
    state = autoencoder.state_dict()
    shapes = {name: value.shape for name, value in state.items()}
    published = publish_autoencoder(state)
    back = read_autoencoder(published, shapes)
    assert back.keys() == state.keys() and all(torch.equal(back[name], state[name]) for name in state)
    idle = {name: value for name, value in published.items() if not name.startswith("quant_conv.")}
    begun = read_autoencoder(idle, shapes)
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(F.conv2d(x, begun["quant_conv.weight"], begun["quant_conv.bias"]), x)
    assert publish_autoencoder(begun).keys() == idle.keys(), "what was filled in is not published"
    condition = read_condition_encoder({**published, "post_quant_conv.bias": torch.zeros(4)}, shapes)
    assert condition.keys() == {name for name in state if not name.startswith("decoder.")}
    del published["decoder.up.1.block.2.mix_factor"], idle["encoder.mid.attn_1.q.bias"]
    with pytest.raises(ValueError, match=r"1 missing \(decoder\.up\.1\.block\.2\.mix_factor\)"):
        read_autoencoder(published, shapes)
    with pytest.raises(ValueError, match=r"3 missing \(encoder\.mid\.attn_1\.q\.bias, quant_conv"):
        read_condition_encoder(idle, shapes)


def test_the_full_size_autoencoder_has_the_published_names():
    with torch.device("meta"):
        model = make_autoencoder(AutoencoderConfig())
    state = model.state_dict()
    names = set(autoencoder_names(state).values())
    assert len(names) == len(state)
    number = sum(value.numel() for name, value in state.items() if not name.startswith("quant_conv"))
    assert number == pytest.approx(97.7e6, rel=1e-3)
    assert {
        "decoder.up.0.block.0.nin_shortcut.weight",
        "decoder.up.1.block.2.time_stack.out_layers.3.bias",
        "decoder.mid.block_2.mix_factor",
        "decoder.mid.attn_1.proj_out.weight",
        "encoder.down.2.downsample.conv.bias",
        "encoder.mid.block_1.norm1.weight",
        "encoder.norm_out.bias",
    } <= names
    assert "decoder.up.0.upsample.conv.weight" not in names and "decoder.up.3.upsample.conv.weight" in names


def see(w: Tensors, pictures: torch.Tensor, num_heads: int) -> torch.Tensor:
    """OpenCLIP's tower from its formula."""

    def normed(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])

    def linear(name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    x = F.conv2d(pictures, w["conv1.weight"], stride=w["conv1.weight"].shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([w["class_embedding"].expand(len(x), 1, -1), x], 1) + w["positional_embedding"]
    x = normed("ln_pre", x).transpose(0, 1)
    for layer in range(2):
        name = f"transformer.resblocks.{layer}"
        y = normed(f"{name}.ln_1", x)
        into = (w[f"{name}.attn.in_proj_weight"], w[f"{name}.attn.in_proj_bias"])
        out = (w[f"{name}.attn.out_proj.weight"], w[f"{name}.attn.out_proj.bias"])
        settings = (x.shape[-1], num_heads, *into, None, None, False, 0.0, *out)
        x = x + F.multi_head_attention_forward(y, y, y, *settings, need_weights=False)[0]
        x = x + linear(f"{name}.mlp.c_proj", F.gelu(linear(f"{name}.mlp.c_fc", normed(f"{name}.ln_2", x))))
    return normed("ln_post", x[0]) @ w["proj"]


def test_the_picture_encoder_is_openclips(tower):
    published = publish_picture_encoder(tower.state_dict())
    pictures = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found, expected = tower(pictures).image_embeds, see(published, pictures, 2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    shapes = {name: value.shape for name, value in tower.state_dict().items()}
    back = read_picture_encoder(published, shapes)
    assert back.keys() == shapes.keys()
    assert all(torch.equal(back[name], value) for name, value in tower.state_dict().items())
    del published["transformer.resblocks.1.attn.in_proj_bias"]
    with pytest.raises(ValueError, match=r"3 missing \(transformer\.resblocks\.1\.attn\.k\.bias"):
        read_picture_encoder(published, shapes)


def test_the_full_size_picture_encoder():
    with torch.device("meta"):
        model = make_picture_encoder(PictureConfig())
    number = sum(parameter.numel() for parameter in model.parameters())
    assert number == pytest.approx(632.1e6, rel=1e-3)  # OpenCLIP's ViT-H-14, the visual part
    names = publish_picture_encoder(model.state_dict()).keys()
    assert len(names) == 8 + 32 * 12 and "transformer.resblocks.31.attn.in_proj_weight" in names
