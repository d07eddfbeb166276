"""The average of the weights: its formula, what is validated and written, and resuming across strategies."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.trainer.test_loop import ALONE, batches, make_run, make_state, recipe_with, weights_of
from tests.trainer.test_strategy import ROUNDING, difference, resumable, rows_of, run_all, training
from tests.trainer.test_training import events_of, score_of, scores_in
from trainer.config import compose
from trainer.ema import Ema, averaged
from trainer.launch import main as launch
from trainer.loop import restore, train

AVERAGED = "training.ema_decay=0.5"


def averaged_state(recipe, dropout: float = 0.0):
    state = make_state(recipe, dropout)
    state.ema = Ema(state.model, recipe.training.ema_decay)
    return state


def test_the_average_is_the_formulas_and_leaves_frozen_weights_alone():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    ema, generator = Ema(model, decay=0.4), torch.Generator().manual_seed(0)
    expected = model.weight.detach().double().clone()
    for n in range(1, 12):
        with torch.no_grad():
            model.weight.copy_(torch.randn(2, 3, generator=generator))
        ema.update(n)
        decay = min(0.4, (1 + n) / (10 + n))  # the second up to n = 5
        expected = decay * expected + (1 - decay) * model.weight.detach().double()
    torch.testing.assert_close(ema.tensors["weight"].double(), expected, rtol=1e-6, atol=1e-7)
    assert list(ema.tensors) == ["weight"]


def test_the_model_has_the_averages_for_a_block_and_its_own_weights_again_after_an_error():
    model = nn.Linear(3, 2)
    ema, own = Ema(model, decay=0.6), model.weight.detach().clone()
    with torch.no_grad():
        ema.tensors["weight"].fill_(2.0)
    with pytest.raises(KeyError), averaged(model, ema):
        assert (model.weight == 2).all()
        raise KeyError
    assert torch.equal(model.weight, own)
    with averaged(model, None):
        assert torch.equal(model.weight, own)


def test_resuming_repeats_the_average_and_averaging_leaves_no_trace_in_the_training(tmp_path):
    recipe = recipe_with("logging.log_every=1", AVERAGED)
    plain, through = make_state(recipe, dropout=0.5), averaged_state(recipe, dropout=0.5)
    train(recipe, make_run(tmp_path / "plain"), ALONE, plain, batches(0))
    train(recipe, make_run(tmp_path / "through"), ALONE, through, batches(0))
    np.testing.assert_array_equal(weights_of(plain), weights_of(through))
    run, broken = make_run(tmp_path / "broken"), averaged_state(recipe, dropout=0.5)
    train(recipe, run, ALONE, broken, batches(0)[:5])
    again = averaged_state(recipe, dropout=0.5)
    restore(recipe, run, ALONE, again)
    train(recipe, run, ALONE, again, batches(4))
    for name, value in through.ema.tensors.items():
        assert torch.equal(again.ema.tensors[name], value)
        assert not torch.equal(through.model.get_parameter(name), value)


def test_averages_are_scored_written_and_resumed_across_strategies(tmp_path, dataset):
    """2 -> 2, ddp -> fsdp, fsdp -> one process; a checkpoint has the weights and their averages under the same keys."""
    dataset(num_clips=6)
    seen = dataset("seen", num_clips=2, num_points=9)
    scored = ["validation.dataset=seen", "validation.every_steps=4"]
    ddp, fsdp, to_fsdp, alone = (tmp_path / name for name in ("ddp", "fsdp", "to_fsdp", "alone"))
    words = {folder: training(tmp_path, folder, "lbm", folder.name, AVERAGED, *scored) for folder in (ddp, fsdp)}
    run_all([words[ddp], words[fsdp]], processes=2)
    assert difference(ddp, fsdp) < ROUNDING
    resumable(ddp, to_fsdp)
    resumable(fsdp, alone)
    run_all([training(tmp_path, to_fsdp, "lbm", "fsdp", AVERAGED, *scored)], processes=2)
    assert launch(training(tmp_path, alone, "lbm", "ddp", AVERAGED, *scored)) == 0
    for source, folder in ((ddp, to_fsdp), (fsdp, alone)):
        np.testing.assert_allclose(rows_of(folder), rows_of(source), rtol=1e-4)
        assert difference(source, folder) < 1e-5, "the averages went along"
    written = load_file(ddp / "out" / "weights.safetensors")
    (path,) = ddp.glob("runs/*/*/checkpoint-00000004.pt")
    saved = torch.load(path, weights_only=True)
    assert saved["ema"].keys() <= saved["model"].keys() == written.keys()
    for key, value in (saved["model"] | saved["ema"]).items():
        assert torch.equal(written[key], value), key
    assert sum(not torch.equal(saved["model"][key], value) for key, value in saved["ema"].items()) > 20
    for folder in (ddp, fsdp):
        (event,) = events_of(folder / "out" / "metrics.jsonl")
        assert scores_in(event) == score_of(folder / "out" / "weights.safetensors", seen, tmp_path)


def test_a_decay_is_a_share():
    for decay in (1.0, -0.1):
        with pytest.raises(ValueError, match=r"training.ema_decay=.* must be at least 0 and below 1, or null"):
            compose("lbm", [f"training.ema_decay={decay}"])
