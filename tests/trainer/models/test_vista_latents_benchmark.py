"""benchmarks/vista_latents.py at a tiny size: what latents made once save is measured and counted."""

from argparse import Namespace

import pytest

from benchmarks import vista_latents
from benchmarks.vista_latents import Sizes


def test_what_latents_save_is_measured_and_counted(monkeypatch):
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
