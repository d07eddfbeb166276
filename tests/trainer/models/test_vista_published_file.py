"""Whole files of all networks: written and read again, as the reference's training leaves them, and damaged ones."""

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

from trainer.config import LoraConfig
from trainer.lora import adapt
from trainer.models.vista.build import make_autoencoder, make_picture_encoder, make_unet
from trainer.models.vista.config import PRESETS, AutoencoderConfig, PictureConfig
from trainer.models.vista.keys import PHASE_1_LACKS, SVD_LACKS, to_published, unet_names
from trainer.models.vista.published_file import World, load_world, publish_world
from trainer.published import read_published

pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
TINY = PRESETS["tiny"]
LORA = LoraConfig(rank=4, alpha=4, modules=["to_q", "to_k", "to_v", "to_out.0"])
SIZES = {"width": 32, "feedforward": 48, "num_layers": 1, "num_heads": 2, "image_size": 28, "patch_size": 14}


def make_world(seed: int, with_actions: bool = True) -> World:
    torch.manual_seed(seed)
    world = World(
        unet=make_unet(dataclasses.replace(TINY, with_actions=with_actions)),
        autoencoder=make_autoencoder(AutoencoderConfig(widths=(32, 64))),
        condition_encoder=make_autoencoder(AutoencoderConfig(widths=(32, 64))),
        picture_encoder=make_picture_encoder(PictureConfig(**SIZES, out_width=24)),
    )
    with torch.no_grad():
        for name, parameter in world.unet.named_parameters():
            if ".action." in name or "given" in name:
                parameter.normal_(0, 0.1)
    return world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(0)


@pytest.fixture(scope="module")
def published(world) -> dict[str, torch.Tensor]:
    return publish_world(world)


def assert_same(one: torch.nn.Module, other: torch.nn.Module, leave_out: tuple[str, ...] = ()) -> None:
    ours, theirs = one.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if not leave_out or not name.startswith(leave_out):
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=0, msg=name)


def test_a_file_comes_back_whole(tmp_path, world, published):
    texts = {"conditioner.embedders.0.open_clip.model.ln_final.bias": torch.zeros(3)}
    save_file(published | texts, tmp_path / "vista.safetensors")
    other = make_world(1)
    assert load_world(other, read_published(tmp_path / "vista.safetensors")) == ()
    assert_same(other.unet, world.unet)
    assert_same(other.autoencoder, world.autoencoder)
    assert_same(other.picture_encoder, world.picture_encoder)
    assert_same(other.condition_encoder, world.condition_encoder, leave_out=("decoder.",))
    parts = {name.split(".")[0] for name in published}
    assert parts == {"model", "first_stage_model", "conditioner"}
    alone = World(unet=make_unet(TINY))
    load_world(alone, published)
    assert_same(alone.unet, world.unet)


def test_one_weight_less_or_more_is_an_error_and_changes_nothing(published):
    other = make_world(1)
    before = {name: value.clone() for name, value in other.unet.state_dict().items()}
    for gone in (
        "model.diffusion_model.out.2.bias",
        "first_stage_model.decoder.mid.block_1.mix_factor",
        "conditioner.embedders.3.encoder.quant_conv.weight",
        "conditioner.embedders.0.open_clip.model.visual.ln_post.bias",
    ):
        less = {name: value for name, value in published.items() if name != gone}
        with pytest.raises(ValueError, match=f"1 missing .*{gone.rsplit('.', 2)[-2]}"):
            load_world(other, less, may_lack=SVD_LACKS)
    for more, message in (
        ("model.diffusion_model.out.4.bias", r"not known here \(out\.4\.bias\)"),
        ("denoiser.sigmas", r"belong to no part .* \(denoiser\.sigmas\)"),
        ("model_ema.diffusion_modelout4bias", r"averages are of no weight of this network \(model_ema\.diffusion_"),
    ):
        with pytest.raises(ValueError, match=message):
            load_world(other, {**published, more: torch.zeros(1)})
    with pytest.raises(ValueError, match="no weight's name begins with first_stage_model"):
        load_world(other, {name: x for name, x in published.items() if "first_stage" not in name})
    assert all(torch.equal(value, before[name]) for name, value in other.unet.state_dict().items())


def test_what_a_phase_lacks_begins_as_said(published):
    svd = {name: x for name, x in published.items() if not any(part in name for part in SVD_LACKS)}
    unet = make_unet(TINY)
    lacking = load_world(World(unet=unet), svd, may_lack=SVD_LACKS)
    assert len(lacking) == 4 + 28
    for layer in ("linear_1", "linear_2"):
        ours, first = (getattr(getattr(unet, name), layer) for name in ("given_time_embedding", "time_embedding"))
        assert torch.equal(ours.weight, first.weight) and torch.equal(ours.bias, first.bias)
    assert not any(x.to_v.action.weight.any() for x in unet.cross_attentions())
    with pytest.raises(ValueError, match=r"4 missing \(cond_time_stack_embed"):
        load_world(World(unet=unet), svd, may_lack=PHASE_1_LACKS)
    with pytest.raises(ValueError, match="32 missing"):
        load_world(World(unet=unet), svd)


def test_averages_and_adapters_of_the_references_training_are_merged(world):
    """Its second phase leaves raw adapters, and averages of everything under names without dots."""
    torch.manual_seed(2)
    adapted = adapt(make_unet(TINY), LORA)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1)
    averages = to_published(adapted.state_dict(), unet_names(adapted.state_dict()))
    file = {f"model_ema.diffusion_model{name.replace('.', '')}": value for name, value in averages.items()}
    file |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}
    raw = {f"model.diffusion_model.{name}": value + 1 for name, value in averages.items() if "_adapter_" in name}
    plain = make_unet(TINY)
    assert load_world(World(unet=plain), file | raw) == ()
    for name, module in adapted.named_modules():
        if isinstance(module, torch.nn.Linear):
            torch.testing.assert_close(plain.get_submodule(name).weight, module.weight)
    half = {name: value for name, value in file.items() if not name.endswith("0attn1q_adapter_upweight")}
    with pytest.raises(ValueError, match=r"attn1\.q_adapter_down\.weight: its .*q_adapter_up\.weight is missing"):
        load_world(World(unet=plain), half)


def test_what_is_written_has_adapters_merged(world):
    torch.manual_seed(3)
    adapted = adapt(make_unet(TINY), LORA)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(0, 0.1)
    written = publish_world(World(unet=adapted))
    assert not any("adapter_down" in name or "parametrizations" in name for name in written)
    plain = make_unet(TINY)
    load_world(World(unet=plain), written)
    some = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"
    torch.testing.assert_close(plain.get_submodule(some).weight, adapted.get_submodule(some).weight)
