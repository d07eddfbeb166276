"""Real fine-tunings on pseudo-labels with torchrun on two gloo processes."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.toy_videos import SMALL, SMALL_LBM, pack_videos, save_model
from trainer.checkpoint import load_weights
from trainer.launch import main

REPOSITORY = Path(__file__).parents[2]
FROZEN = "updateformer.vis_conf_head"
TINY = [
    *SMALL,
    "data.num_frames=8",
    "data.min_frames=6",
    "data.num_points=16",
    "data.max_frame_stride=1",
    "data.crop_size=null",
    "data.num_workers=0",
    "optimizer.learning_rate=2.0e-3",
    "pseudo_labels.visible_above=0.3",
    "training.batch_size=1",
    "training.precision=fp32",
    "training.threads=1",
    "training.save_every=4",
    "validation.dataset=null",
    "logging.log_every=1",
]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def make_inputs(folder: Path, stage: str) -> list[str]:
    """Videos, a student's start and three teachers; returns the overrides that name them."""
    pack_videos(folder)
    save_model(folder / "start.safetensors", stage, *SMALL, seed=1)
    teachers = [folder / f"{name}.safetensors" for name in ("online", "offline", "lbm")]
    save_model(teachers[0], "cotracker3_online_real", *SMALL, seed=2)
    save_model(teachers[1], "cotracker3_offline_real", *SMALL, seed=3)
    save_model(teachers[2], "lbm", *SMALL_LBM, seed=4)
    names = ",".join(map(str, teachers))
    return [f"pseudo_labels.teachers=[{names}]", f"paths.init_weights={folder / 'start.safetensors'}"]


def launch_words(folder: Path, out: str, *overrides: str) -> list[str]:
    paths = [f"paths.shards_root={folder / 'shards'}", f"paths.run_root={folder / out / 'runs'}"]
    return [*TINY, *paths, f"paths.output_dir={folder / out}", *overrides]


def command(words: list[str], processes: int = 2) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*torchrun, "-m", "trainer.launch", *words]


def run(words: list[str]) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command(words), cwd=REPOSITORY, env=environment, capture_output=True, text=True)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def steps_done(folder: Path) -> int:
    metrics = list(folder.rglob("metrics.jsonl"))
    return metrics[0].read_text().count("grad_norm") if metrics else 0


@pytest.mark.slow
def test_kill_9_then_again_gives_the_same_weights_and_the_head_stays(tmp_path):
    inputs = make_inputs(tmp_path, "cotracker3_online_real")
    killed = launch_words(tmp_path, "killed", "stage=cotracker3_online_real", "training.num_steps=12", *inputs)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command(killed), cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while steps_done(tmp_path / "killed") < 6 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)  # torchrun dies; its workers follow by themselves
    process.wait()
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    again = run(killed)
    assert again.returncode == 0, again.stderr
    assert re.search(r"resuming at step [48] of 12", again.stderr)
    calm = run(launch_words(tmp_path, "calm", "stage=cotracker3_online_real", "training.num_steps=12", *inputs))
    assert calm.returncode == 0, calm.stderr
    for name in ("weights.safetensors", "untrained.safetensors", "recipe.yaml"):
        assert sha256_of(tmp_path / "killed" / name) == sha256_of(tmp_path / "calm" / name), name
    start, end = (load_weights(tmp_path / name)[0] for name in ("start.safetensors", "calm/weights.safetensors"))
    for key, value in start.items():
        is_kept = FROZEN in key or key == "time_emb"
        assert np.array_equal(value, end[key]) == is_kept, key
    assert any(FROZEN in key for key in start)
    rows = rows_of(tmp_path / "calm" / "metrics.jsonl")
    assert {"visible_loss", "invisible_loss"} <= rows[0].keys()
    assert not {"visibility_loss", "confidence_loss"} & rows[0].keys()


@pytest.mark.parametrize("stage", ["cotracker3_online_real", "cotracker3_offline_real"])
def test_the_student_comes_closer_to_its_teacher(tmp_path, stage):
    """In one process, with one teacher, on two videos: the loss falls by half."""
    inputs = make_inputs(tmp_path, stage)
    teacher = f"pseudo_labels.teachers=[{tmp_path / 'offline.safetensors'}]"
    words = launch_words(tmp_path, "out", f"stage={stage}", "training.num_steps=50", *inputs, teacher)
    assert main(words) == 0
    losses = [row["loss"] for row in rows_of(tmp_path / "out" / "metrics.jsonl")]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10]), losses


def test_mistakes_in_one_line(tmp_path, capsys):
    inputs = make_inputs(tmp_path, "cotracker3_online_real")
    words = launch_words(tmp_path, "out", "stage=cotracker3_online_real", "training.num_steps=1", *inputs)
    for override, message in (
        ("pseudo_labels.teachers=[other]", "other/weights.safetensors: this teacher's file is missing"),
        (f"pseudo_labels.teachers=[{tmp_path / 'x.npz'}]", "x.npz: this teacher's file is missing"),
        ("data.num_frames=99", "pack the videos in longer clips"),
        ("data.dataset=annotated", "annotated' is not packed"),
    ):
        assert main([*words, override]) == 2
        error = capsys.readouterr().err
        assert message in error and error.splitlines()[-1].startswith("error: "), error
