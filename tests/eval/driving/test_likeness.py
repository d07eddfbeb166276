"""PSNR and SSIM against their definitions, written out slowly."""

import numpy as np
import pytest

from eval.driving.metrics import copy_frames, psnr, ssim, ssim_window


def noisy(size, seed, spread=20):
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    made = np.clip(true + rng.normal(0, spread, true.shape), 0, 255).astype(np.uint8)
    return made, true


def slow_ssim(one, other, side, sigma):
    """Wang's formula, window by window and colour by colour."""
    offsets = np.arange(side) - side // 2
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights = np.outer(weights, weights) / weights.sum() ** 2
    found = []
    for colour in range(3):
        for top in range(one.shape[0] - side + 1):
            for left in range(one.shape[1] - side + 1):
                x, y = (p[top : top + side, left : left + side, colour].astype(float) for p in (one, other))
                mean_x, mean_y = (weights * x).sum(), (weights * y).sum()
                spread_x, spread_y = (weights * (x - mean_x) ** 2).sum(), (weights * (y - mean_y) ** 2).sum()
                shared = (weights * (x - mean_x) * (y - mean_y)).sum()
                above = (2 * mean_x * mean_y + 6.5025) * (2 * shared + 58.5225)
                found.append(above / ((mean_x**2 + mean_y**2 + 6.5025) * (spread_x + spread_y + 58.5225)))
    return np.mean(found)


@pytest.mark.parametrize(
    ("size", "side", "sigma"), [((14, 17), 11, 1.5), ((9, 20), 9, 1.5 * 9 / 11), ((8, 8), 7, 1.5 * 7 / 11)]
)
def test_ssim_is_that_of_its_definition(size, side, sigma):
    made, true = noisy(size, 0)
    assert ssim_window(*size) == (side, pytest.approx(sigma))
    expected = [slow_ssim(one, other, side, sigma) for one, other in zip(made, true, strict=True)]
    assert ssim(made, true) == pytest.approx(expected, abs=1e-9)


def test_psnr_is_that_of_its_definition():
    made, true = noisy((6, 7), 1)
    errors = [((one.astype(int) - other.astype(int)) ** 2).mean() for one, other in zip(made, true, strict=True)]
    assert psnr(made, true) == pytest.approx([20 * np.log10(255 / np.sqrt(error)) for error in errors])


def test_equal_frames_have_the_best_values_and_they_are_finite():
    _, true = noisy((16, 16), 2)
    assert ssim(true, true) == pytest.approx([1, 1])
    assert psnr(true, true) == pytest.approx([10 * np.log10(12 * 255**2)] * 2)


def test_worse_frames_have_lower_values():
    good, true = noisy((16, 16), 3, spread=5)
    bad, _ = noisy((16, 16), 3, spread=40)
    assert (psnr(good, true) > psnr(bad, true) + 10).all() and (ssim(good, true) > ssim(bad, true)).all()


def test_the_last_given_frame_is_repeated():
    _, frames = noisy((4, 4), 4)
    frames = np.concatenate([frames, 255 - frames])
    copied = copy_frames(frames, 2)
    assert np.array_equal(copied[:2], frames[:2]) and (copied[2:] == frames[1]).all()
    assert not np.array_equal(frames[2], frames[1])  # what was given is not overwritten
