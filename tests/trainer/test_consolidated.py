"""Weights out of checkpoints: shards are merged, averages picked, keys checked; the file is that of the training."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open

from tests.trainer.test_strategy import flip, run_all, training
from tests.trainer.test_training import sha256_of
from trainer.checkpoint import load_weights, save_checkpoint
from trainer.export import main as export

AVERAGED = "training.ema_decay=0.5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder of four trainings on two processes: with averages and without, whole and sharded."""
    from tests.conftest import make_dataset

    root = tmp_path_factory.mktemp("trained")
    make_dataset(root / "shards", num_clips=6)
    names = {f"{strategy}{more}": [AVERAGED] if more else [] for strategy in ("ddp", "fsdp") for more in ("", "_ema")}
    words = [training(root, root / name, "lbm", name.split("_")[0], *more) for name, more in names.items()]
    run_all(words, processes=2)
    return root


def last_checkpoint(folder: Path) -> Path:
    (path,) = folder.glob("runs/*/*/checkpoint-00000004.*")
    return path


@pytest.mark.parametrize("name", ["ddp", "fsdp", "ddp_ema", "fsdp_ema"])
def test_a_checkpoint_of_the_last_step_gives_the_bytes_of_the_training(trained, tmp_path, capsys, name):
    out, ours = tmp_path / "w.safetensors", trained / name / "out" / "weights.safetensors"
    assert export(["--checkpoint", str(last_checkpoint(trained / name)), "--out", str(out)]) == 0
    assert out.read_bytes() == ours.read_bytes()
    tensors, _ = load_weights(out)
    told = capsys.readouterr().out
    assert told.startswith(
        f"{out}: {'ema' if name.endswith('ema') else 'model'} after step 4, {len(tensors)} tensors, "
    )
    assert told.endswith(f"sha256 {sha256_of(ours)}\n")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_either_of_weights_and_averages_may_be_picked(trained, tmp_path, strategy):
    """The weights are those of the training that averages nothing."""
    path = last_checkpoint(trained / f"{strategy}_ema")
    for pick, like in (("model", strategy), ("ema", f"{strategy}_ema")):
        out = tmp_path / pick
        assert export(["--checkpoint", str(path), "--pick", pick, "--format", "safetensors", "--out", str(out)]) == 0
        assert out.read_bytes() == (trained / like / "out" / "weights.safetensors").read_bytes()


@pytest.fixture
def run(trained, tmp_path):
    """A function that copies a training's run folder and returns its last checkpoint."""

    def copy(name: str) -> Path:
        (source,) = (trained / name / "runs").glob("*/*")
        shutil.copytree(source, tmp_path / "run")
        return tmp_path / "run" / last_checkpoint(trained / name).name

    return copy


def refuse(path: Path, capsys, *words: str) -> str:
    """The one line that the command ends with; it writes nothing."""
    out = path.parent / "w"
    assert export(["--checkpoint", str(path), "--out", str(out), *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and not out.exists()
    return line


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_another_models_recipe_is_refused_with_the_keys(run, capsys, strategy):
    path = run(f"{strategy}_ema")
    file = path.parent / "recipe.yaml"
    recipe = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump(recipe | {"model": recipe["model"] | {"num_layers": 3}}))
    assert "weights of another model: transformer.layers.2" in refuse(path, capsys)
    file.write_text(yaml.safe_dump(recipe | {"training": recipe["training"] | {"ema_decay": None}}))
    assert "is unknown" in refuse(path, capsys)
    file.unlink()
    assert "its run's recipe.yaml must be beside it" in refuse(path, capsys)


def test_what_is_no_checkpoint_is_named(run, capsys, tmp_path):
    path = run("ddp")
    assert "a run's folder; name one of its checkpoints (checkpoint-00000002.pt, ch" in refuse(path.parent, capsys)
    assert "has no averages: training.ema_decay was not set" in refuse(path, capsys, "--pick", "ema")
    assert "there is no such checkpoint" in refuse(path.with_name("x.pt"), capsys)
    saved = torch.load(path, weights_only=True)
    save_checkpoint(path, {"state_dict": saved["model"]})
    assert "no checkpoint of a training here; take in others' weights by --from" in refuse(path, capsys)
    path.write_bytes(path.read_bytes()[:1000])
    assert "go on from checkpoint-00000002.pt: rm " in refuse(path, capsys)


def test_a_damaged_shard_is_named(run, capsys):
    path = run("fsdp")
    shards = sorted(path.glob("*.safetensors"))
    assert len(shards) == 2
    flip(shards[1])
    line = refuse(path, capsys)
    assert (
        f"{shards[1].name} is missing or has other bytes" in line and "go on from checkpoint-00000002.sharded" in line
    )
    shards[1].unlink()
    assert "is missing" in refuse(path, capsys)
    state = json.loads((path / "state.json").read_text())
    del state["files"][shards[1].name]
    (path / "state.json").write_text(json.dumps(state))
    assert "error: " in refuse(path, capsys)


def test_the_file_has_no_key_more_than_the_model(trained, tmp_path):
    out = tmp_path / "w"
    assert export(["--checkpoint", str(last_checkpoint(trained / "fsdp_ema")), "--out", str(out)]) == 0
    with safe_open(out, framework="pt") as file:
        assert not [key for key in file.keys() if key.startswith(("ema.", "model.", "optimizer."))]  # noqa: SIM118
