"""Recipes: strict keys and types, and an identity that only holds what decides the weights."""

import dataclasses

import pytest
import yaml

from trainer.config import (
    CONFIG_DIRECTORY,
    DataConfig,
    as_dict,
    compose,
    compose_launch,
    from_dict,
    recipe_digest,
    stages,
)
from trainer.models import TASKS

STEPS = ["training.num_epochs=null", "training.num_steps=5"]


def test_stage_composes_from_its_file_and_overrides():
    recipe = compose("lbm", [*STEPS, "model=lbm_small", "optimizer.learning_rate=1.0e-4"])
    assert recipe.training.num_steps == 5
    assert recipe.model["dim"] == 64
    assert recipe.optimizer.learning_rate == 1.0e-4
    assert recipe.stage == recipe.exp_name == "lbm"


def test_published_recipe_is_the_default():
    recipe = compose("lbm")
    assert (recipe.training.num_epochs, recipe.training.batch_size, recipe.data.num_points) == (150, 4, 256)
    assert (recipe.optimizer.learning_rate, recipe.optimizer.weight_decay) == (5.0e-4, 1.0e-5)


def test_published_augmentations_are_the_default():
    data = compose("lbm").data
    assert dataclasses.replace(data, dataset="movi_f") == DataConfig(
        dataset="movi_f", num_workers=8, crop_size=(384, 512)
    )
    assert compose("lbm", ["data.crop_size=null"]).data.crop_size is None
    assert compose("lbm", ["data=whole_frames"]).data.max_padding == 0


def test_recipe_survives_a_round_trip():
    recipe = compose("lbm", STEPS)
    assert from_dict(as_dict(recipe)) == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.num_stepz=3", "did you mean 'training.num_steps'"),
        ("trainin.num_steps=3", "did you mean 'training.num_steps'"),
        ("model.dimm=64", "did you mean 'model.dim'"),
        ("model=lbm_smal", "lbm_small"),
        ("training.num_steps=many", "expected int"),
        ("training.precision=fp8", "fp32, bf16 or fp16"),
        ("training.batch_size=0", "at least 1"),
        ("optimizer.name=sgd", "known: adamw"),
        ("data.on_error=ignore", "use stop or skip"),
        ("data.hue=0.6", "at most 0.5"),
        ("data.blur_kernel=10", "must be odd"),
        ("data.patch_size=[9,2]", r"data\.patch_size=\[9, 2\]: give two positive bounds, the smaller one first"),
        ("data.crop_size=[0,4]", "at least 1 x 1, or null"),
        ("data.crop_size=384", "expected 2 values"),
        ("data.jitter_probability=1.5", "must lie in 0..1"),
        ("data.prefetch_factor=0", "at least 1"),
        ("data.scale_drift=-0.1", "at least 0"),
        ("data.num_frames=0", "at least 1"),
    ],
)
def test_a_mistake_is_named(override, message):
    with pytest.raises(ValueError, match=message):
        compose("lbm", [*STEPS, override])


def test_unknown_stage_names_the_closest():
    with pytest.raises(ValueError, match="did you mean 'lbm'"):
        compose("lbn")


def test_steps_and_epochs_exclude_each_other():
    with pytest.raises(ValueError, match="exactly one of"):
        compose("lbm", ["training.num_steps=5"])


def test_identity_ignores_what_cannot_change_the_weights():
    plain = recipe_digest(compose("lbm", STEPS))
    for harmless in ("logging.log_every=1", "exp_name=again", "data.num_workers=3", "training.keep_checkpoints=2",
                     "logging.use_wandb=true", "paths.run_root=elsewhere"):  # fmt: skip
        assert recipe_digest(compose("lbm", [*STEPS, harmless])) == plain
    for deciding in ("optimizer.learning_rate=1.0e-4", "model.dim=128", "data.num_points=8", "training.seed=1"):
        assert recipe_digest(compose("lbm", [*STEPS, deciding])) != plain


def test_every_stage_composes_and_says_what_it_trains():
    for stage in stages():
        text = (CONFIG_DIRECTORY / "stage" / f"{stage}.yaml").read_text()
        assert yaml.safe_load(text)["trains_model"]["name"] in TASKS
        recipe, paths = compose_launch(stage)
        assert recipe.stage == stage
        assert paths.source_digest == ""
