"""Bodies and drawn people in the graph: what a change draws again, and one real run with the capsule man."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.workflow.copies import ROOT, copy_repository, environment_of
from workflow.plan import Plan
from workflow.settings import read_settings

PEOPLE = {"source": "people", "num_clips": 4, "clips_per_shard": 2, "overrides": {"resolution": 32, "num_frames": 2}}
SETS = {
    "near": PEOPLE | {"body": "adults"},
    "far": PEOPLE | {"body": "adults", "first_seed": 100, "overrides": {"near_share": 0.0}},
    "plain": PEOPLE | {"body": "capsules", "first_seed": 50},
}
TINY = {
    section: {name: entry for name, entry in entries.items() if not name.startswith(("people", "blade"))}
    for section, entries in yaml.safe_load((ROOT / "config/tiny.yaml").read_text()).items()
}
"""The tiny configuration without its own people."""
CONFIG = TINY | {
    "bodies": {"capsules": {"source": "toy"}, "adults": {"source": "anny", "shapes": 6}},
    "datasets": TINY["datasets"] | SETS,
}


def changed(section: str, name: str, **values: Any) -> dict[str, Any]:
    """The configuration with other values of one entry."""
    return CONFIG | {section: CONFIG[section] | {name: CONFIG[section].get(name, {}) | values}}


@dataclass
class Graph:
    """A copy of the repository with people beside the tiny configuration."""

    root: Path
    sets: tuple[str, ...] = tuple(SETS)

    def snakemake(self, config: dict[str, Any], *words: str) -> subprocess.CompletedProcess:
        """Run Snakemake on the data sets of people."""
        (self.root / "people.yaml").write_text(yaml.safe_dump(config))
        indices = [f"data/shards/{name}/index.json" for name in self.sets]
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *indices, "--configfile", "people.yaml", *words],
            cwd=self.root,
            env=environment_of(self.root),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def plan(self, config: dict[str, Any]) -> dict[str, list[str]]:
        """First outputs of the jobs that a dry run would run, by rule."""
        result = self.snakemake(config, "-n")
        assert result.returncode == 0, result.stdout + result.stderr
        jobs = re.findall(r"^(?:local)?rule (\w+):\n(?:    input:.*\n)?    output: ([^,\n]+)", result.stdout, re.M)
        found: dict[str, list[str]] = {}
        for rule, output in jobs:
            found.setdefault(rule, []).append(output.removeprefix("data/").removeprefix("shards/"))
        return {rule: sorted(outputs) for rule, outputs in found.items()}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A copy in which everything is made, as far as Snakemake's books say."""
    root = copy_repository(tmp_path_factory.mktemp("graph") / "made")
    for output in (root / output for step in Plan(CONFIG, root).steps() for output in step.outputs):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("made\n")
    touched = Graph(root).snakemake(CONFIG, "--touch", "--forceall", "--quiet")
    assert touched.returncode == 0, touched.stderr
    return root


@pytest.fixture
def graph(made: Path) -> Iterator[Graph]:
    """The made graph; code that a test edits is put back."""
    edited = [made / "generation/people/pose.py", made / "generation/people/anny.py", made / "generation/scene.py"]
    before = [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in edited]
    yield Graph(made)
    for path, content, time_ns in before:
        path.write_bytes(content)
        os.utime(path, ns=(time_ns, time_ns))


def test_bodies_and_people_are_planned_from_nothing(tmp_path):
    plan = Graph(copy_repository(tmp_path / "new")).plan(CONFIG)
    assert plan == {
        "body_packages": ["envs/body.json"],
        "body": ["bodies/adults.npz", "bodies/capsules.npz"],
        "draw_people": [f"{name}/shard-00000{number}.tar" for name in ("far", "near", "plain") for number in (0, 1)],
        "index": ["far/index.json", "near/index.json", "plain/index.json"],
    }


def test_nothing_to_do_after_everything_was_made(graph):
    assert graph.plan(CONFIG) == {}


def test_another_key_draws_that_data_set_again_and_no_other(graph):
    overrides = CONFIG["datasets"]["near"]["overrides"] | {"near_m": [0.4, 0.8]}
    assert graph.plan(changed("datasets", "near", overrides=overrides)) == {
        "draw_people": ["near/shard-000000.tar", "near/shard-000001.tar"],
        "index": ["near/index.json"],
    }


def test_another_topology_makes_the_body_and_everything_after_it(graph):
    assert graph.plan(changed("bodies", "adults", topology="anny")) == {
        "body": ["bodies/adults.npz"],
        "draw_people": [f"{name}/shard-00000{number}.tar" for name in ("far", "near") for number in (0, 1)],
        "index": ["far/index.json", "near/index.json"],
    }


def test_more_clips_draw_only_the_shards_that_are_new(graph):
    assert graph.plan(changed("datasets", "far", num_clips=6)) == {
        "draw_people": ["far/shard-000002.tar"],
        "index": ["far/index.json"],
    }


def test_another_body_draws_its_data_set_again(graph):
    assert graph.plan(changed("datasets", "far", body="capsules")) == {
        "draw_people": ["far/shard-000000.tar", "far/shard-000001.tar"],
        "index": ["far/index.json"],
    }


def test_code_that_draws_makes_shards_stale_and_code_that_renders_none(graph):
    (graph.root / "generation/scene.py").write_text((graph.root / "generation/scene.py").read_text() + "\nMORE = 1\n")
    assert graph.plan(CONFIG) == {}
    pose = graph.root / "generation/people/pose.py"
    assert pose.read_text().count('"arms_down": 0.25') == 1
    pose.write_text(pose.read_text().replace('"arms_down": 0.25', '"arms_down": 0.250'))
    assert graph.plan(CONFIG) == {}, "the same number, written otherwise"
    pose.write_text(pose.read_text().replace("upright in the axes", "upright, in the axes"))
    assert graph.plan(CONFIG) == {}, "a docstring"
    pose.write_text(pose.read_text().replace('"crouch": 0.1}', '"crouch": 0.10, "lie": 0.0}'))
    plan = graph.plan(CONFIG)
    assert set(plan) == {"draw_people", "index"} and len(plan["draw_people"]) == 6


def test_code_of_bodies_makes_bodies_again(graph):
    code = graph.root / "generation/people/anny.py"
    code.write_text(code.read_text().replace("rng.uniform(0.65, 1.0)", "rng.uniform(0.7, 1.0)"))
    plan = graph.plan(CONFIG)
    assert plan["body"] == ["bodies/adults.npz", "bodies/capsules.npz"] and "body_packages" not in plan


def test_a_users_body_waits_for_its_file(tmp_path):
    graph = Graph(copy_repository(tmp_path / "new"))
    config = changed("bodies", "adults", source="smplx", path="SMPLX_NEUTRAL.npz")
    assert not Plan(config, graph.root).is_available("near") and Plan(config, graph.root).is_available("plain")
    missing = graph.snakemake(config, "-n")
    assert missing.returncode != 0 and "SMPLX_NEUTRAL.npz" in missing.stdout + missing.stderr
    (graph.root / "SMPLX_NEUTRAL.npz").write_text("a licensed file")
    commands = graph.snakemake(config, "-n", "-p").stdout
    assert "generation body smplx --model SMPLX_NEUTRAL.npz --shapes 6 " in commands
    assert "rule draw_people" in commands and "rule body_packages" not in commands


MISTAKES = {
    "no such body": (changed("datasets", "near", body="adlts"),
                     "datasets.near.body: there is no body 'adlts', did you mean 'adults'?"),
    "no body": (CONFIG | {"datasets": TINY["datasets"] | {"near": PEOPLE}}, "missing key 'datasets.near.body'"),
    "a key": (changed("datasets", "near", num_clip=3), "unknown key 'datasets.near.num_clip', did you mean"),
    "a mesh": (changed("bodies", "adults", topology="fine"), "bodies.adults.topology='fine': known: anny, notoes"),
    "a source": (changed("bodies", "adults", source="any"), "bodies.adults.source='any': did you mean 'anny'?"),
    "no file": (changed("bodies", "mine", source="smplx"), "missing key 'bodies.mine.path'"),
    "a toy's mesh": (changed("bodies", "capsules", topology="anny"), "unknown key 'bodies.capsules.topology'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_the_configuration_are_named(mistake):
    config, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        read_settings(config)


def test_a_body_that_is_not_there_stops_the_graph_with_one_line(graph):
    result = graph.snakemake(MISTAKES["no such body"][0], "-n")
    assert result.returncode != 0
    told = [line for line in (result.stdout + result.stderr).splitlines() if "there is no body 'adlts'" in line]
    assert len(told) == 1 and "Traceback" not in result.stderr


def test_an_unknown_key_of_a_recipe_is_an_error_of_its_job(graph):
    """The graph does not know recipes: the command does, before it draws anything."""
    words = ["people", "--seeds", "0:1", "--body", "none.npz", "--out", "data/x", "resolutoin=32"]
    result = subprocess.run(
        [sys.executable, "-m", "generation", *words], cwd=graph.root, env=environment_of(graph.root),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert result.returncode == 2 and "unknown key 'resolutoin', did you mean 'resolution'?" in result.stderr


@pytest.mark.slow
def test_people_are_drawn_by_the_graph_and_verified(tmp_path):
    graph = Graph(copy_repository(tmp_path / "copy"), ("plain",))
    result = graph.snakemake(CONFIG, "--cores", "1")
    assert result.returncode == 0, result.stderr
    index = json.loads((graph.root / "data/shards/plain/index.json").read_text())
    assert [clip["key"] for shard in index["shards"] for clip in shard["clips"]] == [
        f"plain-{seed:06d}" for seed in range(50, 54)
    ]
    assert index["recipe"]["body"]["name"] == "toy" and index["recipe"]["people"]["num_frames"] == 2
    assert "Nothing to be done" in (again := graph.snakemake(CONFIG, "-n")).stdout + again.stderr
    verified = subprocess.run(
        [sys.executable, "-m", "shards", "verify", "--deep", "data/shards/plain/index.json"], cwd=graph.root,
        env=environment_of(graph.root), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert verified.returncode == 0, verified.stderr
