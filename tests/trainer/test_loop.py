"""The loop on a toy model: accumulation equals the larger batch, resuming equals going through, NaN stops."""

import dataclasses
import itertools
import json
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from shards import sample_ids
from trainer.checkpoint import load_checkpoint, save_checkpoint
from trainer.config import Recipe, compose
from trainer.distributed import Process
from trainer.loop import State, restore, save, seed_step, train
from trainer.optim import learning_rate_at, make_optimizer
from trainer.run import Run
from trainer.strategy import Objective, distribute

NUM_CLIPS = 5
ALONE = Process(rank=0, world_size=1, local_rank=0, device=torch.device("cpu"))


class Toy(nn.Module):
    """Least squares with dropout, so that the random state of a step matters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear, self.dropout = nn.Linear(4, 1), nn.Dropout(0.0)

    def forward(self, batch):
        return {"square": (self.dropout(self.linear(batch["x"])) - batch["y"]).square().mean()}


def recipe_with(*overrides: str) -> Recipe:
    steps = ["training.num_epochs=null", "training.num_steps=6", "training.save_every=2", "training.batch_size=1"]
    return compose("lbm", [*steps, "training.precision=fp32", "validation.dataset=null", *overrides])


def make_run(folder: Path) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    return Run(identity="toy", folder=folder, index=folder, output=folder, init_weights=None)


def batches(start: int, batch_size: int = 4) -> list[dict[str, torch.Tensor]]:
    def batch(step: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(step)
        x = torch.from_numpy(rng.standard_normal((batch_size, 4)).astype(np.float32))
        return {"x": x, "y": x.sum(1, keepdim=True)}

    return [batch(step) for step in range(start, 6)]


def make_state(recipe: Recipe, dropout: float = 0.0) -> State:
    model = Toy()
    model.dropout.p = dropout
    optimizer = make_optimizer(model, recipe.optimizer, fused=False)
    scaler = torch.amp.GradScaler("cpu", enabled=recipe.training.precision == "fp16", init_scale=2.0**14)
    return State(
        model=model, objective=model, optimizer=optimizer, scaler=scaler, step=0, num_steps=6, num_clips=NUM_CLIPS
    )


def weights_of(state: State) -> np.ndarray:
    return torch.cat([p.detach().flatten() for p in state.model.parameters()]).numpy()


def test_accumulated_steps_equal_the_larger_batch(tmp_path):
    trained = []
    for overrides in (["training.batch_size=4"], ["training.batch_size=1", "training.accumulation_steps=4"]):
        recipe = recipe_with(*overrides)
        state = make_state(recipe)
        train(recipe, make_run(tmp_path / str(len(trained))), ALONE, state, batches(0))
        trained.append(weights_of(state))
    np.testing.assert_allclose(trained[0], trained[1], rtol=1e-5)
    assert np.abs(trained[0] - weights_of(make_state(recipe_with()))).max() > 1e-4, "it must have learned something"


def test_resuming_repeats_the_undisturbed_run(tmp_path):
    recipe = recipe_with("logging.log_every=1")
    through = make_state(recipe, dropout=0.5)
    train(recipe, make_run(tmp_path / "through"), ALONE, through, batches(0))

    run = make_run(tmp_path / "broken")
    first = make_state(recipe, dropout=0.5)
    train(recipe, run, ALONE, first, batches(0)[:5])  # dies after step 5, the last checkpoint is of step 4
    second = make_state(recipe, dropout=0.5)
    restore(recipe, run, ALONE, second)
    assert second.step == 4
    scramble_generators()
    train(recipe, run, ALONE, second, batches(4))
    np.testing.assert_array_equal(weights_of(second), weights_of(through))
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(b["seconds"] >= a["seconds"] for a, b in itertools.pairwise(rows))


def scramble_generators(seed: int = 987) -> None:
    """As a process that did other things before it resumed."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global generator is meant)


def global_states() -> list:
    return [random.getstate(), np.random.get_state()[1].tolist()]  # noqa: NPY002


def test_a_step_draws_from_no_other_generator_than_the_one_that_it_seeds(tmp_path):
    recipe = recipe_with()
    trained = []
    for seed in (1, 2):
        scramble_generators(seed)
        before = global_states()
        state = make_state(recipe, dropout=0.5)
        train(recipe, make_run(tmp_path / str(seed)), ALONE, state, batches(0))
        trained.append(weights_of(state))
        assert global_states() == before, "NumPy's and Python's global generators must stay as they are"
    np.testing.assert_array_equal(*trained)


def test_a_checkpoint_holds_the_seeds_and_the_clips_of_the_next_step(tmp_path):
    recipe, run = recipe_with("training.accumulation_steps=2"), make_run(tmp_path)
    two = dataclasses.replace(ALONE, world_size=2)
    state = make_state(recipe)
    state.step = 3
    save(recipe, run, two, state)
    saved = load_checkpoint(run.checkpoint(3), "toy")
    asked = {"seed": 42, "step": 3, "batch_size": 2, "world_size": 2}
    each = [sample_ids(NUM_CLIPS, rank=rank, **asked) for rank in (0, 1)]
    assert [tuple(clip) for clip in saved["sampler"]] == each[0] + each[1]
    for rank in (0, 1):
        seed_step(42, 3, rank)
        assert saved["random"][rank] == torch.initial_seed()
    restore(recipe, run, two, make_state(recipe))


@pytest.mark.parametrize("name", ["random", "sampler"])
def test_code_that_would_go_on_from_another_position_is_noticed(tmp_path, name):
    recipe, run = recipe_with(), make_run(tmp_path)
    save(recipe, run, ALONE, make_state(recipe))
    saved = load_checkpoint(run.checkpoint(0), "toy")
    saved[name] = [7]
    save_checkpoint(run.checkpoint(0), saved)
    with pytest.raises(ValueError, match=f"would not go on with the {name} position of the checkpoint"):
        restore(recipe, run, ALONE, make_state(recipe))


def test_a_step_that_the_scaler_skips_moves_the_learning_rate_and_no_weight(tmp_path):
    recipe, run = recipe_with("training.precision=fp16", "logging.log_every=1"), make_run(tmp_path)
    state = make_state(recipe)
    untrained, after = weights_of(state), []

    def watched():
        for batch in batches(0):
            after.append(weights_of(state).copy())
            yield batch

    train(recipe, run, ALONE, state, watched())
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    num_skipped = rows[-1]["skipped_steps"]
    assert 0 < num_skipped < 6, "the first scale overflows, and halving it ends that"
    np.testing.assert_array_equal(after[num_skipped], untrained)
    assert np.abs(weights_of(state) - untrained).max() > 0
    assert [row["skipped_steps"] for row in rows] == [min(step, num_skipped) for step in range(1, 7)]
    assert rows[0]["scale"] == 2.0**13
    rates = [learning_rate_at(step, 6, recipe.optimizer) for step in range(6)]
    assert [row["learning_rate"] for row in rows] == rates
    again = make_state(recipe)
    restore(recipe, run, ALONE, again)
    assert again.scaler.get_scale() == state.scaler.get_scale()


def test_no_step_waits_for_a_number(tmp_path):
    recipe = recipe_with("logging.log_every=3", "training.save_every=6")
    state = make_state(recipe)
    state.optimizer = make_optimizer(state.model, recipe.optimizer, fused=True)  # as on a GPU
    data, counts = batches(0), [0]  # before the first step, then in each

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
            counts[-1] += operation is torch.ops.aten._local_scalar_dense.default
            return operation(*arguments, **(keywords or {}))

    def watched():
        for batch in data:
            counts.append(0)
            yield batch

    with Counting():
        train(recipe, make_run(tmp_path), ALONE, state, watched())
    assert counts == [0] * 7, "a .item() for each step would make a GPU wait"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler on CPU")
def test_a_compiled_objective_trains_the_same_weights(tmp_path):
    trained = []
    for overrides in ([], ["training.compile=true"]):
        recipe = recipe_with(*overrides)
        state = make_state(recipe)
        task = SimpleNamespace(parts_to_compile=lambda model: [model.linear], losses=lambda model, batch: model(batch))
        state.objective = distribute(recipe, ALONE, Objective(state.model, task))
        parts = state.objective.task.parts_to_compile(state.model)
        assert {part._compiled_call_impl is None for part in parts} == {not overrides}
        train(recipe, make_run(tmp_path / str(len(trained))), ALONE, state, batches(0))
        trained.append(weights_of(state))
    np.testing.assert_allclose(*trained, rtol=1e-5)


def test_skipped_clips_are_counted_in_the_metrics(tmp_path, capsys):
    counts = {}
    for on_error in ("stop", "skip"):
        recipe, run = recipe_with("logging.log_every=2", f"data.on_error={on_error}"), make_run(tmp_path / on_error)
        counted = batches(0)
        if on_error == "skip":
            for step, batch in enumerate(counted):
                batch["num_skipped"] = torch.tensor([0, step, 0, 1])
        train(recipe, run, ALONE, make_state(recipe), counted)
        rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
        counts[on_error] = [(row["step"], row.get("skipped_clips")) for row in rows]
    assert counts["skip"] == [(1, 1), (2, 2), (4, 7), (6, 11)]
    assert counts["stop"] == [(1, None), (2, None), (4, None), (6, None)]
    assert "21 clips skipped" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    recipe, run = recipe_with("logging.log_every=1"), make_run(tmp_path)
    poisoned = batches(0)
    poisoned[3]["x"][0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="square, grad_norm not finite at step 3"):
        train(recipe, run, ALONE, make_state(recipe), poisoned)
    state = make_state(recipe)
    restore(recipe, run, ALONE, state)
    assert state.step == 2
    assert np.isfinite(weights_of(state)).all()
