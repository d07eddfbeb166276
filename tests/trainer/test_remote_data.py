"""A training whose clips lie behind a URL: the same weights, predictions and scores as from the disk."""

import pytest

from eval.__main__ import main as evaluate
from shards import transfer
from shards.shelf import NotFetchedError
from shards.transfer import Patience
from tests.shards.serving import serving
from tests.trainer.test_training import run, sha256_of
from trainer.batch import ClipBatches
from trainer.config import Paths, compose
from trainer.predict import main as predict
from trainer.run import describe_run

SHORT = ["training.num_steps=3", "training.save_every=3", "data.num_workers=1"]


@pytest.fixture
def server(tmp_path, monkeypatch, dataset):
    dataset(num_clips=6, clips_per_shard=2)
    monkeypatch.setenv("FRAMELINE_CACHE", str(tmp_path / "cache"))
    with serving(tmp_path / "shards") as server:
        yield server


def test_two_ranks_with_loader_processes_train_from_a_url_as_from_the_disk(tmp_path, server):
    local = run(tmp_path / "local", *SHORT, f"paths.shards_root={tmp_path / 'shards'}")
    remote = run(tmp_path / "remote", *SHORT, f"paths.shards_root={server.url()}")
    assert (local.returncode, remote.returncode) == (0, 0), local.stderr + remote.stderr
    weights = [tmp_path / where / "out" / "weights.safetensors" for where in ("local", "remote")]
    assert sha256_of(weights[0]) == sha256_of(weights[1])
    # Four loader and rank processes, and each shard came once.
    assert 1 <= server.count(".tar") == len({path for path, _ in server.requests if path.endswith(".tar")})

    truths = {"local": str(tmp_path / "shards/toy/index.json"), "remote": server.url("toy/index.json")}
    for where, truth in truths.items():
        predictions, score = (str(tmp_path / where / name) for name in ("predictions.npz", "score.json"))
        words = ["--weights", str(weights[1]), "--truth", truth, "--processes", "2", "--out", predictions]
        assert predict(words) == 0
        assert evaluate(["score", "--predictions", predictions, "--truth", truth, "--out", score]) == 0
    assert sha256_of(tmp_path / "local/predictions.npz") == sha256_of(tmp_path / "remote/predictions.npz")
    assert sha256_of(tmp_path / "local/score.json") == sha256_of(tmp_path / "remote/score.json")


def test_where_the_clips_lie_is_no_part_of_a_runs_identity(tmp_path, server):
    recipe = compose("lbm", ["data.dataset=toy", "validation.dataset=toy"])
    local = describe_run(recipe, Paths(shards_root=f"{tmp_path}/shards/"), 1)
    remote = describe_run(recipe, Paths(shards_root=server.url()), 1)
    assert local.identity == remote.identity
    assert remote.index == remote.validation_index != local.index
    with pytest.raises(ValueError, match=r"http://.*/else/index.json: could not be fetched \(HTTP 404"):
        describe_run(compose("lbm", ["data.dataset=else"]), Paths(shards_root=server.url()), 1)


def test_a_server_that_is_away_stops_a_training_that_skips_damaged_clips(tmp_path, server, monkeypatch):
    monkeypatch.setattr(transfer, "PATIENCE", Patience(attempts=1))
    config = compose("lbm", ["data.dataset=toy", "data.on_error=skip", "data.num_frames=3", "data.num_points=6"]).data
    batches = ClipBatches(server.url("toy/index.json"), config, seed=0)
    server.statuses[".tar"] = [500]
    error = batches[[(0, 1, 3)]]
    assert isinstance(error, NotFetchedError) and "shard-000000.tar: could not be fetched (HTTP 500" in str(error)
    assert not batches.is_named.any()


def test_the_reports_of_a_url_are_those_of_the_disk(tmp_path, server):
    for name, index in (("local", str(tmp_path / "shards/toy/index.json")), ("remote", server.url("toy/index.json"))):
        assert evaluate(["dataset", index, "--out", str(tmp_path / f"{name}.html")]) == 0
    assert (tmp_path / "local.html").read_bytes() == (tmp_path / "remote.html").read_bytes()
