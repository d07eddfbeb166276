"""The training loop: one screen, nothing hidden."""

import contextlib
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from trainer.batch import Batch
from trainer.checkpoint import load_checkpoint, load_into, save_checkpoint
from trainer.config import Recipe
from trainer.distributed import Process, mean_over_ranks
from trainer.optim import learning_rate_at, set_learning_rate
from trainer.progress import Progress
from trainer.run import Run

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(kw_only=True)
class State:
    """What a training changes. `objective(batch) -> dict of scalar losses` wraps the model (in DDP, or not)."""

    model: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int
    """Optimiser steps done."""
    num_steps: int
    """Optimiser steps of the whole training."""


def train(recipe: Recipe, run: Run, process: Process, state: State, loader: Iterable[Batch]) -> None:
    """Train in place from `state.step` to `state.num_steps`; checkpoints and metrics go to the run's folder.

    The sum of the losses is minimised. Every random draw of a step comes from (seed, step, rank), so a resumed run
    repeats an undisturbed one. Raises FloatingPointError when a logged value is not finite; the last checkpoint stays.
    """
    objective, optimizer, scaler = state.objective, state.optimizer, state.scaler
    start, num_steps = state.step, state.num_steps
    progress = Progress(run.metrics, recipe, start=start, num_steps=num_steps, process=process)
    state.model.train()
    num_skipped = 0  # since the last row
    for step, batch in enumerate(loader, start=start):
        num_skipped += int(batch.pop("num_skipped", torch.zeros(1)).sum())
        seed_step(recipe.training.seed, step, process.rank)
        learning_rate = learning_rate_at(step, num_steps, recipe.optimizer)
        set_learning_rate(optimizer, learning_rate)
        optimizer.zero_grad(set_to_none=True)
        losses: dict[str, torch.Tensor] = {}
        for last, micro_batch in micro_batches(batch, recipe.training.accumulation_steps, process.device):
            with no_sync_unless(last, objective), autocast(recipe, process.device):
                parts = objective(micro_batch)
                loss = torch.stack(list(parts.values())).sum() / recipe.training.accumulation_steps
            with no_sync_unless(last, objective):
                scaler.scale(loss).backward()
            for name, part in parts.items():
                losses[name] = losses.get(name, 0) + part.detach() / recipe.training.accumulation_steps
        scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.optimizer.max_gradient_norm)
        scaler.step(optimizer)
        scaler.update()

        state.step = done = step + 1
        is_save = done % recipe.training.save_every == 0 or done == num_steps
        if done % recipe.logging.log_every == 0 or is_save or step == start:
            values = torch.stack(
                [*losses.values(), norm.to(process.device), torch.tensor(float(num_skipped), device=process.device)]
            )
            *values, skipped = mean_over_ranks(values).tolist()
            row = dict(zip([*losses, "grad_norm"], values, strict=True))
            check_finite(row, step, run, scaler)
            progress.log(done, row, learning_rate, num_skipped=round(skipped * process.world_size))
            num_skipped = 0
        if is_save and process.is_main:
            save_checkpoint(run.checkpoint, resumable(run, state))
    progress.close()


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for one step: dropout and memory masks are a function of (seed, step, rank)."""
    torch.manual_seed((seed * 1_000_003 + step) * 4_099 + rank)


def micro_batches(
    batch: dict[str, torch.Tensor], parts: int, device: torch.device
) -> Iterator[tuple[bool, dict[str, torch.Tensor]]]:
    """Split a batch into equal micro-batches on the device; the flag says which is the last."""
    chunks = [{key: value.chunk(parts)[i] for key, value in batch.items()} for i in range(parts)]
    for i, chunk in enumerate(chunks):
        yield i == parts - 1, {key: value.to(device, non_blocking=True) for key, value in chunk.items()}


def no_sync_unless(last: bool, objective: nn.Module) -> contextlib.AbstractContextManager:
    """Exchange gradients between ranks only in the last micro-batch of a step."""
    if last or not isinstance(objective, DistributedDataParallel):
        return contextlib.nullcontext()
    return objective.no_sync()


def autocast(recipe: Recipe, device: torch.device) -> contextlib.AbstractContextManager:
    """Mixed precision of the recipe; losses and distances stay in fp32 inside the models."""
    dtype = AUTOCAST.get(recipe.training.precision)
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()


def check_finite(row: dict[str, float], step: int, run: Run, scaler: torch.amp.GradScaler) -> None:
    """Stop on NaN or infinity; an fp16 scaler skips steps whose gradients overflow, so there only losses count."""
    bad = [k for k, v in row.items() if not math.isfinite(v) and not (k == "grad_norm" and scaler.is_enabled())]
    if bad:
        print(f"step {step}: {row}", file=sys.stderr)
        raise FloatingPointError(
            f"{run.folder}: {', '.join(bad)} not finite at step {step}; the last checkpoint stays. "
            "Lower optimizer.learning_rate, or check the data (python -m shards verify)"
        )


def resumable(run: Run, state: State) -> dict[str, Any]:
    """Everything that the next step depends on."""
    return {
        "identity": run.identity,
        "step": state.step,
        "model": state.model.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
    }


def restore(run: Run, state: State) -> None:
    """Continue where the run's checkpoint, if there is one, left off."""
    if run.checkpoint.exists():
        saved = load_checkpoint(run.checkpoint, run.identity)
        load_into(state.model, saved["model"], run.checkpoint)
        state.optimizer.load_state_dict(saved["optimizer"])
        state.scaler.load_state_dict(saved["scaler"])
        state.step = saved["step"]
