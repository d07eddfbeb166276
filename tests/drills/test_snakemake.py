"""What else happens to a graph at work: a second Snakemake in the same folder, and clocks that disagree."""

import os
import subprocess
import time

import pytest

from tests.drills import kills
from tests.workflow.copies import environment_of
from tests.workflow.test_graph import Graph, graph, made  # noqa: F401 (fixtures)
from tests.workflow.test_kill import RENDERER, kill_all, prepare, wait_for


@pytest.mark.slow
@pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer")
def test_a_second_snakemake_in_the_folder_is_refused_and_disturbs_nothing(tmp_path):
    root = prepare(tmp_path / "copy")
    first = kills.start(root)
    wait_for("data/clips/tiny/.*", root, first)
    second = subprocess.run(
        kills.COMMAND, cwd=root, env=environment_of(root), capture_output=True, text=True, timeout=200
    )
    assert second.returncode == 1
    assert "Directory cannot be locked" in second.stderr and "--unlock" in second.stderr
    wait_for("data/shards/tiny/*.tar", root, first)
    kill_all(first, root)


@pytest.mark.parametrize("days", [-400, 400])
def test_a_clock_that_was_wrong_makes_nothing_stale(graph: Graph, days):  # noqa: F811
    """Another machine's time stamps: files seem older or newer than what was made of them."""
    names = ["data/shards/tiny/index.json", "data/shards/tiny/shard-000000.tar", "results/lbm/weights.safetensors"]
    before = {name: (graph.root / name).stat().st_mtime_ns for name in names}
    for name in names:
        os.utime(graph.root / name, ns=2 * (time.time_ns() + days * 86_400 * 10**9,))
    try:
        assert graph.plan() == {}
    finally:
        for name, mtime_ns in before.items():
            os.utime(graph.root / name, ns=(mtime_ns, mtime_ns))
    assert graph.plan() == {}
