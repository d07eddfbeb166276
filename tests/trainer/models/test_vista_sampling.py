"""Sampling, guidance, rounds and rewards with networks whose answers are known."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from trainer.models.vista.conditions import Condition, describe, drop, join_tokens, without
from trainer.models.vista.edm import karras_sigmas
from trainer.models.vista.priors import mask_conditions
from trainer.models.vista.reward import reward_agreement
from trainer.models.vista.sampler import guidance_scales, make_clips, make_denoiser, roll_out, sample


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def condition(num: int = 2, **changes) -> Condition:
    made = describe(noise(num, 6), noise(num, 4, 3, 5, seed=1), (noise(num, 19), torch.ones(num, 5, dtype=torch.bool)))
    return dataclasses.replace(made, **changes)


def nothing_given(num: int, frames: int) -> torch.Tensor:
    return torch.zeros(num, frames, dtype=torch.bool)


def test_samples_have_the_distribution_that_the_denoiser_knows():
    """The best denoiser of normal data is known; the reference's 50 steps bring noise to that distribution."""
    mean, std = 3.0, 0.5

    def denoise(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        variance = sigma.square().view(-1, 1, 1, 1, 1)
        return (std**2 * noisy + variance * mean) / (std**2 + variance)

    clips = sample(denoise, noise(4, 5, 4, 20, 20), karras_sigmas(50), noise(4, 5, 4, 20, 20), nothing_given(4, 5))
    assert clips.mean().item() == pytest.approx(mean, abs=0.02)
    assert clips.std().item() == pytest.approx(std, rel=0.1)
    few = sample(denoise, noise(4, 5, 4, 20, 20), karras_sigmas(5), noise(4, 5, 4, 20, 20), nothing_given(4, 5))
    assert abs(few.std() - std) > abs(clips.std() - std), "fewer steps are further off"


def test_given_frames_are_clean_at_every_step_and_in_the_end():
    clean, given, seen = noise(2, 5, 4, 3, 3, seed=1), mask_conditions(torch.tensor([1, 3]), 5), []

    def denoise(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        seen.append(sigma.tolist())
        assert torch.equal(noisy[given], clean[given])
        return torch.zeros_like(noisy)

    clips = sample(denoise, noise(2, 5, 4, 3, 3), karras_sigmas(3), clean, given)
    assert torch.equal(clips[given], clean[given]) and clips[~given].abs().max() < 1e-4
    assert seen == [[pytest.approx(x, rel=1e-4)] * 2 for x in karras_sigmas(3)[:-1].tolist()]


def test_guidance_is_led_as_its_schedule_says():
    assert guidance_scales("constant", 4).tolist() == [2.5] * 4
    assert guidance_scales("linear", 4, 3.0, 1.5).tolist() == [1.5, 2.0, 2.5, 3.0]
    assert guidance_scales("triangle", 5).tolist() == [1.0, 1.75, 2.5, 1.75, 1.0]
    with pytest.raises(ValueError, match="use constant, linear, triangle"):
        guidance_scales("square", 4)


def test_guidance_leads_away_from_the_answer_without_a_condition():
    given, calls = mask_conditions(torch.tensor([1, 2]), 4), []

    def network(latents, level, context, ids, mask):
        calls.append((latents[:, :, 4:], context, ids))
        assert mask is given
        return context.mean((1, 2)).view(-1, 1, 1, 1, 1).expand(-1, 4, 4, 3, 5)

    made, scales = condition(), guidance_scales("linear", 4, 3.0, 1.0)
    noisy, sigma = noise(2, 4, 4, 3, 5), torch.tensor([1.0, 2.0])
    found = make_denoiser(network, made, given, scales)(noisy, sigma)
    (beside, context, ids), (no_beside, no_context, same_ids) = calls
    assert torch.equal(beside, made.latent[:, None].expand(2, 4, 4, 3, 5)) and not no_beside.any()
    assert torch.equal(context, join_tokens(made, "concat")) and not no_context.any() and torch.equal(ids, same_ids)
    assert ids.tolist() == [[9.0, 127.0, 0.0]] * 2
    out = -sigma / (sigma.square() + 1).sqrt()
    by_hand = noisy / (sigma.square() + 1).view(-1, 1, 1, 1, 1)
    by_hand = by_hand + (out * context.mean((1, 2))).view(-1, 1, 1, 1, 1) * scales.view(1, -1, 1, 1, 1)
    torch.testing.assert_close(found, by_hand)
    make_denoiser(network, made, given, torch.ones(4))(noisy, sigma)
    assert len(calls) == 3, "where nothing is led, the network is asked once"


@pytest.mark.parametrize("num_rounds", [1, 2, 4])
def test_a_video_of_n_rounds_has_22_n_and_3_frames_each_rounds_by_its_own_action(num_rounds):
    first, actions, begun = noise(2, 1, 4, 3, 3), [5.0, -2.0, 7.0, 1.0][:num_rounds], []

    def prepare(number, carried, given):
        begun.append((carried, given))

        def denoise(noisy, sigma):
            assert torch.equal(noisy[given].view_as(carried), carried)
            return torch.full_like(noisy, actions[number])

        return denoise

    video = roll_out(prepare, first, num_rounds, 25, karras_sigmas(4), torch.Generator().manual_seed(0))
    assert video.shape == (2, 22 * num_rounds + 3, 4, 3, 3)
    assert torch.equal(video[:, :1], first)
    for number, action in enumerate(actions):
        made = video[:, 1 if number == 0 else 22 * number + 3 : 22 * number + 25]
        torch.testing.assert_close(made, torch.full_like(made, action))
        carried, given = begun[number]
        assert given.sum(1).tolist() == [1 if number == 0 else 3] * 2
        if number:
            assert torch.equal(carried, video[:, 22 * number : 22 * number + 3])
    with pytest.raises(ValueError, match="0 rounds make no video"):
        roll_out(prepare, first, 0, 25, karras_sigmas(4), torch.Generator())
    with pytest.raises(ValueError, match="3 of 3 frames given leave none"):
        roll_out(prepare, noise(2, 3, 4, 3, 3), 1, 3, karras_sigmas(4), torch.Generator())


def test_clips_take_each_rounds_condition_and_the_same_seed_gives_the_same_video():
    contexts = []

    def network(latents, level, context, ids, given):
        contexts.append(context)
        return 0.1 * latents[:, :, :4] + context.mean()

    conditions = [condition(), condition(token=noise(2, 6, seed=7))]

    def continued(made, carried):
        assert carried.shape == (2, 3, 4, 3, 5)
        return dataclasses.replace(made, latent=carried[:, 0])

    def make(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        first = noise(2, 1, 4, 3, 5)
        return make_clips(network, conditions, first, 6, karras_sigmas(3), generator, continued=continued)

    video = make(0)
    assert video.shape == (2, 9, 4, 3, 5) and torch.equal(video, make(0)) and not torch.equal(video, make(1))
    expected = [join_tokens(x, "concat") for x in conditions]
    assert torch.equal(contexts[0], expected[0]) and torch.equal(contexts[6], expected[1])


def test_a_condition_is_dropped_part_by_part():
    made = condition(20000)
    dropped = drop(made, 0.15, torch.Generator().manual_seed(0))
    token, latent = (x.flatten(1).any(1) for x in (dropped.token, dropped.latent))
    kept = torch.stack([token, latent, *dropped.present.T]).float()
    assert kept.mean(1).tolist() == pytest.approx([0.85] * 7, abs=0.01)
    correlation = torch.corrcoef(kept) - torch.eye(7)
    assert correlation.abs().max() < 0.03, "each for itself"
    assert torch.equal(dropped.ids, made.ids)
    none = without(made)
    assert not (none.token.any() or none.latent.any() or none.present.any()) and torch.equal(none.ids, made.ids)


def test_conditions_of_other_numbers_of_clips_are_refused_and_actions_may_be_missing():
    with pytest.raises(ValueError, match="2 tokens, 3 latents and 2 rows of actions"):
        describe(noise(2, 6), noise(3, 4, 3, 5))
    made = describe(noise(2, 6), noise(2, 4, 3, 5), frames_per_second=5.0)
    assert made.ids[0].tolist() == [4.0, 127.0, 0.0] and not made.present.any()
    assert torch.equal(join_tokens(made, None), made.token[:, None])
    each = join_tokens(condition(), "separate")
    assert each.shape == (2, 6, 6 + 2432) and not each[:, 0, 6:].any() and not each[:, 1:, :6].any()


def test_motion_of_frames_is_told_dropped_and_left_out():
    told = []

    def network(latents, level, context, ids, given, motion=None):
        told.append(motion)
        return latents[:, :, :4]

    moves = torch.tensor([True, False])
    made = describe(noise(2, 6), noise(2, 4, 3, 5), motion=(torch.arange(8.0).view(2, 4, 1), moves))
    given, noisy = mask_conditions(torch.tensor([1, 1]), 4), noise(2, 4, 4, 3, 5)
    make_denoiser(network, made, given, guidance_scales("constant", 4), tokens=None)(noisy, torch.ones(2))
    with_motion, without_motion = told
    assert with_motion.shape == (2, 4, 128) and not with_motion[1].any() and not without_motion.any()
    torch.testing.assert_close(with_motion[0, :, 0], torch.arange(4.0).cos())
    many = describe(noise(20000, 2), noise(20000, 1, 1, 1), motion=(noise(20000, 1, 1), torch.ones(20000).bool()))
    kept = drop(many, 0.15, torch.Generator().manual_seed(0)).moves.float().mean().item()
    assert kept == pytest.approx(0.85, abs=0.01)
    with pytest.raises(ValueError, match="one each a clip"):
        describe(noise(2, 6), noise(2, 4, 3, 5), motion=(noise(3, 4, 1), moves))


def test_reward_is_the_agreement_of_samples():
    samples = noise(5, 2, 4, 3, 6, 6)
    samples[:, 1] *= 0.1
    samples[:, :, 0] = 1.0  # given: the same in all
    slow = [math.exp(-np.var(samples[:, b].numpy(), axis=0, ddof=1).mean()) for b in range(2)]
    assert reward_agreement(samples).tolist() == pytest.approx(slow, rel=1e-5)
    made = [math.exp(-np.var(samples[:, b, 1:].numpy(), axis=0, ddof=1).mean()) for b in range(2)]
    assert reward_agreement(samples, num_given=1).tolist() == pytest.approx(made, rel=1e-5)
    assert made[0] < slow[0] < slow[1] < 1.0
    for wrong, given in ((samples[:1], 0), (samples, 4)):
        with pytest.raises(ValueError, match="at least 2 samples"):
            reward_agreement(wrong, given)
