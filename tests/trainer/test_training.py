"""Real trainings with torchrun on two gloo processes: killed and resumed, they end with the same bytes."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.score import score_predictions
from trainer.config import SCORES

REPOSITORY = Path(__file__).parents[2]
TINY = [
    "stage=lbm",
    "model=lbm_small",
    "model.input_size=[32,32]",
    "model.dim=32",
    "model.num_layers=2",
    "model.memory_size=2",
    "model.dropout=0.1",
    "model.backbone_width=8",
    "data.dataset=toy",
    "data.crop_size=null",
    "data.num_frames=3",
    "data.num_points=6",
    "data.num_workers=0",
    "training.num_epochs=null",
    "training.num_steps=12",
    "training.batch_size=1",
    "training.precision=fp32",
    "training.threads=1",
    "training.save_every=3",
    "validation.dataset=null",
    "logging.log_every=1",
]
VALIDATED = ["validation.dataset=seen", "validation.every_steps=4"]


def command(folder: Path, *overrides: str, processes: int = 2) -> list[str]:
    paths = [f"paths.shards_root={folder / 'shards'}", f"paths.run_root={folder / 'runs'}"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    return [*torchrun, "-m", "trainer.launch", *TINY, *paths, f"paths.output_dir={folder / 'out'}", *overrides]


def run(*arguments, **settings):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(*arguments, **settings), cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def events_of(path) -> list[dict]:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [row for row in rows if row.get("event") == "validation"]


def score_of(weights, index, folder, *words: str) -> dict[str, float]:
    """What the benchmark says about a weights file."""
    from trainer.predict import main as predict

    out = folder / "predictions.npz"
    assert predict(["--weights", str(weights), "--truth", str(index), "--out", str(out), *words]) == 0
    mean = score_predictions(out, index)["mean"]
    return {name: mean[key] for name, key in SCORES.items()}


def scores_in(row: dict) -> dict[str, float]:
    return {name: row[name] for name in SCORES}


def steps_done(folder: Path) -> int:
    metrics = list((folder / "runs").rglob("metrics.jsonl"))
    return metrics[0].read_text().count("grad_norm") if metrics else 0


def test_kill_9_then_again_gives_the_same_weights(tmp_path, dataset):
    """And the same best weights, whose score on two ranks is what the benchmark says in one process."""
    dataset(num_clips=6)
    seen = dataset("seen", num_clips=3, num_points=9)  # ranks have two videos and one
    (tmp_path / "killed").mkdir()
    (tmp_path / "killed" / "shards").symlink_to(tmp_path / "shards")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command(tmp_path / "killed", *VALIDATED), cwd=REPOSITORY, env=environment, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while steps_done(tmp_path / "killed") < 7 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)  # torchrun dies; its workers follow by themselves
    process.wait()
    assert not (tmp_path / "killed" / "out").exists(), "a killed training must leave nothing that looks finished"
    again = run(tmp_path / "killed", *VALIDATED)
    assert again.returncode == 0, again.stderr
    assert re.search(r"resuming at step [689] of 12", again.stderr)
    calm = run(tmp_path, *VALIDATED)
    assert calm.returncode == 0, calm.stderr
    for name in ("weights.safetensors", "untrained.safetensors", "best.safetensors", "recipe.yaml"):
        assert sha256_of(tmp_path / "killed" / "out" / name) == sha256_of(tmp_path / "out" / name), name
    assert sha256_of(tmp_path / "out" / "weights.safetensors") != sha256_of(tmp_path / "out" / "untrained.safetensors")
    rows = [json.loads(line) for line in (tmp_path / "killed" / "out" / "metrics.jsonl").read_text().splitlines()]
    validated = events_of(tmp_path / "killed" / "out" / "metrics.jsonl")
    assert [event["step"] for event in validated] == [4, 8, 12]
    assert scores_in(validated[-1]) == score_of(tmp_path / "out" / "weights.safetensors", seen, tmp_path)
    rows = [row for row in rows if "event" not in row]
    assert [row["step"] for row in rows] == list(range(1, 13))
    assert {"loss", "learning_rate", "grad_norm", "clips_per_second", "classification_loss"} <= rows[0].keys()


def test_a_changed_recipe_or_code_never_resumes(tmp_path, dataset, capsys):
    from trainer.launch import main

    def train(*overrides: str) -> str:
        paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
        output = f"paths.output_dir={tmp_path / 'out'}"
        assert main([*TINY, *paths, output, "training.num_steps=2", *overrides]) == 0
        return capsys.readouterr().err

    dataset(num_clips=6)
    train()
    first = sha256_of(tmp_path / "out" / "weights.safetensors")
    for override in ("optimizer.learning_rate=1.0e-3", "paths.source_digest=other"):
        told = train(override)
        assert "training 2 steps" in told and "resuming" not in told
    assert len(list((tmp_path / "runs" / "lbm").iterdir())) == 3
    assert "resuming at step 2 of 2" in train()
    assert sha256_of(tmp_path / "out" / "weights.safetensors") == first


def test_an_index_is_no_file_to_start_from(tmp_path, dataset, capsys):
    """The run's identity would know the index alone, and so resume with other weights."""
    from trainer.launch import main

    dataset(num_clips=4)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text("{}")
    paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
    assert main([*TINY, *paths, f"paths.init_weights={index}"]) == 2
    assert f"take it in first: python -m trainer.export --from {index} --out FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.num_stepz=3"], "unknown key 'training.num_stepz', did you mean 'training.num_steps'?"),
        (["data.dataset=nowhere"], "data set 'nowhere' is not packed; run `snakemake data` first"),
        (["training.precision=bf16"], "training.precision=bf16 needs a GPU"),
        (["model.input_size=[33,32]"], "model.input_size=[33, 32]: height and width must be multiples of 32"),
        (["paths.init_weights=missing.safetensors"], "missing.safetensors: the weights to start from are missing"),
        (
            ["training.lora={rank: 2, alpha: 2, modules: [fc9]}"],
            "training.lora.modules: no linear layer is called 'fc9'",
        ),
    ],
)
def test_mistakes_end_in_one_clear_line(tmp_path, dataset, overrides, message, capsys):
    from trainer.launch import main

    dataset(num_clips=4)
    paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
    assert main([*TINY, *paths, *overrides]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
