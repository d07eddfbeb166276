"""A loss that is not finite: the first step that had it is found, its batch is kept and shown, all processes end."""

import itertools
from pathlib import Path

import pytest
import torch

from shards import ClipStore, sample_ids
from tests.trainer.many_processes import launch_all
from tests.trainer.test_loop import ALONE, batches, make_run, make_state, recipe_with
from tests.trainer.test_pseudo_training import launch_words, make_inputs
from tests.trainer.test_training import TINY
from trainer import finite
from trainer.batch import make_loader
from trainer.config import compose
from trainer.finite import NotFiniteError, describe_batch, load_batch, save_batch
from trainer.launch import main as launch
from trainer.loop import train
from trainer.models import TASKS

RARELY = ["training.num_steps=6", "training.save_every=6", "logging.log_every=6", "training.batch_size=2"]


def words_of(folder: Path, *overrides: str) -> list[str]:
    """A launch whose rows are of its first step and its last."""
    paths = [f"paths.shards_root={folder / 'shards'}", f"paths.run_root={folder / 'runs'}"]
    return [*TINY, *RARELY, *paths, f"paths.output_dir={folder / 'out'}", *overrides]


def poison(monkeypatch, name: str, first: int) -> None:
    """Let the losses of a system be NaN from the call `first` on, as weights that are NaN would make them."""
    calls, losses = itertools.count(), TASKS[name].losses

    def poisoned(model, batch):
        factor = torch.nan if next(calls) >= first else 1.0
        return {key: factor * value for key, value in losses(model, batch).items()}

    monkeypatch.setattr(TASKS[name], "losses", poisoned)


def kept_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("runs/*/*/not_finite/*"))


@pytest.mark.parametrize("workers", [0, 1])
def test_the_batch_of_the_first_bad_step_is_kept_though_a_later_row_shows_it(
    tmp_path, dataset, monkeypatch, capsys, workers
):
    index = dataset(num_clips=6)
    poison(monkeypatch, "lbm", first=3)
    words = words_of(tmp_path, f"data.num_workers={workers}")
    assert launch(words) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "not finite at step 5, first in step 3 on rank 0; the last checkpoint stays" in error
    assert error.startswith("error: ") and kept_in(tmp_path) == ["step-00000003-rank-0.pt"]
    (path,) = tmp_path.glob("runs/*/*/not_finite/*")
    assert error.endswith(f"python -m trainer.finite {path}")
    clips, batch = load_batch(path)
    recipe = compose("lbm", [word for word in words if not word.startswith(("stage=", "paths."))])
    (expected,) = make_loader(recipe, index, start=3, num_steps=4, rank=0, world_size=1)
    assert batch.keys() == expected.keys() and all(torch.equal(batch[key], expected[key]) for key in batch)
    asked = sample_ids(6, seed=recipe.training.seed, step=3, batch_size=2)
    assert clips == [ClipStore(index).keys[number] for _, number in asked]
    assert finite.main([str(path)]) == 0
    assert f"0 {clips[0]}" in capsys.readouterr().out


HAPPENS_TO_RANK_1 = """
import itertools, os
from trainer.models import TASKS
calls, losses = itertools.count(), TASKS["lbm"].losses
def poisoned(model, batch):
    factor = float("nan") if next(calls) == 2 and os.environ["RANK"] == "1" else 1.0
    return {key: factor * value for key, value in losses(model, batch).items()}
TASKS["lbm"].losses = poisoned
"""


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_all_processes_end_and_the_one_whose_batch_it_was_keeps_it(tmp_path, dataset, strategy):
    """All weights are NaN afterwards, so every process's next loss is."""
    dataset(num_clips=6)
    words = words_of(tmp_path, f"training.strategy={strategy}", "training.batch_size=1")
    ended = launch_all([words], processes=2, before=HAPPENS_TO_RANK_1)
    assert [code for code, _ in ended] == [2, 2], ended
    assert kept_in(tmp_path) == ["step-00000002-rank-1.pt"]
    for _, told in ended:
        assert "first in step 2 on rank 1" in told and "not_finite/step-00000002-rank-1.pt" in told, told


def test_labels_are_kept_too(tmp_path, monkeypatch):
    inputs = make_inputs(tmp_path, "cotracker3_online_real")
    words = launch_words(tmp_path, ".", "stage=cotracker3_online_real", "training.num_steps=4", *inputs)
    given, losses = [], TASKS["cotracker3"].losses

    def watched(model, batch):
        given.append(batch)
        return losses(model, batch)

    monkeypatch.setattr(TASKS["cotracker3"], "losses", watched)
    poison(monkeypatch, "cotracker3", first=2)
    rarely = ["logging.log_every=4", "training.accumulation_steps=2", "data.min_frames=null", "training.num_steps=3"]
    assert launch([*words, *rarely]) == 2
    (path,) = tmp_path.glob("runs/*/*/not_finite/*")
    assert path.name == "step-00000001-rank-0.pt"
    _, batch = load_batch(path)
    for key in given[2]:
        assert torch.equal(batch[key], torch.cat([given[2][key], given[3][key]])), key
    assert {"video", "tracks", "visible", "valid"} <= given[2].keys()


def test_steps_that_the_scaler_skips_are_no_fault(tmp_path):
    recipe = recipe_with("training.precision=fp16", "logging.log_every=6", "training.save_every=6")
    poisoned = batches(0)
    for step in (4, 5):
        poisoned[step]["x"][0, 0] = torch.nan
    state = make_state(recipe)
    with pytest.raises(NotFiniteError, match="square not finite at step 5, first in step 4 on rank 0") as told:
        train(recipe, make_run(tmp_path), ALONE, state, poisoned)
    assert (told.value.step, told.value.ranks) == (4, [0])
    assert state.scaler.get_scale() < 2.0**13, "steps after the first row overflowed before"


def test_gradients_alone_may_be_the_fault_and_what_passed_is_forgotten():
    fine, bad = torch.tensor(1.0), torch.tensor(torch.inf)
    found = finite.FirstBadStep(torch.device("cpu"))
    found.note(2, {"a": fine, "b": bad}, fine)
    found.forget()
    assert found.find(otherwise=7) == (7, [0]), "a mean over ranks may overflow where no process's loss did"
    found.note(3, {"a": fine}, fine)
    found.note(4, {"a": fine}, bad)
    found.note(5, {"a": bad}, bad)
    assert found.find(otherwise=7) == (4, [0])


def test_a_batch_is_shown_with_what_is_wrong_in_it(tmp_path, capsys):
    video = torch.full((2, 3), 9, dtype=torch.uint8)
    tracks = torch.tensor([[0.5, 2.0], [torch.nan, torch.inf]])
    path = save_batch(tmp_path / "x.pt", ["a", "b"], {"video": video, "tracks": tracks, "lost": tracks[1:]})
    assert describe_batch(*load_batch(path)).splitlines() == [
        "0 a",
        "1 b",
        "video (2, 3) torch.uint8: 9 to 9",
        "tracks (2, 2) torch.float32: 0.5 to 2; 2 values are not finite, in clips 1",
        "lost (1, 2) torch.float32: no finite value; 2 values are not finite, in clips 0",
    ]
    path.write_bytes(b"hello")
    assert finite.main([str(path)]) == 2
    assert "x.pt: no batch of a training that stopped" in capsys.readouterr().err
    assert finite.main([str(tmp_path / "none.pt")]) == 2
