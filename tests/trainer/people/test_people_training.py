"""Both stages of BLADE from launch to predictions: the hand-over, the best weights, resuming, several processes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.people.predictions import PeoplePredictions
from eval.people.truth import PeopleTruth
from tests.trainer.many_processes import launch_all
from trainer.checkpoint import load_weights
from trainer.config import compose_launch
from trainer.launch import main
from trainer.predict_people import main as predict_main
from trainer.run import describe_run


def rows_of(folder: Path, event: str | None = None) -> list[dict]:
    rows = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    return [row for row in rows if row.get("event") == event]


def predictions(people, weights: Path, out: Path, *more: str) -> PeoplePredictions:
    words = ["--weights", str(weights), "--truth", str(people.index), "--body", str(people.body_path)]
    assert predict_main([*words, "--out", str(out), *more]) == 0
    return PeoplePredictions(out)


@pytest.fixture(scope="module")
def depthnet(people, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("depthnet")
    assert main(people.words("blade_depthnet", folder)) == 0
    return folder / "out" / "weights.safetensors"


def test_the_best_weights_are_handed_on_and_say_what_validation_said(people, depthnet, tmp_path):
    validated = rows_of(depthnet.parents[1], "validation")
    assert [row["step"] for row in validated] == [2, 4]
    best = min(validated, key=lambda row: row["relative_depth_error"])
    assert depthnet.read_bytes() == depthnet.with_name("best.safetensors").read_bytes()
    found, truth = predictions(people, depthnet, tmp_path / "p.npz"), PeopleTruth(people.index, people.body_path)
    errors = []
    for name in truth.names[:2]:
        true = truth.person(name)[0].pelvis_m[:, 2]
        errors.append(np.mean(np.abs(found.clip(name).depth_m - true) / true))
        assert found.clip(name).rotations is None and found.clip(name).joints_px.shape == (2, 22, 2)
    assert np.mean(errors) == pytest.approx(best["relative_depth_error"], rel=1e-5)


def test_posenet_holds_depthnets_weights_unchanged(people, depthnet, tmp_path):
    assert main(people.words("blade_posenet", tmp_path, f"paths.init_weights={depthnet}")) == 0
    tensors, recipe = load_weights(tmp_path / "out" / "weights.safetensors")
    own, _ = load_weights(depthnet)
    for key, value in own.items():
        torch.testing.assert_close(tensors[f"depthnet.{key}"], value, atol=0, rtol=0)
    assert recipe.validation.dataset == "toys"  # it chose the weights
    assert {"root", "pose", "shape", "joints", "vertices"} <= rows_of(tmp_path)[0].keys()
    one = predictions(people, tmp_path / "out" / "weights.safetensors", tmp_path / "p.npz")
    other = predictions(people, tmp_path / "out" / "weights.safetensors", tmp_path / "q.npz", "--depth-noise", "0.5")
    assert one.condition == "predicted"
    clip, noisy = one.clip("toy-0"), other.clip("toy-0")
    np.testing.assert_array_equal(clip.depth_m, noisy.depth_m)
    assert np.abs(clip.rotations - noisy.rotations).max() > 1e-7


def test_posenet_refuses_to_start_without_depthnet(people, tmp_path, capsys):
    assert main(people.words("blade_posenet", tmp_path)) == 2
    assert "train 'blade_depthnet' first" in capsys.readouterr().err
    assert main(people.words("blade_posenet", tmp_path, "init_from=null")) == 2
    assert "its DepthNet is not trained; set init_from=blade_depthnet" in capsys.readouterr().err


@pytest.mark.parametrize("depth", ["none", "oracle"])
def test_ablations_need_no_depthnet(people, tmp_path, depth):
    words = people.words("blade_posenet", tmp_path)
    words = [word for word in words if not word.startswith("model.depthnet.")]
    words += ["init_from=null", f"model.depth={depth}", "model.depthnet=null"]
    assert main([*words, "model.backbone_from_depthnet=true"]) == 2  # which one?
    assert main([*words, "model.backbone_from_depthnet=false"]) == 0
    row = rows_of(tmp_path, "validation")[-1]
    assert row["vertex_error"] > 0
    assert row["depth_error"] == (0 if depth == "oracle" else None)


def test_labels_of_another_body_are_refused(people, tmp_path, capsys):
    from shards.people.body import read_body, write_body

    body = read_body(people.body_path)
    other = write_body(tmp_path / "other.npz", type(body)(**{**vars(body), "name": "another"}))
    words = people.words("blade_depthnet", tmp_path, f"data.people.body={other}")
    assert main(words) == 2
    assert "another" in capsys.readouterr().err


def test_the_validation_is_part_of_what_decides_the_best_weights(people, tmp_path):
    def identity(*more: str) -> str:
        recipe, paths = compose_launch("blade_depthnet", people.words("blade_depthnet", tmp_path, *more)[1:])
        return describe_run(recipe, paths, 1).identity

    assert identity() != identity("validation.num_videos=1")
    assert identity("training.keep=last") == identity("training.keep=last", "validation.num_videos=1")
    with pytest.raises(ValueError, match=r"training\.keep=best needs a validation"):
        identity("validation.dataset=null")


def test_a_resumed_training_gives_the_same_bytes(people, depthnet, tmp_path):
    assert main(people.words("blade_depthnet", tmp_path, "training.keep=last", "training.save_every=2")) == 0
    whole = (tmp_path / "out" / "weights.safetensors").read_bytes()
    (folder,) = (tmp_path / "runs" / "blade_depthnet").iterdir()
    shutil.rmtree(folder)
    half = people.words("blade_depthnet", tmp_path, "training.keep=last", "training.save_every=2")
    code = "import trainer.loop as loop\nsave = loop.save\ndef stop(*a):\n    save(*a)\n    raise ValueError('stop')\n"
    ended = launch_all([half], processes=1, before=code + "loop.save = stop\n")
    assert ended[0][0] == 2 and "stop" in ended[0][1]
    assert main(half) == 0
    assert (tmp_path / "out" / "weights.safetensors").read_bytes() == whole


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_as_one_does(people, tmp_path, strategy):
    """Batch norm over both, samples of (seed, epoch, clip): the losses of the first steps are those of one process."""
    more = ["training.sync_batch_norm=true", "validation.every_steps=4", "optimizer.learning_rate=1.0e-3"]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(people.words("blade_depthnet", one, *more)) == 0
    words = people.words("blade_depthnet", two, *more, "training.batch_size=2", f"training.strategy={strategy}")
    ended = launch_all([words], processes=2)
    assert [code for code, _ in ended] == [0, 0], ended[0][1][-3000:]
    first, second = rows_of(one), rows_of(two)
    assert [row["step"] for row in first] == [row["step"] for row in second]
    np.testing.assert_allclose([row["depth"] for row in first], [row["depth"] for row in second], rtol=2e-3)
