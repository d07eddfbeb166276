"""Who a process is, by the variables of torchrun and of Slurm; and a real start with Slurm's own."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trainer.distributed import Place, find_place, first_host
from trainer.loop import seed_of

REPOSITORY = Path(__file__).parents[2]
JOB = {"SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "1234567",
       "SLURM_JOB_NODELIST": "node[07-12,20],login"}  # fmt: skip


def test_a_process_without_variables_is_alone():
    assert find_place({}) == Place(rank=0, world_size=1, local_rank=0, meeting={})
    assert find_place({"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a"}).world_size == 1


def test_torchruns_variables_come_first():
    place = find_place(JOB | {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"})
    assert place == Place(rank=3, world_size=4, local_rank=1, meeting={})


def test_slurms_variables_say_where_to_meet():
    meeting = {"MASTER_ADDR": "node07", "MASTER_PORT": str(10_000 + 1234567 % 20_000)}
    assert find_place(JOB) == Place(rank=5, world_size=8, local_rank=1, is_from_slurm=True, meeting=meeting)


def test_what_is_given_stays():
    assert find_place(JOB | {"MASTER_ADDR": "elsewhere"}).meeting == {"MASTER_PORT": str(10_000 + 1234567 % 20_000)}
    assert find_place(JOB | {"SLURM_STEP_NODELIST": "node20"}).meeting["MASTER_ADDR"] == "node20"


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node[1-3,7]", "node1"),
        ("node[007,009-012]", "node007"),
        ("gpu12", "gpu12"),
        ("a.b.org,c", "a.b.org"),
        ("rack[2-3]-n[04,06]x,other[1-2]", "rack2-n04x"),
    ],
)
def test_the_first_node_of_slurms_short_lists(nodes, first):
    assert first_host(nodes) == first


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"RANK": "one"}, "RANK='one': expected a number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, "RANK=2 and WORLD_SIZE=2: ranks are below the size"),
        (JOB | {"SLURM_PROCID": "8"}, "SLURM_PROCID=8 and SLURM_NTASKS=8"),
        (JOB | {"SLURM_JOB_NODELIST": "node[1-3"}, "is no list of Slurm's nodes"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "set MASTER_ADDR"),
    ],
)
def test_variables_that_make_no_sense_are_named(environment, message):
    with pytest.raises(ValueError, match=message):
        find_place(environment)


def test_ranks_and_steps_have_seeds_of_their_own():
    assert len({seed_of(seed, step, rank) for seed in (0, 42) for step in range(50) for rank in range(8)}) == 2 * 50 * 8


TASK = """
import sys
import torch
from trainer.distributed import barrier, gather_from_ranks, process_group
with process_group(1) as process:
    ranks = [int(rank) for rank in gather_from_ranks(torch.tensor(process.rank))]
    barrier()
print(process.rank, process.world_size, process.local_rank, ranks)
"""


def test_two_tasks_of_slurm_find_each_other():
    tasks = []
    for rank in ("0", "1"):
        slurm = {"SLURM_PROCID": rank, "SLURM_NTASKS": "2", "SLURM_LOCALID": rank, "SLURM_JOB_ID": str(os.getpid()),
                 "SLURM_JOB_NODELIST": "localhost"}  # fmt: skip
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "MASTER"))}
        pipe = subprocess.PIPE
        tasks.append(subprocess.Popen([sys.executable, "-c", TASK], cwd=REPOSITORY, env=kept | slurm, stdout=pipe,
                                      stderr=pipe, text=True))  # fmt: skip
    told = [task.communicate(timeout=120) for task in tasks]
    assert [out for out, _ in told] == ["0 2 0 [0, 1]\n", "1 2 1 [0, 1]\n"], told
    assert "Slurm: waiting at localhost:" in told[0][1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says who the parent is")
def test_a_worker_whose_torchrun_died_while_it_started_ends_at_once(tmp_path):
    """The parent is gone before the worker asks to die with it: it must not wait at the meeting place."""
    worker = f"import os, time\nwhile os.getppid() == {{parent}}: time.sleep(0.01)\n{TASK}"
    parent = (
        "import os, subprocess, sys\n"
        f"code = {worker!r}.replace('{{parent}}', str(os.getpid()))\n"
        "with open(sys.argv[1], 'w') as log: subprocess.Popen([sys.executable, '-c', code], stderr=log, stdout=log)\n"
    )
    meeting = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "29"}
    environment = os.environ | meeting | {"TORCHELASTIC_RUN_ID": "one"}
    log = tmp_path / "log"
    subprocess.run([sys.executable, "-c", parent, str(log)], cwd=REPOSITORY, env=environment, check=True, timeout=60)
    deadline = time.monotonic() + 60
    while "OSError: torchrun has died" not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
