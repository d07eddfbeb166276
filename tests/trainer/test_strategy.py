"""ddp, fsdp and hsdp: equal losses, checkpoints that any of them and any number of processes go on from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from tests.trainer.many_processes import launch_all, start_all
from tests.trainer.test_cotracker_training import MINIATURE
from tests.trainer.test_training import TINY, events_of, score_of, scores_in, sha256_of
from trainer.config import compose
from trainer.interruption import EXIT_CODE
from trainer.launch import main as launch
from trainer.run import describe_run, fit_to_processes
from trainer.sharded import load_sharded, save_sharded

FOUR = ["training.num_steps=4", "training.save_every=2", "training.keep_checkpoints=2", "training.global_batch_size=4"]
SYSTEMS = {
    "lbm": [*TINY, "model.dropout=0.0"],
    "cotracker3": [
        "stage=cotracker3_offline",
        "model=cotracker3_offline_small",
        *MINIATURE,
        "model.recompute=true",
        "data.num_frames=6",
        "data.min_frames=null",
        "data.dataset=toy",
        "data.crop_size=null",
        "training.batch_size=1",
        "logging.log_every=1",
    ],
}
VALIDATED = ["validation.dataset=seen", "validation.every_steps=2"]
TAKEN_AWAY = [f"backbone.{name}.bias" for name in ("proj1", "proj2", "proj3", "fusion.0")]
"""Batch norm subtracts these biases again: their gradients are rounding, which AdamW blows up to its learning rate."""
ROUNDING = 1e-3
"""Sums in another order, after the first steps of AdamW: these are as long for the smallest gradient as for any."""
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
"""Statistics of rank 0's clips, which are others on another number of processes."""


def training(root: Path, folder: Path, system: str, strategy: str, *overrides: str) -> list[str]:
    """Overrides of a launch that trains four steps with a global batch of four clips."""
    paths = [f"paths.shards_root={root / 'shards'}", f"paths.run_root={folder / 'runs'}"]
    own = [f"paths.output_dir={folder / 'out'}", f"training.strategy={strategy}"]
    return [*SYSTEMS[system], *FOUR, *paths, *own, *overrides]


def run_all(trainings: list[list[str]], **where) -> None:
    """Launch them; every process must end well."""
    ended = launch_all(trainings, **where)
    assert [code for code, _ in ended] == [0] * len(ended), "\n".join(err[-2000:] for _, err in ended)


def rows_of(folder: Path) -> np.ndarray:
    """The sum of the losses and the norm of the gradients of every step, (S, 2)."""
    rows = [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]
    return np.array([[row["loss"], row["grad_norm"]] for row in rows if "event" not in row])


def checkpoints_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("runs/*/*/checkpoint-*"))


def resumable(source: Path, folder: Path) -> Path:
    """A copy of a training's runs as they were after step 2."""
    shutil.copytree(source / "runs", folder / "runs")
    for path in folder.glob("runs/*/*/checkpoint-00000004.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert len(checkpoints_of(folder)) == 1
    return folder


def difference(one: Path, other: Path) -> float:
    """How far two trainings' parameters are from one another, as a share of how far the first one moved (L2)."""
    first, second = (load_file(folder / "out" / "weights.safetensors") for folder in (one, other))
    untrained = load_file(one / "out" / "untrained.safetensors")
    assert list(first) == list(second)
    learnt = [key for key in first if key not in TAKEN_AWAY and not key.endswith(BUFFERS)]
    apart, moved = (
        torch.cat([(first[key] - than[key]).float().flatten() for key in learnt]).norm().item()
        for than in (second, untrained)
    )
    assert moved > 0.01, "it must have learned something"
    return apart / moved


@pytest.mark.parametrize("system", ["lbm", pytest.param("cotracker3", marks=pytest.mark.slow)])
def test_fsdp_has_the_losses_of_ddp_and_each_goes_on_from_the_other(tmp_path, dataset, system):
    """Also in one process, which has all of the model: 2 -> 1, ddp -> fsdp, fsdp -> ddp."""
    dataset(num_clips=6)
    ddp, fsdp, to_fsdp, to_ddp, alone = (tmp_path / name for name in ("ddp", "fsdp", "to_fsdp", "to_ddp", "alone"))
    run_all([training(tmp_path, ddp, system, "ddp"), training(tmp_path, fsdp, system, "fsdp")], processes=2)
    assert checkpoints_of(ddp) == ["checkpoint-00000002.pt", "checkpoint-00000004.pt"]
    assert checkpoints_of(fsdp) == ["checkpoint-00000002.sharded", "checkpoint-00000004.sharded"]
    np.testing.assert_allclose(rows_of(fsdp), rows_of(ddp), rtol=1e-4)
    assert difference(ddp, fsdp) < ROUNDING
    for source, folder in ((ddp, to_fsdp), (fsdp, to_ddp), (fsdp, alone)):
        resumable(source, folder)
    crossed = [training(tmp_path, to_fsdp, system, "fsdp"), training(tmp_path, to_ddp, system, "ddp")]
    run_all(crossed, processes=2)
    assert launch(training(tmp_path, alone, system, "fsdp")) == 0
    for source, folder in ((ddp, to_fsdp), (fsdp, to_ddp), (fsdp, alone)):
        np.testing.assert_allclose(rows_of(folder), rows_of(source), rtol=1e-4)
        assert difference(source, folder) < 1e-5, "the moments of AdamW went along"
    assert checkpoints_of(alone)[-1] == "checkpoint-00000004.pt", "a process alone has nothing to shard"


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_hsdp_on_two_nodes_has_the_losses_of_ddp_and_goes_on_from_two_processes(tmp_path, dataset, system):
    """Two nodes of two processes; 2 -> 4, fsdp -> hsdp, hsdp -> ddp."""
    dataset(num_clips=6)
    ddp, fsdp, hsdp, to_hsdp, to_four, to_ddp = (
        tmp_path / name for name in ("ddp", "fsdp", "hsdp", "to_hsdp", "to_four", "to_ddp")
    )
    run_all([training(tmp_path, ddp, system, "ddp"), training(tmp_path, fsdp, system, "fsdp")], processes=2)
    resumable(fsdp, to_hsdp)
    resumable(ddp, to_four)
    four = [(hsdp, "hsdp"), (to_hsdp, "hsdp"), (to_four, "fsdp")]
    run_all([training(tmp_path, folder, system, strategy) for folder, strategy in four], processes=4, per_node=2)
    resumable(hsdp, to_ddp)
    run_all([training(tmp_path, to_ddp, system, "ddp")], processes=2)
    for folder in (fsdp, hsdp, to_hsdp, to_four, to_ddp):
        np.testing.assert_allclose(rows_of(folder), rows_of(ddp), rtol=1e-4)
    assert max(difference(ddp, folder) for folder in (fsdp, hsdp)) < ROUNDING
    for source, folder in ((fsdp, to_hsdp), (ddp, to_four), (hsdp, to_ddp)):
        assert difference(source, folder) < 1e-5, "the moments of AdamW went along"


STOP_IN_STEP_3 = """
import os, signal
from trainer.interruption import StopRequest
calls, is_agreed = [], StopRequest.is_agreed
def is_agreed_now(self):
    calls.append(0)
    if len(calls) == 3 and os.environ["RANK"] == "1":
        os.kill(os.getpid(), signal.SIGUSR1)
    return is_agreed(self)
StopRequest.is_agreed = is_agreed_now
"""


@pytest.mark.slow
def test_a_sharded_training_is_validated_and_stopped_as_any_other(tmp_path, dataset):
    """best.safetensors is that of ddp to rounding; SIGUSR1 saves the shards, and the same command ends alike."""
    dataset(num_clips=6)
    seen = dataset("seen", num_clips=3, num_points=9)
    folders = {name: tmp_path / name for name in ("ddp", "fsdp", "stopped")}
    words = {
        name: training(tmp_path, folder, "lbm", name.replace("stopped", "fsdp"), *VALIDATED)
        for name, folder in folders.items()
    }
    run_all([words["ddp"], words["fsdp"]], processes=2)
    stopping = (
        f"import os, signal; from trainer.interruption import StopRequest as S; a = S.is_agreed\n{STOP_IN_STEP_3}"
    )
    ended = launch_all([words["stopped"]], processes=2, before=stopping)
    assert [code for code, _ in ended] == [EXIT_CODE] * 2 and "checkpoint-00000003.sharded, and" in ended[0][1], ended
    assert checkpoints_of(folders["stopped"])[-1] == "checkpoint-00000003.sharded"
    run_all([words["stopped"]], processes=2)
    for name in ("weights.safetensors", "best.safetensors"):
        assert sha256_of(folders["stopped"] / "out" / name) == sha256_of(folders["fsdp"] / "out" / name), name
    events = {name: events_of(folder / "out" / "metrics.jsonl") for name, folder in folders.items()}
    assert [row["step"] for row in events["fsdp"]] == [2, 4]
    assert [scores_in(row) for row in events["stopped"]] == [scores_in(row) for row in events["fsdp"]]
    for ours, theirs in zip(events["fsdp"], events["ddp"], strict=True):
        assert scores_in(ours) == pytest.approx(scores_in(theirs), abs=0.02)
    assert scores_in(events["fsdp"][-1]) == score_of(folders["fsdp"] / "out" / "weights.safetensors", seen, tmp_path)


SCALED = """
import torch
from torch import nn
from types import SimpleNamespace
from trainer.config import compose
from trainer.distributed import process_group
from trainer.strategy import Objective, clip_gradients, distribute, no_sync_unless

task = SimpleNamespace(parts_to_shard=lambda model: [model[0]], losses=lambda model, x: {"loss": model(x).sum()})
def train(process, strategy):
    recipe = compose("lbm", ["training.strategy=" + strategy])
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))
    objective = distribute(recipe, process, Objective(model, task))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, enabled=True)
    for step in range(3):
        optimizer.zero_grad()
        for last in (False, True):
            x = torch.full((2, 3), 1.0 + process.rank + step + 0.5 * last)
            if step == 1 and process.rank == 1 and last:
                x[0, 0] = torch.inf
            with no_sync_unless(last, objective):
                scaler.scale(objective(x)["loss"]).backward()
        scaler.unscale_(optimizer)
        norm = clip_gradients(model, 1.0)
        scaler.step(optimizer)
        scaler.update()
        after = nn.utils.get_total_norm([parameter.grad for parameter in model.parameters()])
        bias = model.state_dict()["1.bias"]
        after, bias = (x.full_tensor() if strategy == "fsdp" else x for x in (after, bias))
        print(strategy, f"{norm:.5f} {after:.5f} {scaler.get_scale()} {bias.item():.5f}", flush=True)
with process_group(1) as process:
    for strategy in ("ddp", "fsdp"):
        train(process, strategy)
"""


def test_scaling_clipping_and_accumulating_are_those_of_ddp(tmp_path):
    """An overflow in one process's gradients, which lie in one shard, makes all of them skip the step."""
    (_, first), (_, second) = start_all(SCALED, processes=2)
    assert first == second
    rows = [line.split() for line in first.splitlines()]
    ddp, fsdp = ([row[1:] for row in rows if row[0] == strategy] for strategy in ("ddp", "fsdp"))
    assert fsdp == ddp
    assert [row[2] for row in ddp] == ["4.0", "2.0", "2.0"], "the second step overflows"
    assert ddp[0][1] == "1.00000" and float(ddp[0][0]) > 1 and ddp[1][3] == ddp[0][3] != ddp[2][3]


IN_BF16 = """
import json, sys
import torch
from pathlib import Path
from trainer.batch import make_loader
from trainer.config import compose_launch
from trainer.distributed import process_group
from trainer.loop import add_gradients, seed_step
from trainer.models import TASKS
from trainer.strategy import Objective, distribute
from types import SimpleNamespace

def gradients(process, index, words, strategy, precision):
    how = [f"training.strategy={strategy}", f"training.precision={precision}", "data.num_workers=0"]
    recipe, _ = compose_launch(words[0].removeprefix("stage="), [*words[1:], *how])
    task = TASKS[recipe.model["name"]]
    torch.manual_seed(0)
    model = task.build(recipe.model)
    objective = distribute(recipe, process, Objective(model, task))
    loader = make_loader(recipe, Path(index), start=0, num_steps=1, rank=process.rank, world_size=process.world_size)
    batch = next(iter(loader))
    batch.pop("num_skipped", None)
    seed_step(0, 0, process.rank)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = SimpleNamespace(objective=objective, labeller=None, step=0, scaler=scaler)
    losses = add_gradients(recipe, process, state, batch)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    own = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    found = [grad.full_tensor() if strategy == "fsdp" else grad for grad in own]
    return torch.stack(list(losses.values())).sum(), torch.cat([grad.flatten() for grad in found])
with process_group(1) as process:
    words = json.loads(sys.argv[2])
    ddp, fsdp, exact = (
        gradients(process, sys.argv[1], words, *how) for how in (("ddp", "bf16"), ("fsdp", "bf16"), ("ddp", "fp32"))
    )
    off = [((found - than).norm() / than.norm()).item() for found, than in ((fsdp[1], ddp[1]), (ddp[1], exact[1]))]
    print(json.dumps([ddp[0].item(), fsdp[0].item(), *off]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_in_bf16_the_losses_and_gradients_of_shards_are_those_of_ddp(dataset, system):
    """Autocast's in both: parts are gathered in fp32, for not all of what the models do with weights takes bf16."""
    index = dataset(num_clips=4)
    told = start_all(IN_BF16, str(index), json.dumps(SYSTEMS[system]), processes=2)
    for _, out in told:
        ddp, fsdp, apart, of_bf16 = json.loads(out)
        assert fsdp == pytest.approx(ddp, rel=1e-6) and apart < 1e-5
        assert of_bf16 > 1e-4, "bf16 is another precision"


MESH = """
import sys
from trainer.distributed import process_group
from trainer.strategy import make_mesh
with process_group(1) as process:
    try:
        print(make_mesh("hsdp", process).mesh.tolist())
    except ValueError as error:
        print(error)
"""


def test_hsdp_shards_within_a_node_and_refuses_unequal_nodes():
    told = start_all(MESH, processes=4, per_node=2)
    assert [out.strip() for _, out in told] == ["[[0, 1], [2, 3]]"] * 4
    told = start_all(MESH, processes=3, per_node=2)
    assert all("equally many processes on every node; their ranks on the nodes are [0, 1, 0]" in out for _, out in told)


def test_the_strategy_is_no_part_of_a_runs_identity_and_the_global_batch_stands_for_the_processes(tmp_path, dataset):
    dataset(num_clips=6)
    from trainer.config import compose_launch

    def identity(world_size: int, *overrides: str) -> str:
        words = [word for word in TINY if not word.startswith("stage=")]
        recipe, paths = compose_launch("lbm", [*words, f"paths.shards_root={tmp_path / 'shards'}", *overrides])
        return describe_run(recipe, paths, world_size).identity

    assert identity(2) == identity(2, "training.strategy=fsdp") == identity(2, "training.strategy=hsdp")
    assert identity(2) != identity(1), "other processes draw other dropout"
    whole = "training.global_batch_size=4"
    assert identity(2, whole) == identity(4, whole) != identity(2)
    assert identity(2, whole, "training.accumulation_steps=2") == identity(2, whole)
    assert identity(2, whole) != identity(2, "training.global_batch_size=8")


def test_a_global_batch_is_dealt_in_whole_micro_batches_and_what_does_not_fit_is_refused():
    recipe = compose("lbm", ["training.global_batch_size=16", "training.batch_size=4"])
    steps = {world: fit_to_processes(recipe, world).training.accumulation_steps for world in (1, 2, 4)}
    assert steps == {1: 4, 2: 2, 4: 1}
    with pytest.raises(ValueError, match=r"global_batch_size=16 cannot be dealt to 3 processes in micro-batches of 4"):
        fit_to_processes(recipe, 3)
    other = compose("lbm", ["training.global_batch_size=16", "training.batch_size=4", "training.accumulation_steps=3"])
    with pytest.raises(ValueError, match=r"accumulation_steps=3, but training.global_batch_size=16 on 2 processes"):
        fit_to_processes(other, 2)
    with pytest.raises(ValueError, match=r"global_batch_size=6 must be a multiple of training.batch_size=4"):
        compose("lbm", ["training.global_batch_size=6", "training.batch_size=4"])
    with pytest.raises(ValueError, match=r"training.strategy=fspd: did you mean 'fsdp'"):
        compose("lbm", ["training.strategy=fspd"])
    with pytest.raises(ValueError, match=r"compile=true goes with training.strategy=ddp only, not with hsdp"):
        compose("lbm", ["training.strategy=hsdp", "training.compile=true"])


@pytest.fixture
def sharded(tmp_path) -> tuple[Path, nn.Module, torch.optim.Optimizer]:
    """A checkpoint folder of one process, which is a group of its own, with its model and optimiser."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        for step in (1, 2):
            save_sharded(tmp_path / f"checkpoint-{step}.sharded", model, optimizer, {"identity": "toy", "step": step})
    finally:
        dist.destroy_process_group()
    return tmp_path / "checkpoint-2.sharded", model, optimizer


def test_a_sharded_checkpoint_comes_back_whole(sharded):
    path, model, optimizer = sharded
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    again = torch.optim.AdamW(other.parameters())
    assert load_sharded(path, "toy", other, again) == {"identity": "toy", "step": 2}
    for key, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)
    was, now = optimizer.state_dict(), again.state_dict()
    assert was["state"].keys() == now["state"].keys() == set(range(4))
    for number, moments in was["state"].items():
        for key, value in moments.items():
            torch.testing.assert_close(now["state"][number][key], value, rtol=0, atol=0)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["flipped", "missing", "no_state", "not_json"])
def test_a_damaged_shard_is_named_with_the_checkpoint_before(sharded, damage):
    path, model, optimizer = sharded
    (file,) = path.glob("*.safetensors")
    state = path / "state.json"
    {
        "flipped": lambda: flip(file),
        "missing": file.unlink,
        "no_state": state.unlink,
        "not_json": lambda: state.write_text("{"),
    }[damage]()
    wrong = file.name if damage in ("flipped", "missing") else "state.json"
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        ValueError, match=rf"damaged checkpoint \({wrong}.*go on from checkpoint-1.sharded: rm -r "
    ) as told:
        load_sharded(path, "toy", model, optimizer, path.with_name("checkpoint-1.sharded"))
    assert "\n" not in str(told.value)
    assert all(torch.equal(model.state_dict()[key], value) for key, value in before.items())
    with pytest.raises(ValueError, match="checkpoint of another recipe"):
        load_sharded(path.with_name("checkpoint-1.sharded"), "other", model, optimizer)


def test_a_sharded_checkpoint_of_another_model_is_refused(sharded):
    path, _, _ = sharded
    other = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="damaged checkpoint"):
        load_sharded(path, "toy", other, torch.optim.AdamW(other.parameters()))
