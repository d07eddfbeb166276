"""Vista's three chained stages by one command, at their tiniest: killed in each stage, the same bytes as in peace.

Slow (`pytest -m slow`), some minutes on two cores; needs the renderer as test_kill.py does.
"""

import json
import re
import subprocess
import sys

import pytest

from tests.workflow.copies import environment_of
from tests.workflow.test_kill import RENDERER, finish, kill_all, prepare, products, start, wait_for

COMMAND = [sys.executable, "-m", "snakemake", "vista", "--configfile", "config/vista_tiny.yaml"]
STAGES = ("vista_phase1", "vista_phase2_stage1", "vista_phase2_stage2")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer"),
]


def trainings(root) -> set[str]:
    """The stages that a dry run would train."""
    command = [*COMMAND, "-n"]
    found = subprocess.run(command, cwd=root, env=environment_of(root), check=True, capture_output=True, text=True)
    return set(re.findall(r"output: results/(\w+)/weights.safetensors", found.stdout + found.stderr))


def test_killed_in_each_of_three_stages_the_chain_ends_with_the_same_bytes(tmp_path):
    calm, killed = prepare(tmp_path / "calm"), prepare(tmp_path / "killed")
    finish(calm, COMMAND)
    for stage in STAGES:
        process = start(killed, COMMAND)
        wait_for(f"runs/{stage}/*/checkpoint-*.pt", killed, process)
        kill_all(process, killed)
        assert not (killed / f"results/{stage}/weights.safetensors").exists(), stage
        subprocess.run([*COMMAND, "--unlock"], cwd=killed, env=environment_of(killed), check=True, capture_output=True)
    finish(killed, COMMAND)
    assert products(killed) == products(calm)
    assert {f"results/{stage}/weights.safetensors" for stage in STAGES} <= products(calm).keys()
    for stage in STAGES:
        log = (killed / f"logs/train/{stage}.log").read_text()
        assert "resuming at step" in log, log
    rows = json.loads((killed / "results/drives_tiny_heldout/vista_phase2_stage2.drives.json").read_text())
    assert rows["model"] == "vista_phase2_stage2"
    assert (killed / "results/vista.html").stat().st_size > 10_000

    # What is stale, and no more: the last stage, and then all that start from the first.
    assert trainings(killed) == set()
    config = killed / "config/vista_tiny.yaml"
    words = config.read_text()
    config.write_text(words[: words.rindex("num_steps=6")] + "num_steps=7" + words[words.rindex("num_steps=6") + 11 :])
    assert trainings(killed) == {STAGES[2]}
    config.write_text(words.replace("num_steps=6", "num_steps=7", 1))
    assert trainings(killed) == set(STAGES)
