"""Vista as a model of the trainer: its recipe's section, the space it works in, clips it makes, files of others."""

from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.shards.driving.drives import drive_clip
from trainer.batch import collate
from trainer.checkpoint import load_weights
from trainer.config import DataConfig
from trainer.driving.config import DrivingData
from trainer.driving.samples import window_of_clip
from trainer.export import main as export
from trainer.models.vista.model import add_up, scale_frames
from trainer.models.vista.recipe import read_config
from trainer.models.vista.task import build, fit_weights, get_ready, losses

needs_tower = pytest.mark.skipif(
    find_spec("transformers") is None, reason="Vista's picture encoder needs the extra `vista`"
)
PIXELS = {
    "name": "vista", "preset": "pixels", "space": "pixels", "largest_sigma": 80.0,
    "unet": {"widths": [32], "attending": [True], "frame_values": 2},
    "objective": {"condition_weights": [0, 1], "sigma_data": 0.5},
}  # fmt: skip
LATENTS = {"name": "vista", "preset": "tiny", "frozen": "tiny"}
DATA = DrivingData(height=8, width=16, num_frames=4, one_kind=False)


def windows(data: DrivingData = DATA, rates=(0.3, -0.3)) -> dict[str, torch.Tensor]:
    rng, clips = np.random.default_rng(0), [drive_clip(f"clip-{n}", yaw_rate=rate) for n, rate in enumerate(rates)]
    for clip in clips:
        clip.video[:] = rng.integers(0, 256, clip.video.shape, dtype=np.uint8)
    return collate([window_of_clip(clip, 0, data) for clip in clips])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"preset": "svdd"}, r"model\.preset=svdd: did you mean 'svd'"),
        ({"presett": "svd"}, r"unknown key 'model\.presett', did you mean 'preset'"),
        ({"unet": {"widhts": [32]}}, r"unknown key 'model\.unet\.widhts', did you mean 'widths'"),
        ({"objective": {"drop_rat": 0.1}}, r"unknown key 'model\.objective\.drop_rat'"),
        ({"objective": {"condition_weights": 3}}, "expected a list"),
        ({"unet": [1]}, r"model\.unet=\[1\]: expected a mapping"),
        ({"unet": {"frame_values": 1}}, "use 2 .moved, turned., or 0"),
        ({"space": "pixels"}, r"in_channels=6 and out_channels=3; model\.preset=svd has 8 and 4"),
        ({"preset": "small"}, r"context_width=64, but tokens of model\.frozen=svd have 1024"),
        ({"smallest_sigma": 900.0}, "below largest_sigma"),
    ],
)
def test_a_mistake_in_the_model_section_is_named(values, message):
    with pytest.raises(ValueError, match=message):
        read_config(values)


def test_the_section_keeps_the_presets_other_values():
    config = read_config(PIXELS)
    assert config.unet.widths == (32,) and config.unet.context_width == 24 and config.tokens == "concat"
    assert read_config({"unet": {"with_actions": False}}).tokens is None
    assert read_config({}).objective.condition_weights == (1, 2, 4, 8)


def test_what_a_frame_is_told_is_how_far_it_is_from_the_first():
    motion = torch.tensor([[[5.0, 5.0], [1.0, 0.1], [2.0, -0.3]]])
    torch.testing.assert_close(add_up(motion, (1.0, 20.0)), torch.tensor([[[0.0, 0.0], [1.0, 2.0], [3.0, -4.0]]]))


def test_clips_begin_with_what_is_given_and_follow_what_is_told():
    torch.manual_seed(0)
    model, batch = build(PIXELS).eval(), windows()
    torch.nn.init.normal_(model.unet.frame_embedding.linear_2.weight)
    made = [model.make(told, 3, torch.Generator().manual_seed(1), guidance=1.0) for told in
            (batch, batch, batch | {"motion": -batch["motion"]}, batch | {"moves": ~batch["moves"]})]  # fmt: skip
    assert made[0].shape == (2, 4, 3, 8, 16) and made[0].abs().max() <= 1
    torch.testing.assert_close(made[0][:, :1], scale_frames(batch["frames"][:, :1]))
    assert torch.equal(made[0], made[1])
    assert not torch.allclose(made[0], made[2]) and not torch.allclose(made[0], made[3])
    unseen = batch["frames"].clone()
    unseen[:, 1:] = 0  # nothing of what is to be made is looked at
    again = model.make(batch | {"frames": unseen}, 3, torch.Generator().manual_seed(1), guidance=1.0)
    assert torch.equal(made[0], again)
    three = model.make(batch, 2, torch.Generator().manual_seed(1), num_given=3, guidance=1.0)
    torch.testing.assert_close(three[:, :3], scale_frames(batch["frames"][:, :3]))


def test_layers_that_scale_begin_as_those_that_shift():
    torch.manual_seed(0)
    plain = build(PIXELS)
    scaling = build(PIXELS | {"unet": PIXELS["unet"] | {"scales": True}})
    block = scaling.unet.down_blocks[0].resnets[0].spatial_res_block
    half = len(block.time_emb_proj.bias) // 2
    assert block.time_emb_proj.weight[:half].abs().max() == 0 and block.time_emb_proj.weight[half:].abs().max() > 0
    with torch.no_grad():
        block.time_emb_proj.bias[:half] = 0.5
    batch = windows()
    made = [model.eval().make(batch, 2, torch.Generator().manual_seed(0), guidance=1.0) for model in (plain, scaling)]
    assert made[0].shape == made[1].shape and made[1].isfinite().all()


class Silent(torch.nn.Module):
    """A network that says nothing."""

    def forward(self, latents: torch.Tensor, *_, **__) -> torch.Tensor:
        return torch.zeros_like(latents[:, :, :3])


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_around_its_first_frame_a_network_that_says_nothing_makes_that_and_noise(guidance):
    objective = PIXELS["objective"] | {"sigma_data": 0.05}
    model, batch = build(PIXELS | {"around_first": True, "objective": objective}), windows()
    model.unet = Silent()
    made = model.make(batch, 20, torch.Generator().manual_seed(0), guidance=guidance)
    first = scale_frames(batch["frames"][:, :1])
    assert 0.02 < (made - first)[:, 1:].std() < 0.06 and (made - first).abs().max() < 0.4
    later = model.continued(model.condition(batch), -first.expand(-1, 3, -1, -1, -1))
    torch.testing.assert_close(later.start, -first[:, 0])
    with pytest.raises(ValueError, match="around_first=true is for"):
        read_config({"around_first": True})


def test_ids_are_each_clips_own_rate():
    batch = windows() | {"fps": torch.tensor([10.0, 5.0])}
    condition = build(PIXELS).condition(batch)
    assert condition.ids.tolist() == [[9, 127, 0], [4, 127, 0]]
    assert condition.moves.all() and condition.present.all() == batch["present"].all()


def test_losses_are_a_function_of_torchs_seed():
    model, batch = build(PIXELS), windows()
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append(losses(model, batch))
    assert found[0] == found[1] and found[0]["diffusion_loss"] != found[2]["diffusion_loss"]
    sum(found[0].values()).backward()
    assert all(x.grad is not None for x in model.parameters() if x.requires_grad)


@needs_tower
def test_latents_go_there_and_back_and_learn_nothing_of_the_frozen_networks():
    model = build(LATENTS)
    batch = windows(DrivingData(height=32, width=32, num_frames=4))
    latents = model.to_space(scale_frames(batch["frames"]))
    assert latents.shape == (2, 4, 4, 4, 4) and model.to_frames(latents).shape == (2, 4, 3, 32, 32)
    sum(losses(model, batch).values()).backward()
    frozen = [*model.autoencoder.parameters(), *model.tower.parameters()]
    assert all(x.grad is None for x in frozen)
    assert model.make(batch, 1, torch.Generator().manual_seed(0)).shape == (2, 4, 3, 32, 32)


@needs_tower
def test_published_files_come_in_and_go_out(tmp_path, capsys):
    torch.manual_seed(0)
    settings = ["preset=tiny", "frozen=tiny"]
    model = build(LATENTS)
    from safetensors.torch import save_file

    from trainer.models.vista.task import publish

    save_file(publish(model), tmp_path / "vista.safetensors")
    words = [
        "--from",
        str(tmp_path / "vista.safetensors"),
        "--model",
        "vista",
        "--out",
        str(tmp_path / "own.safetensors"),
    ]
    assert export([*words, *settings]) == 0
    tensors, recipe = load_weights(tmp_path / "own.safetensors")
    assert recipe.model == {"name": "vista", "preset": "tiny", "frozen": "tiny"}
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in tensors.items())
    out = ["--weights", str(tmp_path / "own.safetensors"), "--format", "safetensors", "--out", str(tmp_path / "o")]
    assert export(out) == 0
    assert (tmp_path / "o").read_bytes() == (tmp_path / "vista.safetensors").read_bytes()
    assert export([*words, "preset=tiny", "frozen=tiny", "unet={frame_values: 2}"]) == 2
    assert "no published file has weights of model.unet.frame_values or scales" in capsys.readouterr().err
    assert export([*words, "preset=pixels", "space=pixels"]) == 2
    assert "published files are of latents" in capsys.readouterr().err


@needs_tower
def test_a_training_begins_with_a_published_file_whole_or_its_frozen_part(tmp_path):
    from safetensors.torch import save_file

    from trainer.models.vista.task import publish

    torch.manual_seed(0)
    world = build(LATENTS)
    path = tmp_path / "svd.safetensors"
    lacking = ("cond_time_stack_embed", "_adapter_action_control")
    save_file({k: v for k, v in publish(world).items() if not any(part in k for part in lacking)}, path)

    def begun(**more) -> torch.nn.Module:
        model = build(LATENTS | {"published": str(path)} | more)
        data = DataConfig(dataset="d", driving=DrivingData(height=32, width=32, num_frames=8))
        get_ready(model, SimpleNamespace(stage="s", data=data), SimpleNamespace(init_weights=None))
        return model

    model = begun()
    torch.testing.assert_close(model.unet.conv_in.weight, world.unet.conv_in.weight)
    torch.testing.assert_close(
        model.unet.given_time_embedding.linear_1.weight, world.unet.time_embedding.linear_1.weight
    )
    torch.testing.assert_close(model.tower.state_dict(), world.tower.state_dict())
    model = begun(published_unet=False, unet={"widths": [32], "attending": [True]})
    torch.testing.assert_close(model.autoencoder.state_dict(), world.autoencoder.state_dict())
    with pytest.raises(ValueError, match="is not there; download svd_xt"):
        begun(published=str(Path("nowhere")))


@needs_tower
def test_frames_that_the_model_cannot_take_are_refused():
    model = build(LATENTS)

    def ready(**values) -> None:
        data = DataConfig(dataset="d", driving=DrivingData(**values))
        get_ready(model, SimpleNamespace(stage="s", data=data), SimpleNamespace(init_weights=None))

    ready(height=32, width=32, num_frames=4)
    with pytest.raises(ValueError, match="36x32; this model takes sides that are multiples of 16"):
        ready(height=36, width=32, num_frames=4)
    with pytest.raises(ValueError, match=r"gives up to 3 of data\.driving\.num_frames=3 frames"):
        ready(height=32, width=32, num_frames=3)


def test_only_what_a_later_phase_adds_may_lack():
    plain = PIXELS | {"unet": {"widths": [32], "attending": [True], "with_actions": False}}
    first, second = build(plain), build(PIXELS)
    fitted = fit_weights(first.state_dict(), second)
    assert fitted.keys() == second.state_dict().keys()
    half = {k: v for k, v in second.state_dict().items() if k != "unet.frame_embedding.linear_1.bias"}
    assert fit_weights(half, second).keys() == half.keys()  # a part is missing: the loader names it
    lacking = {k: v for k, v in first.state_dict().items() if k != "unet.conv_in.bias"}
    assert "unet.conv_in.bias" not in fit_weights(lacking, second)
