"""The tiny graph through a real Slurm of two nodes; a training that Slurm interrupts ends with the same weights.

LBM and both stages of BLADE train over two nodes. Slow (`pytest -m slow`), some eight minutes on two cores; needs root,
slurm-wlm and munge, else it is skipped.
"""

import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tests.slurm.cluster import cluster, run, what_is_missing
from tests.workflow.copies import environment_of
from tests.workflow.test_kill import RENDERER, prepare

MISSING = what_is_missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),  # the graph once and a training again; other tests may run beside them
    pytest.mark.skipif(bool(MISSING), reason=f"no Slurm can be started: {MISSING}"),
    pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer"),
]
# A cluster of one's own has no accounts, no accounting, and answers at once.
IMPATIENT = ["--slurm-no-account", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2"]
IMPATIENT += ["--seconds-between-status-checks", "2", "--latency-wait", "5"]
IMPATIENT += ["--default-resources", "slurm_partition=main", "mem_mb=1000", "runtime=20"]
STAGES = ("lbm", "blade_depthnet", "blade_posenet")
NUM_STEPS = 12
ONE_PROCESS_A_NODE = [f"cluster.{key}=1" for key in ("processes_per_node", "cpus_per_process", "memory_gb_per_process")]


@pytest.fixture(scope="module")
def nodes():
    with cluster() as folder:
        yield folder


@pytest.fixture(scope="module")
def root(nodes, tmp_path_factory) -> Path:
    """A copy whose configuration trains every stage on two nodes."""
    root = prepare(tmp_path_factory.mktemp("slurm") / "copy")
    config = yaml.safe_load((root / "config/tiny.yaml").read_text())
    stages = {name: config["stages"][name]["overrides"] + ["cluster.hours=0.3", *ONE_PROCESS_A_NODE] for name in STAGES}
    words = [word for word in stages["lbm"] if not word.startswith(("training.num_s", "training.save"))]
    stages["lbm"] = [*words, f"training.num_steps={NUM_STEPS}", f"training.save_every={NUM_STEPS}"]
    config["stages"] = {name: {"processes": 2, "overrides": words} for name, words in stages.items()}
    config["benchmarks"]["tiny_heldout"] = {"dataset": "tiny_heldout", "trackers": ["static", "lbm"]}
    del config["benchmarks"]["tapvid_davis"]
    del config["datasets"]["tapvid_davis"]
    (root / "config/slurm.yaml").write_text(yaml.safe_dump(config))
    return root


def start(root: Path, *targets: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "snakemake", *targets, "--configfile", "config/slurm.yaml"]
    with (root / "out.log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--profile", "profiles/slurm", *IMPATIENT],
            cwd=root, env=environment_of(root) | {"GLOO_SOCKET_IFNAME": "lo"}, stdout=log, stderr=log,
        )  # fmt: skip


def finish(process: subprocess.Popen, root: Path) -> None:
    assert process.wait(timeout=1000) == 0, (root / "out.log").read_text()[-4000:]


def jobs(state: str = "all") -> list[tuple[str, str, int, str]]:
    """Number, rule with wildcards, number of nodes, and state of every job that Slurm remembers."""
    rows = run("squeue", "-h", "-t", state, "-o", "%i %k %D %T").splitlines()
    return [(number, name, int(nodes), state) for number, name, nodes, state in map(str.split, rows)]


def weights(root: Path) -> str:
    return hashlib.sha256((root / "results/lbm/weights.safetensors").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def calm(root) -> str:
    """sha256 of the weights of a training in peace, after which everything is evaluated."""
    finish(start(root, "evaluate", "blade"), root)
    return weights(root)


def test_every_job_goes_through_slurm_and_training_takes_two_nodes(root, calm):
    found = {name: (nodes, state) for _, name, nodes, state in jobs()}
    assert {state for _, state in found.values()} == {"COMPLETED"}
    assert [found[f"rule_train_stage_wildcards_{stage}"][0] for stage in STAGES] == [2, 2, 2]
    shards = ("tiny_000000", "tiny_000001", "tiny_heldout_000000")
    assert all(found[f"rule_render_shard_wildcards_{shard}"][0] == 1 for shard in shards)
    assert {f"rule_predict_wildcards_tiny_heldout_{name}_first_256" for name in ("lbm", "lbm-untrained")} <= set(found)
    for stage in STAGES:
        told = (root / f"logs/train/{stage}.log").read_text()
        ranks = re.findall(rf"{stage}: rank (\d) of 2 on node (n\d), cpu", told)
        assert {rank for rank, _ in ranks} == {"0", "1"} and {node for _, node in ranks} == {"n1", "n2"}
    assert (root / "results/tiny_heldout/table.md").exists() and (root / "results/blade.html").exists()


def test_a_training_that_gets_notice_is_saved_queued_again_and_ends_with_the_same_weights(root, calm):
    for path in [*(root / "results/lbm").iterdir(), *(root / "runs/lbm").rglob("*")]:
        if path.is_file():
            path.unlink()
    process = start(root, "train")
    (metrics,) = wait_for(lambda: [p for p in root.glob("runs/lbm/*/metrics.jsonl") if p.stat().st_size], process, root)
    ((job, *_),) = [job for job in jobs("RUNNING") if job[1] == "rule_train_stage_wildcards_lbm"]
    run("scancel", "--signal=USR1", job)
    wait_for(lambda: [job for job in jobs("PENDING") if job[1] == "rule_train_stage_wildcards_lbm"], process, root)
    (saved,) = metrics.parent.glob("checkpoint-*.pt")
    assert 1 <= int(saved.stem.split("-")[1]) < NUM_STEPS
    run("scontrol", "update", f"JobId={job}", "StartTime=now")  # Slurm lets two minutes pass before it tries again
    finish(process, root)
    assert re.search(rf"lbm: resuming at step \d+ of {NUM_STEPS}", (root / "logs/train/lbm.log").read_text())
    assert [number for number, name, *_ in jobs() if name == "rule_train_stage_wildcards_lbm"][-1] == job
    assert weights(root) == calm


def wait_for(look, process: subprocess.Popen, root: Path, patience_s: float = 400) -> list:
    """What `look` finds, as soon as it finds something while the process runs."""
    deadline = time.monotonic() + patience_s
    while not (found := look()):
        assert process.poll() is None and time.monotonic() < deadline, (root / "out.log").read_text()[-4000:]
        time.sleep(0.2)
    return found
