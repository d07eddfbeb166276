"""What the graph knows of drawn people before anything runs: their recipe, their seeds, and what they stand before."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.copies import copy_repository, environment_of
from workflow.plan import Plan

TINY = Path(__file__).resolve().parents[2] / "config" / "tiny.yaml"


def config_with(overrides: dict, **others) -> dict:
    """The tiny configuration with four clips of drawn people besides."""
    config = yaml.safe_load(TINY.read_text())
    people = {"source": "people", "body": "toy", "num_clips": 4, "clips_per_shard": 2, "overrides": overrides}
    config["bodies"] = {"toy": {"source": "toy"}}
    config["datasets"]["people"] = people | others
    return config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"resolutoin": 64}, "datasets.people.overrides: unknown key 'resolutoin', did you mean 'resolution'"),
        ({"near_m": [2.0, 1.0]}, "datasets.people.overrides: near_m=2.0,1.0: give two positive bounds"),
        (
            {"background": "panoramas"},
            "datasets.people.overrides: background='panoramas': use one of",
        ),
    ],
)
def test_a_recipe_that_cannot_be_drawn_stops_the_graph(overrides, message):
    with pytest.raises(ValueError) as caught:
        Plan(config_with(overrides))
    assert str(caught.value).startswith(message)


def test_people_that_were_trained_on_are_not_scored_on():
    config = config_with({})
    config["datasets"]["others"] = config["datasets"]["people"] | {"first_seed": 3}
    words = [word for word in config["stages"]["lbm"]["overrides"] if not word.startswith("validation.dataset=")]
    words += ["data.dataset=people", "data.num_frames=2", "validation.dataset=others"]
    config["stages"]["lbm"]["overrides"] = words
    with pytest.raises(
        ValueError,
        match=r"^validation of stages\.lbm .* people share seeds 3:4; change datasets\.others\.first_seed$",
    ):
        Plan(config)
    config["datasets"]["others"]["first_seed"] = 4
    assert Plan(config).datasets["others"].all_seeds == range(4, 8)


def test_only_a_background_of_panoramas_waits_for_the_renderer():
    plan = Plan(config_with({}))
    assert plan.datasets["people"].panoramas == [] and "panoramas" not in {step.rule for step in plan.steps()}
    config = config_with({"background": "panorama"}, assets="kubric")
    plan = Plan(config)
    assert plan.datasets["people"].panoramas == ["data/panoramas/kubric.npz"]
    steps = [(step.rule, step.outputs[0]) for step in plan.steps()]
    made = [steps.index(step) for step in (
        ("render_environment", "data/envs/render.json"), ("mirror_assets", "data/assets/kubric.json"),
        ("panoramas", "data/panoramas/kubric.npz"), ("draw_people", "data/shards/people/shard-000000.tar"),
    )]  # fmt: skip
    assert made == sorted(made)


def test_a_dry_run_makes_the_panoramas_before_the_people(tmp_path):
    root = copy_repository(tmp_path / "copy")
    (root / "people.yaml").write_text(yaml.safe_dump(config_with({"background": "panorama", "has_floor": False})))
    words = ["-n", "-p", "data/shards/people/index.json", "--configfile", "people.yaml"]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *words],
        cwd=root, env=environment_of(root), capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    printed = " ".join((result.stdout + result.stderr).split())
    assert result.returncode == 0, printed
    assert "python -m generation panoramas --assets data/assets/open --out data/panoramas/open.npz" in printed
    for shard, seeds in (("000000", "0:2"), ("000001", "2:4")):
        command = (
            f"python -m generation people --seeds {seeds} --body data/bodies/toy.npz --dataset people --codec png"
            f" --out data/shards/people/shard-{shard} --panoramas data/panoramas/open.npz background=panorama"
            " has_floor=false"
        )
        assert command in printed
