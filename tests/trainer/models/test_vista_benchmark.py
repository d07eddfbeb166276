"""Benchmarks of Vista: the reference's formulation has our losses, tables are printed, recipes are what they say."""

import argparse
from dataclasses import replace

import pytest
import torch

from benchmarks import strategies, vista_measure, vista_reference, vista_step, vista_tokens
from tests.trainer.test_lbm_benchmark import rows_of
from trainer.config import compose
from trainer.models.vista.losses import high_pass_mask

MINIATURE = vista_measure.Size(preset="miniature", clips=2, frames=3, height=4, width=6)


@pytest.fixture
def miniature(monkeypatch):
    """A network of one level in place of the tiny one."""
    tiny = vista_measure.PRESETS["tiny"]
    monkeypatch.setitem(vista_measure.PRESETS, "miniature", replace(tiny, widths=(32,), attending=(True,)))
    monkeypatch.setitem(vista_step.SIZES, "tiny", MINIATURE)


@pytest.mark.parametrize("size", [(4, 6), (20, 36), (9, 16)])
def test_a_loop_finds_our_mask(size):
    ours = torch.fft.fftshift(high_pass_mask(*size, torch.device("cpu")))
    assert torch.equal(vista_reference.loop_mask(*size), ours)


def test_the_table_of_steps_has_every_formulation_and_holds_their_losses(miniature, monkeypatch, capsys):
    monkeypatch.setattr(vista_step, "run_process", lambda job: vista_measure.MEASURES[job["what"]](job))
    options = {"phase": [2], "size": "tiny", "device": "cpu", "recompute": "none", "threads": 1, "repeats": 1}
    vista_step.compare_steps(argparse.Namespace(**options))
    rows = rows_of(capsys.readouterr().out)[2:]
    assert [row[1] for row in rows] == ["nothing (ours)", *vista_step.SAYS.values(), "all of it"]
    assert all(float(row[2].split()[0]) > 0 for row in rows)
    with pytest.raises(ValueError, match="some flag: losses"):
        vista_step.check_losses("some flag", [0.5, 0.6], [0.5, 0.61])


def test_only_the_reference_keeps_gradients_of_what_does_not_learn(miniature):
    ours, all_of_it = (vista_measure.Formulation(flags, 2, MINIATURE, "cpu") for flags in ([], vista_measure.FLAGS))
    for one in (ours, all_of_it):
        one.step(1)
    kept = [
        sum(parameter.grad is not None for parameter in one.network.parameters()) - len(one.learned)
        for one in (ours, all_of_it)
    ]
    assert kept[0] == 0 and kept[1] > 50
    assert len(ours.ema.tensors) == len(ours.learned) < len(all_of_it.ema.tensors)


def test_memory_is_counted_by_phase_and_a_step_of_the_trainer_is_measured(monkeypatch, capsys):
    pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
    tiny = vista_measure.TRAINED["tiny"]
    monkeypatch.setattr(vista_measure, "compose", lambda stage, words: compose(stage, [*tiny, *words[-1:]]))
    vista_step.count_memory(argparse.Namespace(phase=[1, 2]))
    assert [row[:2] for row in rows_of(capsys.readouterr().out)[2:]] == [
        [phase, side] for phase in "12" for side in ("reference", "ours")
    ]
    theirs, ours = (vista_measure.count_fixed(2, is_reference) for is_reference in (True, False))
    assert theirs["weights"] == pytest.approx(ours["weights"], rel=0.05) and theirs["gradients"] > 2 * ours["gradients"]
    monkeypatch.setattr(vista_measure, "compose", compose)
    monkeypatch.setattr(
        vista_step, "run_process", lambda job, processes: vista_measure.MEASURES[job["what"]](job) | {"peak": 2**30}
    )
    options = {"phase": [2], "size": "tiny", "device": "cpu", "threads": 1, "repeats": 1, "processes": [1]}
    vista_step.measure_trainer(argparse.Namespace(**options, strategy="fsdp"))
    rows = rows_of(capsys.readouterr().out)[2:]
    assert [row[3] for row in rows] == ["none", "layer"] and rows[0][-2:] == ["1.00", "1%"]


def test_forms_of_actions_are_networks_of_one_size_but_for_what_tells_them():
    said = {
        form: compose("vista_phase1", ["model=vista_pixels", *words]).model
        for form, words in vista_tokens.FORMS.items()
    }
    told = {form: (x["unet"]["with_actions"], x["unet"]["frame_values"]) for form, x in said.items()}
    assert told == {"none": (False, 0), "concat": (True, 0), "separate": (True, 0), "frame_values": (False, 2)}
    assert said["separate"]["unet"]["action_tokens"] == "separate"
    assert said["concat"] | {"unet": None} == said["none"] | {"unet": None}


def test_a_table_says_means_over_seeds_their_range_and_intervals(tmp_path):
    means = dict.fromkeys(vista_tokens.COLUMNS, 1.0)
    scores = [
        {"mean": means | {"over_copy": value}, "interval": {key: [value - 1, value + 1] for key in means}}
        for value in (2.0, 3.0)
    ]
    vista_tokens.write_table({"concat": scores}, tmp_path / "table.md")
    row = rows_of((tmp_path / "table.md").read_text())[2]
    assert (
        row[0] == "`concat`" and row[5] == "2.50 (2.00 to 3.00) [1.50, 3.50]" and row[1] == "1.0000 (1.0000 to 1.0000)"
    )


def test_cases_of_strategies_are_recipes_as_the_guides():
    first, second = (strategies.CASES[f"Vista, phase {number}"] for number in (1, 2))
    phase_1, phase_2 = (compose(case.stage, case.words) for case in (first, second))
    assert phase_1.optimizer.rest_factor == 0.1 and phase_1.optimizer.learning_rate_factors
    assert phase_2.training.lora.whole == ["to_v.action", "frame_embedding"] and phase_2.training.ema_decay
    assert strategies.PLACES["hsdp"].says == "`hsdp`, 2 x 2" and strategies.PLACES["one"].says == "one"
