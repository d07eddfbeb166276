"""deepspeed_zero2: equal losses, and checkpoints that it and the other strategies go on from.

Needs the extra `deepspeed` and its CPU op, in the folder that FRAMELINE_DEEPSPEED_OP names:
`python -m trainer.deepspeed_op --out data/deepspeed_op`. Without them the trainings are skipped.
"""

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.trainer.many_processes import REPOSITORY, launch_all, start_all
from tests.trainer.test_strategy import (
    ROUNDING,
    STOP_IN_STEP_3,
    VALIDATED,
    checkpoints_of,
    difference,
    resumable,
    rows_of,
    run_all,
    training,
)
from tests.trainer.test_training import events_of, scores_in, sha256_of
from trainer import deepspeed_op
from trainer.config import compose
from trainer.interruption import EXIT_CODE
from trainer.launch import main as launch
from trainer.zero2 import Zero2Optimizer, settings

OP = Path(os.environ.get("FRAMELINE_DEEPSPEED_OP", "data/deepspeed_op")).resolve()
ZERO2 = "deepspeed_zero2"


@pytest.fixture
def built() -> Path:
    """The folder of DeepSpeed's CPU op."""
    if find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed: pip install -e '.[deepspeed]'")
    if not (OP / deepspeed_op.MARKER).exists():
        pytest.skip("DeepSpeed's CPU op is not built: python -m trainer.deepspeed_op --out data/deepspeed_op")
    return OP


def zero2(root: Path, folder: Path, system: str, *overrides: str) -> list[str]:
    """Overrides of a launch by DeepSpeed, as `training` gives those of the other strategies."""
    return training(root, folder, system, ZERO2, f"paths.deepspeed_op={OP}", *overrides)


STEPS = """
import sys
from pathlib import Path
from types import SimpleNamespace
import torch
from torch import nn
from trainer.config import compose
from trainer.distributed import process_group
from trainer.strategy import Objective, backward, clip_and_step, distribute, no_sync_unless, share_optimizer

def losses(model, x):
    return {"loss": model(x).float().sum()}
task = SimpleNamespace(parts_to_shard=lambda model: [model[0]], losses=losses)
def train(process, strategy, precision, broken=None):
    recipe = compose("lbm", [f"training.strategy={strategy}", f"training.precision={precision}"])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    objective = distribute(recipe, process, Objective(model, task))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    objective, optimizer = share_optimizer(recipe, process, objective, optimizer, Path(sys.argv[1]))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    for step in range(4):
        optimizer.zero_grad()
        for last in (False, True):
            x = torch.full((2, 3), 1.0 + process.rank + step + 0.5 * last)
            if step == broken and process.rank == 1:
                x[0, 0] = torch.inf
            with no_sync_unless(last, objective), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = objective(x)["loss"]
            backward(objective, scaler, loss / 2)
        norm = clip_and_step(objective, model, optimizer, scaler, recipe.optimizer.max_gradient_norm)
        bias = model.state_dict()["2.bias"]
        bias = bias.full_tensor() if strategy == "fsdp" else bias
        print(strategy, precision, broken, norm.item(), bias.item(), flush=True)
with process_group(1) as process:
    for precision in ("fp32", "bf16"):
        for strategy in ("ddp", "fsdp", "deepspeed_zero2"):
            train(process, strategy, precision)
    train(process, "deepspeed_zero2", "fp32", broken=1)
"""


@pytest.mark.slow
def test_steps_are_those_of_ddp_and_fsdp_also_in_bf16_and_a_broken_one_shows_for_ever(built):
    """Two micro-batches a step, gradients clipped; DeepSpeed itself would pass over a step that is not finite."""
    (_, first), (_, second) = start_all(STEPS, str(built), processes=2)
    rows, others = ([line.split() for line in told.splitlines() if "OVERFLOW" not in line] for told in (first, second))
    assert rows == others
    found = {
        (precision, strategy): np.array([row[3:] for row in rows if row[:3] == [strategy, precision, "None"]], float)
        for precision in ("fp32", "bf16")
        for strategy in ("ddp", "fsdp", ZERO2)
    }
    for precision in ("fp32", "bf16"):
        ddp = found[precision, "ddp"]
        assert ddp.shape == (4, 2) and ddp[:, 0].min() > 1, "clipped"
        for strategy in ("fsdp", ZERO2):
            np.testing.assert_allclose(found[precision, strategy], ddp, rtol=1e-5)
    assert np.abs(found["bf16", "ddp"] - found["fp32", "ddp"]).max() > 1e-4, "bf16 is another precision"
    norms = [float(row[3]) for row in rows if row[2] == "1"]
    assert np.isfinite(norms).tolist() == [True, False, False, False]


@pytest.mark.slow
def test_cotracker3_has_the_losses_of_ddp(tmp_path, dataset, built):
    dataset(num_clips=6)
    ddp, whole = tmp_path / "ddp", tmp_path / "zero2"
    run_all([training(tmp_path, ddp, "cotracker3", "ddp"), zero2(tmp_path, whole, "cotracker3")], processes=2)
    np.testing.assert_allclose(rows_of(whole), rows_of(ddp), rtol=1e-4)
    assert difference(ddp, whole) < ROUNDING


@pytest.mark.slow
def test_lbm_has_the_losses_of_ddp_and_fsdp_and_each_goes_on_from_the_other(tmp_path, dataset, built):
    """2 -> one process, 2 -> 4, ddp -> 2, fsdp -> 2; stopped and started again to the byte, as is the best so far."""
    dataset(num_clips=6)
    dataset("seen", num_clips=3, num_points=9)
    names = ("ddp", "fsdp", "zero2", "stopped", "alone", "from_ddp", "from_fsdp", "to_four")
    ddp, fsdp, whole, stopped, alone, from_ddp, from_fsdp, to_four = (tmp_path / name for name in names)
    with_ddp, with_fsdp = (training(tmp_path, folder, "lbm", folder.name) for folder in (ddp, fsdp))
    run_all([with_ddp, with_fsdp, zero2(tmp_path, whole, "lbm", *VALIDATED)], processes=2)
    assert checkpoints_of(whole) == ["checkpoint-00000002.pt", "checkpoint-00000004.pt"]
    assert (rows_of(ddp)[:, 1] > 1).any(), "gradients are clipped"
    for folder in (ddp, fsdp):
        np.testing.assert_allclose(rows_of(whole), rows_of(folder), rtol=1e-4)
        assert difference(folder, whole) < ROUNDING

    ended = launch_all([zero2(tmp_path, stopped, "lbm", *VALIDATED)], processes=2, before=STOP_IN_STEP_3)
    assert [code for code, _ in ended] == [EXIT_CODE] * 2 and "checkpoint-00000003.pt, and" in ended[0][1], ended
    run_all([zero2(tmp_path, stopped, "lbm", *VALIDATED)], processes=2)
    for name in ("weights.safetensors", "best.safetensors"):
        assert sha256_of(stopped / "out" / name) == sha256_of(whole / "out" / name), name
    scores = [list(map(scores_in, events_of(folder / "out" / "metrics.jsonl"))) for folder in (stopped, whole)]
    assert scores[0] == scores[1] and len(scores[0]) == 2

    went_on = [(whole, alone), (whole, to_four), (ddp, from_ddp), (fsdp, from_fsdp)]
    for source, folder in went_on:
        resumable(source, folder)
    for folder, processes in ((from_ddp, 2), (from_fsdp, 2), (to_four, 4)):
        run_all([zero2(tmp_path, folder, "lbm")], processes=processes)
    assert launch(zero2(tmp_path, alone, "lbm")) == 0
    for source, folder in went_on:
        np.testing.assert_allclose(rows_of(folder), rows_of(source), rtol=1e-4)
        assert difference(source, folder) < 1e-5, "the moments of AdamW went along"


def test_what_deepspeed_lacks_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(deepspeed_op, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"deepspeed_zero2 needs DeepSpeed; pip install 'frameline\[deepspeed\]'"):
        deepspeed_op.check_installed()
    with pytest.raises(ValueError, match=r"CPU op is not built there; python -m trainer.deepspeed_op --out"):
        deepspeed_op.load_op(tmp_path)
    with pytest.raises(ValueError, match=r"precision=fp16 does not go with training.strategy=deepspeed_zero2"):
        compose("lbm", [f"training.strategy={ZERO2}", "training.precision=fp16"])


def test_an_op_of_other_versions_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(deepspeed_op, "version", lambda name: "1.0")
    (tmp_path / deepspeed_op.NAME).mkdir()
    (tmp_path / deepspeed_op.NAME / f"{deepspeed_op.NAME}.so").touch()
    (tmp_path / deepspeed_op.MARKER).write_text(json.dumps(deepspeed_op.facts() | {"torch": "0.9"}))
    with pytest.raises(ValueError, match=r"'torch': '0.9'.*here is .*'torch': '1.0'.*python -m trainer.deepspeed_op"):
        deepspeed_op.load_op(tmp_path)


@pytest.mark.parametrize("counts", [[2.0], [2.0, 3.0]])
def test_moments_that_no_shard_can_hold_are_refused(counts):
    """Of one parameter of two, and of unequal counts."""
    model = nn.Linear(2, 3)
    own = torch.optim.AdamW(model.parameters())
    moments = {number: {"step": torch.tensor(count)} for number, count in enumerate(counts)}
    told = rf"moments of {len(counts)} of 2 parameters with {len(counts)} counts; use training.strategy=fsdp"
    with pytest.raises(ValueError, match=told):
        Zero2Optimizer([list(model.parameters())], own, None).load_state_dict({"state": moments})


def test_micro_batches_are_ours_and_gradients_travel_in_fp32():
    told = settings(compose("lbm", [f"training.strategy={ZERO2}", "training.precision=bf16"]))
    assert told["gradient_accumulation_steps"] == 1 and not told["managed_gradient_accumulation"]
    assert told["torch_autocast"] == {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    assert "torch_autocast" not in settings(compose("lbm", [f"training.strategy={ZERO2}", "training.precision=fp32"]))


@pytest.mark.slow
def test_a_build_that_was_killed_leaves_nothing_to_wait_for(tmp_path, built):
    """The lock that torch leaves behind would stop every later build."""
    folder = tmp_path / "op"
    shutil.copytree(built, folder)
    (folder / deepspeed_op.MARKER).unlink()
    (folder / deepspeed_op.NAME / "lock").touch()
    command = [sys.executable, "-m", "trainer.deepspeed_op", "--out", str(folder)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0 and "done in" in ended.stdout, ended.stderr
    assert json.loads((folder / deepspeed_op.MARKER).read_text()) == deepspeed_op.facts()
