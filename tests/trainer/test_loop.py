"""The loop on a toy model: accumulation equals the larger batch, resuming equals going through, NaN stops."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trainer.config import Recipe, compose
from trainer.distributed import Process
from trainer.loop import State, restore, train
from trainer.optim import make_optimizer
from trainer.run import Run

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
    steps = ["training.num_epochs=null", "training.num_steps=6", "training.precision=fp32", "training.save_every=2"]
    return compose("lbm", [*steps, *overrides])


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
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return State(model=model, objective=model, optimizer=optimizer, scaler=scaler, step=0, num_steps=6)


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
    restore(run, second)
    assert second.step == 4
    train(recipe, run, ALONE, second, batches(4))
    np.testing.assert_array_equal(weights_of(second), weights_of(through))
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert all(b["seconds"] >= a["seconds"] for a, b in itertools.pairwise(rows))


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
    restore(run, state)
    assert state.step == 2
    assert np.isfinite(weights_of(state)).all()
