"""The small world of benchmarks/vista_tokens.py: what it shows when the camera turns, and that turns are found."""

import dataclasses

import torch

from benchmarks.vista_tokens import FRAMES, draw_worlds, find_turn, measure_psnr, render


def test_turning_by_a_pixel_moves_the_picture_by_one_and_the_true_turn_is_found():
    worlds = draw_worlds(4, torch.Generator().manual_seed(0))
    still = render(worlds, torch.zeros(4, 2))
    turned = render(worlds, torch.ones(4, 2))
    torch.testing.assert_close(turned[..., :-1], still[..., 1:], rtol=0, atol=1e-4)
    clips = render(worlds, worlds.turned)
    assert clips.shape == (4, FRAMES, 3, 16, 16) and clips.abs().max() <= 1
    assert (find_turn(worlds, clips) - worlds.turned[:, -1]).abs().max() < 0.06
    other = dataclasses.replace(worlds, turned=worlds.turned + 1.0)
    assert (find_turn(worlds, render(worlds, other.turned)) - worlds.turned[:, -1]).abs().min() > 0.9
    assert measure_psnr(clips, clips + 0.2)[0] - measure_psnr(clips, clips + 0.4)[0] > 6.0
