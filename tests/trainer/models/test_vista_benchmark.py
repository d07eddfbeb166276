"""Vista's benchmarks: what the small world of vista_tokens shows when the camera turns; vista_latents, tiny."""

import dataclasses
from argparse import Namespace

import pytest
import torch

from benchmarks import vista_latents
from benchmarks.vista_latents import Sizes
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


def test_what_latents_save_is_measured_and_counted(monkeypatch, capsys):
    pytest.importorskip("transformers", reason="the tower needs the extra `vista`")
    tiny = Sizes({"name": "vista", "preset": "tiny", "frozen": "tiny"}, None, (5, 32, 48), (40, 64))
    monkeypatch.setitem(vista_latents.SIZES, "middle", tiny)
    options = Namespace(sizes="middle", device="cpu")
    found = vista_latents.measure(options, vista_latents.KINDS, 1)
    assert all(value > 0 for value in found.values()) and {"step, frames, s", "step, latents, s"} < found.keys()
    assert 0.8 < found["bytes a frame, latents"] / (2 * (2 * 4 * 4 * 6 + 24)) < 2
    counted, larger = vista_latents.count(tiny, 32, 48), vista_latents.count(tiny, 64, 48)
    assert larger["encoder, a frame"] > 1.9 * counted["encoder, a frame"] > 0
    assert 0 < counted["their share of a step"] < 1
