"""A training step of Vista: what is drawn, what learns, mixed batches, and latents of frames."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from trainer.models.vista.build import make_autoencoder, make_picture_encoder, make_unet
from trainer.models.vista.conditions import Condition, attach, describe
from trainer.models.vista.config import PRESETS, AutoencoderConfig, PictureConfig
from trainer.models.vista.latents import (
    LATENT_SCALE,
    continue_condition,
    decode_latents,
    encode_condition,
    encode_frames,
    encode_pictures,
)
from trainer.models.vista.objective import ObjectiveConfig, losses_of_clips


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def condition(num: int = 2, width: int = 24) -> Condition:
    present = torch.rand(num, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    return describe(noise(num, width), noise(num, 4, 8, 8, seed=1), (noise(num, 19, seed=2), present))


def test_what_is_drawn_comes_from_the_generator_alone():
    def network(latents, level, context, ids, given):
        return latents[:, :, :4] * context.mean() + level.view(-1, 1, 1, 1, 1) + given[..., None, None, None]

    clean, made = noise(3, 6, 4, 8, 8), condition(3)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(found))
        generator = torch.Generator().manual_seed(seed)
        found.append(losses_of_clips(network, clean, made, generator, ObjectiveConfig()))
    assert found[0].keys() == {"diffusion_loss", "structure_loss"}
    assert found[0] == found[1] and found[0]["diffusion_loss"] != found[2]["diffusion_loss"]
    more = ObjectiveConfig(lambda_structure=0.2)
    doubled = losses_of_clips(network, clean, made, torch.Generator().manual_seed(0), more)
    torch.testing.assert_close(doubled["structure_loss"], 2 * found[0]["structure_loss"])
    none = ObjectiveConfig(lambda_structure=0.0)
    assert losses_of_clips(network, clean, made, torch.Generator(), none).keys() == {"diffusion_loss"}


def test_given_frames_come_clean_and_answers_for_them_count_for_nothing():
    clean, answers = noise(4, 5, 4, 8, 8), noise(4, 5, 4, 8, 8, seed=5).requires_grad_()
    masks = []

    def network(latents, level, context, ids, given):
        scale = (1 + (4 * level).exp().square()).rsqrt().view(-1, 1, 1, 1, 1)
        assert given.any() and not given.all()
        torch.testing.assert_close(latents[:, :, :4][given], (scale * clean)[given])
        assert ((latents[:, :, :4] - scale * clean)[~given].abs() > 1e-3).float().mean() > 0.5
        masks.append(given)
        return answers

    config = ObjectiveConfig(condition_weights=(1, 1, 1, 1))
    losses = losses_of_clips(network, clean, condition(4), torch.Generator().manual_seed(0), config)
    sum(losses.values()).backward()
    size = answers.grad.abs().sum((2, 3, 4))
    assert (size[masks[0]] == 0).all() and (size[~masks[0]] > 0).all()


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="use clip_l2, mean or null"):
        ObjectiveConfig(dynamics_norm="max")
    with pytest.raises(ValueError, match="drop_rate=1"):
        ObjectiveConfig(drop_rate=1.0)
    with pytest.raises(ValueError, match="3 of 3 frames given"):
        config = ObjectiveConfig(condition_weights=(0, 0, 0, 1))
        losses_of_clips(lambda *_: None, noise(1, 3, 4, 8, 8), condition(1), torch.Generator(), config)


@pytest.mark.parametrize("tokens", ["concat", "separate"])
def test_a_small_network_learns(tokens):
    torch.manual_seed(0)
    network = make_unet(dataclasses.replace(PRESETS["tiny"], action_tokens=tokens))
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=2e-3)
    clean, made, totals = noise(2, 4, 4, 8, 8), condition(), []
    for _ in range(20):
        generator = torch.Generator().manual_seed(0)  # the same noise: what it sees it can learn
        losses = losses_of_clips(network, clean, made, generator, ObjectiveConfig(drop_rate=0.0), tokens)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        totals.append(sum(losses.values()).item())
    assert totals[-1] < 0.7 * totals[0]
    moved = [x.to_v.action.weight.abs().max() > 0 for x in network.cross_attentions()]
    assert all(moved), "actions began at zero and learn"


@pytest.mark.parametrize("tokens", ["concat", "separate"])
def test_a_clip_is_answered_alike_whatever_its_neighbours_actions(tokens):
    torch.manual_seed(0)
    network = make_unet(dataclasses.replace(PRESETS["tiny"], action_tokens=tokens)).eval()
    with torch.no_grad():
        for attention in network.cross_attentions():
            attention.to_v.action.weight.normal_(0, 0.02)
            attention.to_k.action.weight.normal_(0, 0.02)
    made = dataclasses.replace(condition(), present=torch.tensor([[True, False, True, False, False], [False] * 5]))
    names = ("token", "latent", "actions", "present", "ids")
    alone = Condition(**{name: getattr(made, name)[:1] for name in names})
    other = dataclasses.replace(alone, actions=alone.actions + 1.0)
    given = torch.zeros(2, 4, dtype=torch.bool)
    x, level = noise(2, 4, 4, 8, 8), torch.tensor([0.1, -0.2])
    with torch.no_grad():
        both = attach(network, made, given, tokens)(x, level)
        one, changed = (attach(network, each, given[:1], tokens)(x[:1], level[:1]) for each in (alone, other))
    torch.testing.assert_close(both[:1], one, rtol=1e-4, atol=1e-5)
    assert (changed - one).abs().max() > 1e-3, "another action, another answer"


class Squares:
    """An autoencoder whose decoder adds the number of frames it sees, and whose encoder keeps its mean."""

    def encode(self, frames):
        mean = frames.mean(1, keepdim=True).repeat(1, 4, 1, 1)[..., ::8, ::8]
        self.seen = len(frames)
        return SimpleNamespace(
            latent_dist=SimpleNamespace(
                mode=lambda: mean, sample=lambda generator: mean + torch.randn(mean.shape, generator=generator)
            )
        )

    def decode(self, latents, num_frames):
        wide = latents[:, :3].repeat_interleave(8, 2).repeat_interleave(8, 3)
        return SimpleNamespace(sample=wide + num_frames)


def test_frames_become_latents_and_windows_are_averaged_where_they_overlap():
    frames, squares = noise(2, 5, 3, 16, 24), Squares()
    modes = encode_frames(squares, frames)
    assert modes.shape == (2, 5, 4, 2, 3) and squares.seen == 1
    torch.testing.assert_close(modes[1, 3, 0, 1, 2], LATENT_SCALE * frames[1, 3, :, 8, 16].mean())
    torch.testing.assert_close(encode_condition(squares, frames[:, 2]), modes[:, 2] / LATENT_SCALE)
    drawn = [encode_frames(squares, frames, torch.Generator().manual_seed(0), num_together=4) for _ in range(2)]
    assert torch.equal(*drawn) and (drawn[0] - modes).std().item() == pytest.approx(LATENT_SCALE, rel=0.2)

    latents = torch.zeros(1, 25, 4, 2, 3)
    added = decode_latents(Squares(), latents)[0, :, 0, 0, 0].tolist()  # windows 0-13, 11-24
    assert added == [14.0] * 25
    added = decode_latents(Squares(), latents[:, :20])[0, :, 0, 0, 0].tolist()  # 0-13, 11-19
    assert added == [14.0] * 11 + [11.5] * 3 + [9.0] * 6
    assert decode_latents(Squares(), latents[:, :3]).shape == (1, 3, 3, 16, 24)
    with pytest.raises(ValueError, match="windows of 4 frames cannot overlap by 4"):
        decode_latents(Squares(), latents, window=4, overlap=4)


def test_latents_and_tokens_of_real_networks_carry_over_to_the_next_round():
    pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
    torch.manual_seed(0)
    autoencoder = make_autoencoder(AutoencoderConfig(widths=(32, 32, 32, 32))).eval()
    sizes = {"width": 32, "feedforward": 48, "num_layers": 1, "num_heads": 2, "image_size": 28, "patch_size": 14}
    tower = make_picture_encoder(PictureConfig(**sizes, out_width=24)).eval()
    with torch.no_grad():
        carried = encode_frames(autoencoder, noise(2, 3, 3, 16, 24))
        assert carried.shape == (2, 3, 4, 2, 3)
        made = continue_condition(autoencoder, tower, condition(), carried)
        torch.testing.assert_close(made.latent * LATENT_SCALE, carried[:, 0])
        decoded = decode_latents(autoencoder, carried)[:, 0].clamp(-1, 1)
        torch.testing.assert_close(made.token, encode_pictures(tower, decoded))
        assert made.token.shape == (2, 24) and torch.equal(made.actions, condition().actions)
        flat = encode_pictures(tower, torch.ones(1, 3, 40, 60))
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])
        std = torch.tensor([0.26862954, 0.26130258, 0.27577711])
        white = ((1 - mean) / std).view(1, 3, 1, 1).expand(1, 3, 28, 28)
        torch.testing.assert_close(flat, tower(white).image_embeds, rtol=1e-4, atol=1e-4)
