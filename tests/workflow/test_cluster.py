"""What a stage asks a cluster for, and the commands that start its processes on one node and on several."""

from pathlib import Path

import pytest
import yaml

from trainer.cluster import ClusterConfig, allocate
from workflow import torchrun
from workflow.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--", "-m", "trainer.launch", "stage=lbm", "exp_name=a b"]
TWO_NODES = ["--nodes", "2", "--processes-per-node", "4", "--cpus-per-node", "32"]
ON_NODE = {"SLURM_JOB_ID": "20017", "SLURM_STEP_NODELIST": "gpu[07-08]", "SLURMD_NODENAME": "gpu08"}


@pytest.fixture
def slurm(monkeypatch):
    """scontrol of a cluster whose nodes have addresses of their own."""

    def answer(*words: str) -> str:
        if words == ("show", "hostnames", "gpu[07-08]"):
            return "gpu07\ngpu08\n"
        *start, node = words
        assert start == ["--oneliner", "show", "node"]
        return f"NodeName={node} Arch=x86_64 CPUAlloc=0 NodeAddr=10.0.0.{node[-1]} NodeHostName={node} State=IDLE"

    monkeypatch.setattr(torchrun, "_scontrol", answer)


@pytest.mark.parametrize(("processes", "nodes", "each"), [(1, 1, 1), (2, 1, 2), (8, 1, 8), (16, 2, 8), (32, 4, 8)])
def test_processes_fill_nodes(processes, nodes, each):
    cluster = ClusterConfig(processes_per_node=8, gpus_per_process=1, cpus_per_process=6, memory_gb_per_process=40)
    found = allocate(cluster, processes)
    assert (found.num_nodes, found.processes_per_node) == (nodes, each)
    assert (found.gpus_per_node, found.cpus_per_node, found.memory_mb_per_node) == (each, 6 * each, 40_000 * each)
    assert found.minutes == 24 * 60


def test_a_node_that_would_be_half_full_is_refused_before_anything_runs():
    config = yaml.safe_load((ROOT / "config/tiny.yaml").read_text())
    config["stages"]["lbm"]["processes"] = 6
    with pytest.raises(ValueError, match=r"stages\.lbm: 6 processes do not fill nodes of 4; change processes:, or"):
        Plan(config)
    for key, value in (("hours", 0), ("cpus_per_process", 0), ("gpus_per_process", -1)):
        with pytest.raises(ValueError, match=rf"cluster\.{key}={value}"):
            ClusterConfig(**{key: value})


def test_the_guides_scale_asks_for_the_published_machines():
    plan = Plan(yaml.safe_load((ROOT / "config/paper.yaml").read_text()))
    found = {name: (each.num_nodes, each.gpus_per_node) for name, each in plan.cluster.allocations.items()}
    assert found == {"lbm": (1, 4), "cotracker3_offline": (4, 8), "cotracker3_online": (4, 8)}
    assert [plan.cluster.launches_itself(name) for name in found] == [None, "srun", "srun"]
    assert plan.cluster.training_options("lbm").startswith("--gpus-per-node=4 --signal=USR1@180 --requeue")
    assert plan.cluster.prediction_options("lbm-untrained") == "--gpus-per-node=1"
    assert plan.cluster.prediction_memory_mb("lbm") == 48_000


def test_what_a_stage_asks_for_makes_nothing_stale():
    config = yaml.safe_load((ROOT / "config/tiny.yaml").read_text())
    before = Plan(config).facts("train_stage", {"stage": "lbm"})
    config["stages"]["lbm"]["overrides"] += ["cluster.hours=1", "cluster.processes_per_node=1"]
    assert Plan(config).facts("train_stage", {"stage": "lbm"}) == before


def test_one_node_is_torchrun_alone():
    command = torchrun.command_here(torchrun.parse_arguments(["--processes-per-node", "2", *WORDS]))
    assert command[1:] == ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *WORDS[1:]]


def test_several_nodes_are_a_step_with_one_launcher_each():
    options = torchrun.parse_arguments([*TWO_NODES, *WORDS])
    command = torchrun.command_of_step(options, ON_NODE)
    assert command[0] == "srun" and "--kill-on-bad-exit=1" in command
    assert {"--nodes=2", "--ntasks=2", "--ntasks-per-node=1", "--cpus-per-task=32"} <= set(command)
    again = torchrun.parse_arguments(command[command.index("workflow.torchrun") + 1 :])
    assert again.on_node and (again.nodes, again.processes_per_node, again.words) == (2, 4, WORDS[1:])


def test_several_nodes_need_slurm(capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SLURM_JOB_ID", raising=False)
        assert torchrun.main([*TWO_NODES, *WORDS]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: this training takes 2 nodes: run it through Slurm") and error.count("\n") == 1


def test_all_nodes_meet_at_the_first_ones_address_which_slurm_knows(slurm):
    options = torchrun.parse_arguments(["--on-node", *TWO_NODES, *WORDS])
    command = torchrun.command_on_node(options, ON_NODE)
    assert {"--nnodes=2", "--nproc_per_node=4", "--rdzv_backend=c10d", "--rdzv_id=20017"} <= set(command)
    assert "--rdzv_endpoint=10.0.0.7:10017" in command and "--local_addr=10.0.0.8" in command
    assert command[-len(WORDS) + 1 :] == WORDS[1:]
