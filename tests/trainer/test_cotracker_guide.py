"""CoTracker's training guide, point by point; docs/how-to/from-the-cotracker-guide.md says which test holds which.

What belongs to a module has its tests there; here are the points that no single module holds.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from safetensors.torch import load_file
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tests.trainer.test_loop import ALONE, Toy, batches, make_run, make_state, recipe_with, weights_of
from trainer.checkpoint import load_checkpoint
from trainer.export import main as export
from trainer.loop import micro_batches, no_sync_unless, restore, save, train
from trainer.models import build
from trainer.models.cotracker3 import task
from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.losses import Estimate, Truth, sum_losses
from trainer.published import read_published

SMALL = {"window": 6, "input_size": [32, 32], "encoder_widths": [4, 4, 4, 4], "feature_dim": 4, "num_levels": 2}
SMALL |= {"radius": 1, "correlation_dim": 4, "dim": 8, "num_heads": 2, "num_rounds": 1, "num_virtual_tracks": 2}
REPOSITORY = Path(__file__).parents[2]


def small(window: int = 6) -> nn.Module:
    torch.manual_seed(window)
    return build("cotracker3", **SMALL | {"window": window})


def two_ranks(work, folder: Path) -> None:
    torch.multiprocessing.start_processes(work, args=(folder,), nprocs=2, start_method="spawn")


# Explicit DDP and no_sync


def accumulate_on_a_rank(rank: int, folder: Path) -> None:
    """Gradients of four micro-batches, of which only the last exchanges anything."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model = Toy()
    objective, exchanged = DistributedDataParallel(model), []

    def exchange(state, bucket):
        exchanged.append(bucket.buffer().numel())
        dist.all_reduce(bucket.buffer())
        mean = torch.futures.Future()
        mean.set_result(bucket.buffer() / 2)
        return mean

    objective.register_comm_hook(None, exchange)
    batch = {key: value[rank * 4 : rank * 4 + 4] for key, value in batches(0, batch_size=8)[0].items()}
    for last, micro_batch in micro_batches(batch, 4, torch.device("cpu")):
        with no_sync_unless(last, objective):
            (objective(micro_batch)["square"] / 4).backward()
    gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    torch.save({"gradient": gradient, "exchanged": len(exchanged)}, folder / f"{rank}.pt")
    # Were DDP the last to own the group, its end would hold the interpreter's lock and wait for gloo's thread, which
    # may wait for that lock (pytorch issue 56297). In the trainer, too, the state is gone before the group.
    del objective
    dist.destroy_process_group()


def test_no_sync_k_accumulated_steps_on_two_ranks_equal_the_k_fold_batch(tmp_path):
    two_ranks(accumulate_on_a_rank, tmp_path)
    model = Toy()
    model(batches(0, batch_size=8)[0])["square"].backward()
    whole = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found["gradient"], whole)
        assert found["exchanged"] == 1, "only the last micro-batch exchanges gradients"


# Mixed precision


@pytest.mark.parametrize(("precision", "has_scaler"), [("fp32", False), ("bf16", False), ("fp16", True)])
def test_mixed_precision_scales_for_fp16_only(precision, has_scaler):
    assert make_state(recipe_with(f"training.precision={precision}")).scaler.is_enabled() == has_scaler


def test_mixed_precision_keeps_the_losses_in_fp32():
    generator = torch.Generator().manual_seed(0)
    config = Cotracker3Config(online=False)

    def losses(huber_delta: float | None, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        generator.manual_seed(0)
        points = 40 * torch.rand(1, 5, 7, 2, generator=generator)
        logits = torch.randn(2, 1, 5, 7, generator=generator).to(torch.bfloat16).to(dtype)
        noisy = (points + 3 * torch.randn(1, 5, 7, 2, generator=generator)).to(torch.bfloat16).to(dtype)
        truth = Truth(points=points, visible=logits[0] > 0, counted=torch.ones(1, 5, 7, dtype=torch.bool))
        estimate = Estimate(points=noisy, visibility=logits[0], confidence=logits[1])
        return sum_losses([[estimate]], [truth], config)

    plain = losses(6.0, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = losses(6.0, torch.bfloat16)
    for name, value in plain.items():
        assert mixed[name].dtype == torch.float32
        torch.testing.assert_close(mixed[name], value, rtol=1e-6, atol=0)


# Checkpoints


def legacy(kind: str, model: nn.Module) -> dict:
    """A file's content in one of the kinds of the guide."""
    weights = model.state_dict()
    if kind == "plain_state_dict":
        return weights
    if kind == "model_optimizer_scheduler_total_steps":
        optimizer = torch.optim.AdamW(model.parameters())
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=10, cycle_momentum=False)
        optimizer.step()
        states = {"optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict()}
        return {"model": weights, **states, "total_steps": 7}
    if kind == "module_prefix":
        return {f"module.{key}": value for key, value in weights.items()}
    if kind == "module_module_prefix":
        return {"model": {f"module.module.{key}": value for key, value in weights.items()}}
    if kind == "without_time_emb":
        return {key: value for key, value in weights.items() if key != "time_emb"}
    assert kind == "with_pos_emb"
    return weights | {"pos_emb": torch.zeros(1, 8, 4, 4)}


KINDS = ["plain_state_dict", "model_optimizer_scheduler_total_steps", "module_prefix", "module_module_prefix",
         "without_time_emb", "with_pos_emb"]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_of_each_legacy_kind_is_taken_in_by_export(tmp_path, kind):
    model, path = small(), tmp_path / "old.pth"
    torch.save(legacy(kind, model), path)
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    assert export(["--from", str(path), "--model", "cotracker3", "--out", str(tmp_path / "new"), *settings]) == 0
    taken = load_file(tmp_path / "new")
    assert taken.keys() == model.state_dict().keys()
    assert all(torch.equal(taken[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoint_of_each_legacy_kind_starts_a_training_with_another_window(tmp_path, kind):
    """By paths.init_weights: all that is learnt is read, and the time embedding stays the constructor's."""
    source, target, path = small(), small(window=8), tmp_path / "old.pth"
    torch.save(legacy(kind, source), path)
    own = target.time_emb.clone()
    fitted = task.fit_weights(read_published(path), target)
    target.load_state_dict(fitted, strict=True)
    assert torch.equal(target.time_emb, own) and own.shape[1] == 8
    learnt = dict(source.named_parameters())
    assert learnt and all(torch.equal(learnt[key], value) for key, value in target.named_parameters())


def test_checkpoint_export_refuses_the_time_embedding_of_another_window(tmp_path, capsys):
    torch.save(small(window=8).state_dict(), tmp_path / "online.pth")
    settings = [f"{key}={value}" for key, value in SMALL.items()]
    words = ["--from", str(tmp_path / "online.pth"), "--model", "cotracker3", "--out", str(tmp_path / "new")]
    assert export([*words, *settings]) == 2
    assert "time_emb has shape (1, 8," in capsys.readouterr().err


def test_checkpoint_of_a_launch_starts_from_a_file_of_torch_save(tmp_path, dataset, capsys):
    from tests.trainer.test_training import TINY
    from trainer.launch import main

    dataset(num_clips=4)
    paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
    words = [*TINY, *paths, "training.num_steps=1", "training.save_every=1"]
    assert main([*words, f"paths.output_dir={tmp_path / 'first'}"]) == 0
    weights = load_file(tmp_path / "first" / "weights.safetensors")
    torch.save(
        {"model": {f"module.{key}": value for key, value in weights.items()}, "total_steps": 1}, tmp_path / "old.pth"
    )
    start = [f"paths.output_dir={tmp_path / 'second'}", f"paths.init_weights={tmp_path / 'old.pth'}"]
    assert main([*words, *start]) == 0
    untrained = load_file(tmp_path / "second" / "untrained.safetensors")
    assert all(torch.equal(untrained[key], value) for key, value in weights.items())


def test_checkpoint_the_last_k_stay_and_a_damaged_newest_names_the_one_before(tmp_path):
    recipe, run = recipe_with("training.keep_checkpoints=2", "training.save_every=1"), make_run(tmp_path)
    train(recipe, run, ALONE, make_state(recipe), batches(0))
    older, newest = run.checkpoints
    assert [older.name, newest.name] == ["checkpoint-00000005.pt", "checkpoint-00000006.pt"]
    assert [load_checkpoint(path, "toy")["step"] for path in run.checkpoints] == [5, 6]
    through = make_state(recipe)
    restore(recipe, run, ALONE, through)
    newest.write_bytes(newest.read_bytes()[:500])
    with pytest.raises(ValueError, match=rf"{newest.name}: damaged .* go on from {older.name}: rm .*{newest.name}"):
        restore(recipe, run, ALONE, make_state(recipe))
    newest.unlink()
    again = make_state(recipe)
    restore(recipe, run, ALONE, again)
    assert again.step == 5
    train(recipe, run, ALONE, again, batches(5))
    np.testing.assert_array_equal(weights_of(again), weights_of(through))


def test_checkpoint_the_best_weights_that_an_older_one_names_stay(tmp_path):
    from trainer.validation import Best

    recipe, run, state = recipe_with("training.keep_checkpoints=2"), make_run(tmp_path), make_state(recipe_with())
    for step, best in ((2, 1), (4, 3), (6, 5)):
        run.best_weights(best).write_bytes(b"weights")
        state.step, state.best = step, Best(score=best / 10, step=best, settings="same")
        save(recipe, run, ALONE, state)
    assert sorted(path.name for path in tmp_path.glob("best-*")) == ["best-3.safetensors", "best-5.safetensors"]


def test_checkpoint_of_a_time_without_numbers_is_the_oldest(tmp_path):
    recipe, run, state = recipe_with(), make_run(tmp_path), make_state(recipe_with())
    state.step = 3
    save(recipe, run, ALONE, state)
    run.checkpoint(3).rename(tmp_path / "checkpoint.pt")
    again = make_state(recipe)
    restore(recipe, run, ALONE, again)
    assert again.step == 3
    state.step = 4
    save(recipe, run, ALONE, state)
    assert run.checkpoints == [run.checkpoint(4)]


# Entry point


def test_launch_lists_the_stages_and_says_how_to_use_several_gpus():
    told = subprocess.run(
        [sys.executable, "-m", "trainer.launch", "--help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    words = " ".join(told.stdout.split())
    assert "cotracker3_offline, " in words and "cotracker3_online, " in words and "torchrun --nproc_per_node=N" in words
