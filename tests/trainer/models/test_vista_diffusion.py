"""Vista's diffusion, priors and losses against the reference's numbers, slower formulations and what they promise."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from trainer.models.vista.edm import denoise, draw_noise, draw_sigmas, karras_sigmas, scale, weigh
from trainer.models.vista.losses import (
    KEPT_RADIUS_SQUARED,
    diffusion_loss,
    high_pass,
    high_pass_mask,
    structure_loss,
    weigh_dynamics,
)
from trainer.models.vista.priors import draw_num_conditions, mask_conditions, replace

GOLDEN = Path(__file__).parents[2] / "data" / "vista" / "golden.npz"


@pytest.fixture(scope="module")
def golden() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN) as arrays:
        return {name: torch.tensor(arrays[name]) for name in arrays.files}


def clips(seed: int = 0, shape: tuple[int, ...] = (2, 5, 4, 8, 12)) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_losses_are_the_references(golden):
    prediction, target = (golden[f"loss_{name}"].view(2, 5, 4, 12, 16) for name in ("pred", "target"))
    weight = weigh(golden["loss_sigma"])
    torch.testing.assert_close(weight, golden["loss_weight"])
    per_clip = weight.view(2, 5)[:, 0]
    total = diffusion_loss(prediction, target, per_clip) + 0.1 * structure_loss(prediction, target, per_clip)
    assert total.item() == pytest.approx(golden["loss_total"].item(), rel=1e-5)
    without = diffusion_loss(prediction, target, per_clip, dynamics_norm=None)
    assert abs(without + 0.1 * structure_loss(prediction, target, per_clip) - total) > 1e-3 * total
    torch.testing.assert_close(high_pass(prediction)[:, 0], golden["hp_pred"])


def test_an_ideal_network_denoises_and_the_weight_evens_out_the_levels():
    clean, noise, sigma = clips(), clips(1), torch.tensor([0.02, 30.0])
    noisy = clean + sigma.view(-1, 1, 1, 1, 1) * noise

    def ideal(scaled: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        torch.testing.assert_close(level, sigma.log() / 4)
        torch.testing.assert_close(scaled.std((1, 2, 3, 4)), torch.ones(2), rtol=0.1, atol=0)
        return (noise - sigma.view(-1, 1, 1, 1, 1) * clean) / (sigma.square() + 1).sqrt().view(-1, 1, 1, 1, 1)

    torch.testing.assert_close(denoise(ideal, noisy, sigma), clean, rtol=1e-3, atol=1e-4)  # v-prediction
    for sigma_data in (1.0, 0.5):
        scaling = scale(sigma, sigma_data)
        torch.testing.assert_close(weigh(sigma, sigma_data) * scaling.out.square(), torch.ones(2))


def test_noise_levels_and_noise_are_drawn_as_stated():
    logs = draw_sigmas(20000, torch.Generator().manual_seed(0)).log()
    assert logs.mean().item() == pytest.approx(1.0, abs=0.04) and logs.std().item() == pytest.approx(1.6, abs=0.03)
    shape = (20, 20, 8, 16, 16)
    noise = draw_noise(shape, torch.Generator().manual_seed(0), offset=0.5)
    shared = noise.mean((3, 4))
    assert shared.std().item() == pytest.approx(math.hypot(0.5, 1 / 16), rel=0.05)
    assert (noise - shared[..., None, None]).std().item() == pytest.approx(1.0, rel=0.01)
    plain = draw_noise(shape, torch.Generator().manual_seed(0), offset=0.0)
    assert plain.mean((3, 4)).std().item() == pytest.approx(1 / 16, rel=0.05)


def test_sampling_levels_are_those_of_karras():
    expected = [700, 352.99, 165.26, 70.54, 26.76, 8.68, 2.27, 0.431, 0.0485, 0.002, 0]  # diffusers' Euler scheduler
    assert karras_sigmas(10).tolist() == pytest.approx(expected, rel=2e-3)
    assert karras_sigmas(1, largest=5.0).tolist() == [5.0, 0.0]
    with pytest.raises(ValueError, match="0 < smallest < largest"):
        karras_sigmas(5, smallest=1.0, largest=0.5)
    with pytest.raises(ValueError, match="0 steps"):
        karras_sigmas(0)


def test_condition_sets_are_drawn_as_1_2_4_8():
    counts = draw_num_conditions(30000, torch.Generator().manual_seed(0)).bincount(minlength=4) / 30000
    assert counts.tolist() == pytest.approx([1 / 15, 2 / 15, 4 / 15, 8 / 15], abs=0.01)
    same = [draw_num_conditions(50, torch.Generator().manual_seed(3)).tolist() for _ in range(2)]
    assert same[0] == same[1]
    assert draw_num_conditions(9, torch.Generator(), (0, 1)).tolist() == [1] * 9
    for weights in ((), (0, 0), (1, -1)):
        with pytest.raises(ValueError, match="how often 0, 1, 2"):
            draw_num_conditions(4, torch.Generator(), weights)


def test_masked_frames_are_clean_and_no_others():
    mask = mask_conditions(torch.tensor([0, 1, 3]), 4)
    assert mask.tolist() == [[False] * 4, [True, False, False, False], [True, True, True, False]]
    noisy, clean = clips(1, (3, 4, 2, 5, 5)), clips(2, (3, 4, 2, 5, 5))
    replaced = replace(noisy, clean, mask)
    assert torch.equal(replaced[mask], clean[mask]) and torch.equal(replaced[~mask], noisy[~mask])
    with pytest.raises(ValueError, match="3 of 3 frames given leave none"):
        mask_conditions(torch.tensor([0, 3]), 3)


def test_masked_frames_have_no_gradient():
    prediction, target, mask = clips().requires_grad_(), clips(1), mask_conditions(torch.tensor([1, 3]), 5)
    used = replace(prediction, target, mask)
    weight = torch.tensor([2.0, 3.0])
    (diffusion_loss(used, target, weight) + structure_loss(used, target, weight)).backward()
    size = prediction.grad.abs().sum((2, 3, 4))
    assert (size[mask] == 0).all() and (size[~mask] > 0).all()


def test_the_dynamics_weight_has_the_norm_that_was_asked_for_and_no_gradient():
    prediction, target = clips().requires_grad_(), clips(1)
    by_norm = weigh_dynamics(prediction, target)
    assert not by_norm.requires_grad and (by_norm[:, 0] == 1).all()
    norms = (by_norm - 1).square().sum((1, 3, 4)).sqrt()  # per clip and channel
    torch.testing.assert_close(norms, torch.ones(2, 4), rtol=1e-4, atol=0)
    by_mean = weigh_dynamics(prediction, target, "mean") - 1
    torch.testing.assert_close(by_mean[:, 1:].mean((1, 3, 4)), torch.ones(2, 4))
    slow = torch.zeros(2, 4, 4, 8, 12)
    for i in range(1, 5):
        slow[:, i - 1] = ((target[:, i] - target[:, i - 1]) - (prediction[:, i] - prediction[:, i - 1])) ** 2
    slow = slow / slow.mean((1, 3, 4), keepdim=True)
    torch.testing.assert_close(by_mean[:, 1:], slow.detach())
    assert (weigh_dynamics(target, target) == 1).all(), "no division by zero where nothing is wrong"
    with pytest.raises(ValueError, match="use clip_l2 or mean"):
        weigh_dynamics(prediction, target, "l2")


@pytest.mark.parametrize("height, width", [(8, 12), (40, 72), (5, 7)])
def test_the_high_pass_mask_is_the_loops_and_made_once(height, width):
    slow = torch.zeros(height, width)
    for h in range(height):
        for w in range(width):
            slow[h, w] = (2 * h / height - 1) ** 2 + (2 * w / width - 1) ** 2 > KEPT_RADIUS_SQUARED
    mask = high_pass_mask(height, width, torch.device("cpu"))
    assert torch.equal(torch.fft.fftshift(mask), slow) and 0 < mask.mean() < 1
    assert high_pass_mask(height, width, torch.device("cpu")) is mask


def test_a_mask_made_in_a_validation_serves_the_training():
    with torch.inference_mode():
        high_pass(clips(shape=(3, 6, 10)))
    prediction = clips(shape=(1, 2, 3, 6, 10)).requires_grad_()
    structure_loss(prediction, torch.zeros(1, 2, 3, 6, 10), torch.ones(1)).backward()
    assert prediction.grad.abs().sum() > 0


def test_the_share_of_frequencies_kept_and_what_passes():
    assert high_pass_mask(72, 128, torch.device("cpu")).mean().item() == pytest.approx(0.608, abs=1e-3)
    checkers = (torch.arange(8)[:, None] + torch.arange(12)) % 2 * 2.0 - 1
    torch.testing.assert_close(high_pass(checkers + 3), checkers)
    smooth = torch.cos(2 * torch.pi * torch.arange(12) / 12).expand(8, 12)
    assert high_pass(smooth).abs().max() < 1e-5
