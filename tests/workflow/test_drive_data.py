"""What the graph knows of drives that are rendered: no annotation, their own code, mistakes in overrides."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.copies import copy_repository, environment_of
from workflow.plan import Plan

TINY = Path(__file__).resolve().parents[2] / "config" / "tiny.yaml"


def config_with(**changes) -> dict:
    """The tiny configuration with three rendered drives besides."""
    config = yaml.safe_load(TINY.read_text())
    drives = {"source": "render", "recipe": "driving", "num_clips": 3, "clips_per_shard": 2, "overrides": {"width": 48}}
    config["datasets"]["drives"] = drives | changes
    return config


def test_drives_are_rendered_and_packed_and_not_annotated():
    plan = Plan(config_with())
    steps = [step for step in plan.steps() if step.wildcards.get("dataset") == "drives"]
    assert [step.rule for step in steps] == ["render_shard", "pack"] * 2 + ["index", "dataset_page"]
    assert plan.layout("drives") == "drive_folder" and plan.layout("tiny") == "clip_folder"
    assert plan.pack_source("drives", "000001") == "data/clips/drives/shard-000001.json"
    assert plan.generation_words("drives") == ["split=train", "width=48"]


def test_other_code_makes_drives_than_clips_of_objects():
    plan = Plan(config_with())
    drives, objects = (plan.facts("render_shard", {"dataset": name, "shard": "000000"}) for name in ("drives", "tiny"))
    assert drives["source"] != objects["source"] and drives["recipe"] == "driving"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"overrides": {"widht": 64}}, "datasets.drives.overrides: unknown key 'widht', did you mean 'width'"),
        ({"overrides": {"resolution": 64}}, "datasets.drives.overrides: unknown key 'resolution'"),
        ({"overrides": {"speed_mps": [9, 4]}}, "datasets.drives.overrides: speed_mps=9.0,4.0"),
        ({"tracks": {"num_tracks": 9}}, "datasets.drives.tracks: drives are packed without tracks; leave it out"),
    ],
)
def test_a_drive_that_cannot_be_rendered_stops_the_graph(changes, message):
    with pytest.raises(ValueError) as caught:
        Plan(config_with(**changes))
    assert str(caught.value).startswith(message)


def test_snakemake_plans_a_data_set_of_drives(tmp_path):
    root = copy_repository(tmp_path / "copy")
    (root / "drives.yaml").write_text(yaml.safe_dump(config_with()))
    command = ["-n", "--configfile", "drives.yaml", "--", "data/shards/drives/index.json"]
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", *command],
        cwd=root,
        env=environment_of(root),
        capture_output=True,
        text=True,
        timeout=120,
    )
    told = result.stdout + result.stderr
    assert result.returncode == 0, told
    assert "annotate_shard" not in told and "python -m generation driving --seeds 2:3" in told
    assert "python -m shards pack --source drive_folder" in told
