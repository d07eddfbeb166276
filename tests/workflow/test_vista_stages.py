"""The three stages of Vista in the graph: the guide's numbers, the small ones, and what is refused."""

import copy

import pytest
import yaml

from tests.workflow.copies import ROOT
from trainer.config import compose
from workflow.plan import Plan

STAGES = ("vista_phase1", "vista_phase2_stage1", "vista_phase2_stage2")


def config_of(name: str) -> dict:
    return yaml.safe_load((ROOT / "config" / name).read_text())


@pytest.mark.parametrize("name", ["config.yaml", "vista_paper.yaml"])
def test_each_stage_starts_from_the_one_before(name):
    plan = Plan(config_of(name))
    assert plan.driving.stages == STAGES and not set(STAGES) & plan.trackers.stages.keys()
    assert [plan.recipes[stage]["init_from"] for stage in STAGES] == [None, *STAGES[:2]]
    trained = [step.wildcards["stage"] for step in plan.steps() if step.rule == "train_stage"]
    assert [stage for stage in trained if stage in STAGES] == list(STAGES)


@pytest.mark.parametrize(
    ("stage", "processes", "num_steps", "accumulation", "rate", "size", "mixture"),
    [
        ("vista_phase1", 128, 20_000, 2, 1.0e-5, (576, 1024), None),
        ("vista_phase2_stage1", 8, 120_000, 1, 5.0e-5, (320, 576), {"opendv": 0.5, "nuscenes": 0.5}),
        ("vista_phase2_stage2", 8, 10_000, 1, 5.0e-5, (576, 1024), {"opendv": 0.5, "nuscenes": 0.5}),
    ],
)
def test_the_guides_numbers(stage, processes, num_steps, accumulation, rate, size, mixture):
    plan, recipe = Plan(config_of("vista_paper.yaml")), compose(stage)
    training, window = recipe.training, recipe.data.driving
    assert plan.stages[stage].processes == processes
    assert (training.num_steps, training.batch_size, training.accumulation_steps) == (num_steps, 1, accumulation)
    assert (training.ema_decay, training.precision, training.strategy) == (0.9999, "fp32", "fsdp")
    optimizer = recipe.optimizer
    assert (optimizer.learning_rate, optimizer.max_gradient_norm, optimizer.weight_decay) == (rate, 0.3, 0.01)
    assert (optimizer.schedule, optimizer.warmup_steps) == ("warmup_constant", 1000)
    assert (window.height, window.width, window.num_frames) == (*size, 25) and recipe.data.mixture == mixture
    assert recipe.model["unet"]["with_actions"] == (stage != "vista_phase1")
    assert (training.lora is None) == (stage == "vista_phase1")


def test_another_version_of_diffusers_trains_and_rolls_out_worlds_again_and_nothing_else():
    plan = Plan(config_of("config.yaml"))
    names = {"drives": "driving_heldout", "world": STAGES[0]}
    assert {"torch", "diffusers"} <= plan.facts("train_stage", {"stage": STAGES[0]}).keys()
    assert {"torch", "diffusers"} <= plan.facts("predict_drives", names).keys()
    assert "diffusers" not in plan.facts("train_stage", {"stage": "lbm"})


@pytest.mark.parametrize(
    ("stage", "override", "message"),
    [
        ("vista_phase1", "data.dataset=boxes", r"stages\.vista_phase1: data\.dataset=boxes has no drives"),
        ("vista_phase1", "data.driving=null", r"stages\.vista_phase1: it learns from drives; add data=driving"),
        ("vista_phase2_stage1", "data.driving.num_frames=30", r"num_frames at its frame_step=59 of clips of 40 frames"),
        ("vista_phase2_stage2", "init_from=lbm", "init_from=lbm gives weights of lbm, this one is vista"),
    ],
)
def test_mistakes_are_one_line(stage, override, message):
    config = copy.deepcopy(config_of("config.yaml"))
    config["datasets"]["boxes"] = {"source": "render", "num_clips": 4, "clips_per_shard": 4, "first_seed": 900}
    config["stages"][stage]["overrides"].append(override)
    with pytest.raises(ValueError, match=message):
        Plan(config)
