"""Validation: the benchmark's own score, the same on any number of ranks; the best weights survive a kill."""

import dataclasses
import random

import numpy as np
import pytest
import torch

from tests.trainer.test_loop import ALONE, batches, make_state, recipe_with, weights_of
from tests.trainer.test_training import TINY, events_of, score_of, scores_in, sha256_of
from trainer.checkpoint import load_checkpoint, load_weights
from trainer.config import SCORES, compose_launch
from trainer.launch import main
from trainer.loop import restore, train
from trainer.models import build
from trainer.predict import memory_size_of
from trainer.run import describe_run
from trainer.validation import Validator, evaluating

VALIDATED = ["validation.dataset=seen", "validation.every_steps=2", "training.num_steps=6", "logging.log_every=1"]


def launch(folder, *overrides: str, output: str = "out") -> None:
    paths = [f"paths.shards_root={folder / 'shards'}", f"paths.run_root={folder / 'runs'}"]
    assert main([*TINY, *paths, f"paths.output_dir={folder / output}", *overrides]) == 0


def test_a_validation_is_the_benchmarks_own_score_and_costs_the_training_nothing(tmp_path, dataset, capsys):
    dataset(num_clips=6)
    index = dataset("seen", num_clips=3, num_points=9)
    launch(tmp_path, *VALIDATED, "validation.memory_size=4")
    capsys.readouterr()
    out = tmp_path / "out"
    events = events_of(out / "metrics.jsonl")
    assert [event["step"] for event in events] == [2, 4, 6]
    assert [event["memory_size"] for event in events] == [4, 4, 4]
    assert scores_in(events[-1]) == score_of(out / "weights.safetensors", index, tmp_path, "--memory-size", "4")
    best = max(events, key=lambda event: event["delta_avg"])
    assert scores_in(best) == score_of(out / "best.safetensors", index, tmp_path, "--memory-size", "4")
    assert best["delta_avg"] > 0

    launch(tmp_path, "training.num_steps=6", "paths.source_digest=again", output="unseen")
    assert sha256_of(tmp_path / "unseen" / "weights.safetensors") == sha256_of(out / "weights.safetensors")
    assert not (tmp_path / "unseen" / "best.safetensors").exists()
    assert len(list((tmp_path / "runs" / "lbm").glob("*/best-*.safetensors"))) == 1


class Scripted(Validator):
    """Says what it was told to say."""

    script = (0.1, 0.9, 0.2)

    def scores(self, model):
        value = self.script[self.calls]
        self.calls += 1
        return dict.fromkeys(SCORES, value)


def scripted(folder, recipe, calls: int = 0) -> Scripted:
    recipe, paths = compose_launch("lbm", [*TINY[1:], *VALIDATED, f"paths.shards_root={folder / 'shards'}"])
    run = dataclasses.replace(describe_run(recipe, paths, 1), folder=folder, identity="toy")
    validator = Scripted(recipe, run, ALONE, steps_per_epoch=100)
    validator.calls = calls
    return validator


def test_the_best_weights_survive_a_kill_between_two_validations(tmp_path, dataset):
    dataset(num_clips=2), dataset("seen", num_clips=1)
    recipe = recipe_with("training.save_every=5")
    validator = scripted(tmp_path, recipe)
    first, at_best = make_state(recipe, dropout=0.5), []

    def dies_in_step_5():
        for step, batch in enumerate(batches(0)[:5]):
            at_best[:] = [weights_of(first).copy()] if step == 4 else at_best
            yield batch

    train(recipe, validator.run, ALONE, first, dies_in_step_5(), validator)
    (tmp_path / "best-4.safetensors").rename(tmp_path / "kept")
    (tmp_path / "best-6.safetensors").write_bytes(b"of a validation whose checkpoint was never written")
    (tmp_path / "kept").rename(tmp_path / "best-4.safetensors")

    second = make_state(recipe, dropout=0.5)
    restore(recipe, validator.run, ALONE, second)
    assert (second.step, second.best.step, second.best.score) == (5, 4, 0.9)
    again = scripted(tmp_path, recipe, calls=2)
    train(recipe, validator.run, ALONE, second, batches(5), again)
    assert again.calls == 3
    assert load_checkpoint(validator.run.checkpoints[-1], "toy")["best"] == dataclasses.asdict(second.best)
    assert second.best.step == 4
    assert [path.name for path in tmp_path.glob("best-*")] == ["best-4.safetensors"]
    tensors, _ = load_weights(tmp_path / "best-4.safetensors")
    kept = np.concatenate([tensors[name].numpy().ravel() for name, _ in second.model.named_parameters()])
    np.testing.assert_array_equal(kept, at_best[0])
    assert np.abs(kept - weights_of(second)).max() > 0
    assert [event["delta_avg"] for event in events_of(validator.run.metrics)] == [0.1, 0.9, 0.2]


def test_another_measure_forgets_the_best_and_scores_finished_weights(tmp_path, dataset, capsys):
    dataset(num_clips=4), dataset("seen", num_clips=2), dataset("other", num_clips=1)
    launch(tmp_path, *VALIDATED)
    weights = sha256_of(tmp_path / "out" / "weights.safetensors")
    launch(tmp_path, *VALIDATED, "validation.dataset=other")
    told = capsys.readouterr().err
    assert "resuming at step 6 of 6" in told and "on other after step 6" in told
    assert sha256_of(tmp_path / "out" / "weights.safetensors") == weights
    best, last = (load_weights(tmp_path / "out" / f"{name}.safetensors")[0] for name in ("best", "weights"))
    assert all(torch.equal(best[key], last[key]) for key in last)
    launch(tmp_path, *VALIDATED, "validation.dataset=null")
    assert not (tmp_path / "out" / "best.safetensors").exists()


def test_a_validation_leaves_modes_and_random_state_alone(tmp_path, dataset):
    dataset(num_clips=2), dataset("seen", num_clips=1)
    recipe, paths = compose_launch("lbm", [*TINY[1:], *VALIDATED, f"paths.shards_root={tmp_path / 'shards'}"])
    model = build(**recipe.model).train()
    model.backbone.eval()  # as a frozen part of a model would be
    before = torch.get_rng_state(), random.getstate(), [p.clone() for p in model.state_dict().values()]
    validator = Validator(recipe, describe_run(recipe, paths, 1), ALONE, steps_per_epoch=1)
    first, second = validator.scores(model), validator.scores(model)
    assert first == second
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == random.getstate()
    assert all(torch.equal(old, new) for old, new in zip(before[2], model.state_dict().values(), strict=True))
    assert model.training and model.transformer.training and not model.backbone.training


def test_modes_come_back_after_an_error():
    model = torch.nn.Sequential(torch.nn.Dropout())
    with pytest.raises(KeyError), evaluating(model):
        assert not model[0].training
        raise KeyError
    assert model[0].training


@pytest.mark.parametrize(
    ("words", "steps"),
    [(["validation.every_steps=null"], [3, 6]), (["validation.every_steps=4"], [4, 6])],
)
def test_it_is_due_once_an_epoch_or_as_asked_and_at_the_end(tmp_path, dataset, words, steps):
    dataset(num_clips=3), dataset("seen", num_clips=3)
    launch(tmp_path, *VALIDATED, *words, "validation.num_videos=1")
    assert [event["step"] for event in events_of(tmp_path / "out" / "metrics.jsonl")] == steps


def test_memory_by_data_set():
    asked = {"tapvid_davis": 20, "robotap": 60, "tapvid_Kinetics_0": 36, "kubric_heldout": None}
    assert {name: memory_size_of(name) for name in asked} == asked


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["validation.dataset=nowhere"], "validation data set 'nowhere' is not packed; run `snakemake "),
        (["validation.best_by=delta_av"], "validation.best_by=delta_av: did you mean 'delta_avg'"),
        (["validation.every_steps=0"], "validation.every_steps=0 must be at least 1, or null"),
        (["validation.query_mode=last"], "use first or strided"),
    ],
)  # fmt: skip
def test_mistakes_end_in_one_clear_line(tmp_path, dataset, overrides, message, capsys):
    dataset(num_clips=2)
    assert main([*TINY, f"paths.shards_root={tmp_path / 'shards'}", *overrides]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
