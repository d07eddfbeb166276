"""A launch's overrides: names of CoTracker's guide, and models that fit the stage."""

import pytest

from trainer.config import compose, compose_launch
from trainer.launch import main
from trainer.overrides import translate


@pytest.mark.parametrize(
    ("override", "here"),
    [
        ("seed=7", "training.seed=7"),
        ("evaluation.dataset_root=a=b", "paths.shards_root=a=b"),
        ("training.mixed_precision=true", "training.precision=bf16"),
        ("training.mixed_precision=False", "training.precision=fp32"),
        ("training.num_steps=5", "training.num_steps=5"),
        ("seeds=7", "seeds=7"),
    ],
)
def test_a_name_of_the_guide_is_translated_and_nothing_else(override, here):
    assert translate(override) == here


def test_mixed_precision_is_true_or_false():
    with pytest.raises(ValueError, match=r"mixed_precision=fp16: use true \(bf16\) or false \(fp32\)"):
        translate("training.mixed_precision=fp16")


@pytest.mark.parametrize(
    ("stage", "model", "right"),
    [
        ("cotracker3_offline", "cotracker3_online", "stage=cotracker3_online"),
        ("cotracker3_online", "cotracker3_offline", "stage=cotracker3_offline"),
        ("lbm", "cotracker3_offline", "stage=cotracker3_offline"),
        ("cotracker3_offline", "lbm", "stage=lbm"),
    ],
)
def test_a_model_that_the_stage_does_not_train_names_the_stage_that_does(stage, model, right, capsys):
    assert main([f"stage={stage}", f"model={model}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: stage {stage} trains models with name=") and line.split("use ")[1].startswith(right)


def test_a_launch_without_a_stage_says_which_there_are(capsys):
    assert main(["model=cotracker3_online"]) == 2
    assert capsys.readouterr().err.startswith("error: say which stage: stage=")


def test_a_single_key_of_the_model_is_held_against_the_stage_too():
    with pytest.raises(ValueError, match=r"online=false, this one has model\.online=true; use stage"):
        compose("cotracker3_offline", ["model.online=true"])


def test_every_override_of_the_guide_reaches_the_recipe():
    words = ["exp_name=mine", "seed=3", "evaluation.dataset_root=there", "training.mixed_precision=false"]
    words += ["training.num_steps=100000", "training.batch_size=2"]
    words += ["logging.use_wandb=true", "logging.wandb_project=cotracker3"]
    recipe, paths = compose_launch("cotracker3_online", ["model=cotracker3_online", *words])
    assert (recipe.exp_name, recipe.training.seed, recipe.training.num_steps) == ("mine", 3, 100_000)
    assert (recipe.training.batch_size, recipe.training.precision, recipe.model["online"]) == (2, "fp32", True)
    assert (recipe.logging.use_wandb, recipe.logging.wandb_project, paths.shards_root) == (True, "cotracker3", "there")
