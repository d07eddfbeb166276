"""Weights and checkpoints: equal bytes for equal weights, refusal of everything else."""

import dataclasses

import pytest
import torch
from torch import nn

from trainer.checkpoint import load_checkpoint, load_into, load_weights, save_checkpoint, save_weights
from trainer.cluster import ClusterConfig
from trainer.config import LoggingConfig, ValidationConfig, compose

RECIPE = compose("lbm", ["training.num_epochs=null", "training.num_steps=5", "validation.dataset=null"])


def small_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_weights_round_trip_with_their_recipe(tmp_path):
    save_weights(tmp_path / "a.safetensors", small_model(), RECIPE)
    tensors, recipe = load_weights(tmp_path / "a.safetensors")
    assert recipe == dataclasses.replace(RECIPE, cluster=ClusterConfig())
    other = small_model(seed=1)
    load_into(other, tensors, tmp_path)
    for key, value in small_model().state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)


def test_equal_weights_have_equal_bytes(tmp_path):
    told = dataclasses.replace(
        RECIPE,
        logging=LoggingConfig(log_every=3),
        validation=ValidationConfig(dataset="tapvid_davis"),
        cluster=ClusterConfig(hours=1),
    )
    for name, recipe in (("a", RECIPE), ("b", told)):
        save_weights(tmp_path / name, small_model(), recipe)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_damaged_or_foreign_weights_are_refused(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(path, small_model(), RECIPE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"w\.safetensors: not a readable safetensors"):
        load_weights(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match="no recipe inside"):
        load_weights(path)


def test_weights_of_another_model_name_the_keys():
    with pytest.raises(ValueError, match=r"0\.weight has shape \(4, 3\), the model \(5, 3\)"):
        load_into(nn.Sequential(nn.Linear(3, 5)), small_model().state_dict(), "w")


def test_checkpoint_of_another_run_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": "a", "step": 3})
    assert load_checkpoint(path, "a")["step"] == 3
    with pytest.raises(ValueError, match=r"checkpoint\.pt: checkpoint of another recipe"):
        load_checkpoint(path, "b")


def test_truncated_checkpoint_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"identity": "a", "weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"checkpoint\.pt: damaged checkpoint"):
        load_checkpoint(path, "a")


def test_checkpoint_never_runs_foreign_code(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (print, ("executed",))

    path = tmp_path / "checkpoint.pt"
    torch.save({"identity": "a", "x": Hostile()}, path)
    with pytest.raises(ValueError, match="damaged checkpoint"):
        load_checkpoint(path, "a")
