"""A training that stands still ends with the stacks of all of its ranks."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.trainer.test_training import command
from trainer.hang import EXIT_CODE, Watch

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys, time
from trainer.hang import Watch

def stuck_in_a_step():
    {hang}

with Watch({minutes}, "lbm", rank=3) as watch:
    for step in range(3):
        watch.step(step)
        time.sleep(0.1)
    {more}
    stuck_in_a_step()
print("went on")
"""


def run(hang: str, minutes: float | None = 0.5 / 60, more: str = "pass") -> subprocess.CompletedProcess:
    code = SCRIPT.format(hang=hang, minutes=minutes, more=more)
    return subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_a_step_that_never_ends_ends_the_process_and_says_where():
    found = run("time.sleep(60)")
    assert found.returncode == EXIT_CODE and "went on" not in found.stdout
    first, *stack = found.stderr.splitlines()
    assert first.startswith("error (rank 3): lbm stands still: more than 0.00833333 minutes since step 2 ")
    assert any("in stuck_in_a_step" in line for line in stack)


def test_an_interpreter_that_is_stuck_ends_too():
    """The GIL is never given back here: no thread of Python's can say anything."""
    began = time.monotonic()
    hang = "import trainer.hang, ctypes; ctypes.PyDLL(None).sleep(100)"
    found = run(hang, more="import trainer.hang; trainer.hang.SECONDS_TO_SAY_SO = 1; watch.step(3)")
    assert found.returncode == 1 and time.monotonic() - began < 60
    assert "Timeout" in found.stderr and "in stuck_in_a_step" in found.stderr


def test_what_takes_long_for_a_reason_is_left_alone():
    found = run("time.sleep(1.5)", more="watch.pause()")
    assert (found.returncode, found.stdout) == (0, "went on\n") and not found.stderr


def test_no_limit_watches_nothing():
    found = run("time.sleep(1.5)", minutes=None)
    assert (found.returncode, found.stdout) == (0, "went on\n")


def test_steps_in_time_go_on():
    with Watch(0.4 / 60, "lbm") as watch:
        for step in range(8):
            watch.step(step)
            time.sleep(0.1)


STUCK = """
import sys, time
from trainer import loop
from trainer.launch import main

add = loop.add_gradients

def add_gradients(recipe, process, state, batch):
    if state.step == 2 and process.rank == 1:
        time.sleep(600)
    return add(recipe, process, state, batch)

loop.add_gradients = add_gradients
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_training_and_says_where(tmp_path, dataset):
    dataset(num_clips=6)
    (tmp_path / "stuck.py").write_text(STUCK)
    words = command(tmp_path, "training.max_step_minutes=0.2")
    words[words.index("trainer.launch") - 1 : words.index("trainer.launch") + 1] = [str(tmp_path / "stuck.py")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    found = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240)
    assert found.returncode != 0
    told = found.stderr.split("error (rank 1): lbm stands still: more than 0.2 minutes since step 2 ")
    assert len(told) == 2 and "in add_gradients" in told[1], found.stderr[-3000:]
