"""The training loop: one screen, nothing hidden."""

import contextlib
import math
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from shards.files import remove
from trainer.batch import Batch
from trainer.checkpoint import check_keys, load_checkpoint, save_checkpoint
from trainer.config import Recipe
from trainer.distributed import Process, barrier, mean_over_ranks
from trainer.drawer import Drawer
from trainer.ema import Ema, averaged
from trainer.finite import FirstBadStep, NotFiniteError
from trainer.hang import Watch
from trainer.interruption import StopRequest
from trainer.mixture import clips_of_step
from trainer.optim import learning_rate_at, numbered, set_learning_rate
from trainer.progress import Progress
from trainer.pseudo.labels import Labeller
from trainer.run import Run
from trainer.sharded import load_sharded, save_sharded
from trainer.strategy import backward, clip_and_step, is_sharded, no_sync_unless, shard_like, whole_model
from trainer.validation import Best, Validator, forget_other_best
from trainer.wandb_mirror import WandbMirror
from trainer.zero2 import Zero2Optimizer

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(kw_only=True)
class State:
    """What a training changes. `objective(batch) -> dict of scalar losses` wraps the model (in DDP, say, or not)."""

    model: nn.Module
    objective: nn.Module
    optimizer: torch.optim.Optimizer | Zero2Optimizer
    scaler: torch.amp.GradScaler
    step: int
    """Optimiser steps done."""
    num_steps: int
    """Optimiser steps of the whole training."""
    num_clips: int
    """Clips of the data set: with the step they say what is read next."""
    sizes: tuple[int, ...] = ()
    """Clips of each data set, where several are mixed."""
    best: Best | None = None
    """The best validation so far."""
    labeller: Labeller | None = None
    """Who labels the batches where clips have no tracks."""
    owes_validation: bool = False
    """Whether the training was asked to stop before a validation that was due after this step."""
    ema: Ema | None = None
    """The average of the weights, where the recipe asks for one."""
    drawer: Drawer | None = None
    """Who writes down what the model makes, where the recipe asks for it."""

    def average(self) -> None:
        """Take the weights after `step` into their average, where there is one."""
        if self.ema:
            self.ema.update(self.step)


def train(
    recipe: Recipe,
    run: Run,
    process: Process,
    state: State,
    loader: Iterable[Batch],
    validator: Validator | None = None,
    stop: StopRequest | None = None,
    mirror: WandbMirror | None = None,
    watch: Watch | None = None,
) -> None:
    """Train in place from `state.step` to `state.num_steps`, or until the state is saved once `stop` is asked for.

    The sum of the losses is minimised. Every random draw of a step comes from (seed, step, rank). A step that the fp16
    scaler skips counts as done. Raises NotFiniteError when a logged value is not finite; the last checkpoint stays.
    """
    optimizer, scaler, watch = state.optimizer, state.scaler, watch or Watch(None)
    start, num_steps, first_bad = state.step, state.num_steps, FirstBadStep(process.device)
    progress = Progress(run, recipe, start=start, num_steps=num_steps, process=process, mirror=mirror)
    state.model.train()
    num_skipped = 0  # since the last row
    watch.step(start)
    for step, batch in enumerate(loader, start=start):
        num_skipped += sum(batch.pop("num_skipped").tolist()) if "num_skipped" in batch else 0
        seed_step(recipe.training.seed, step, process.rank)
        learning_rate = learning_rate_at(step, num_steps, recipe.optimizer)
        set_learning_rate(optimizer, learning_rate)
        optimizer.zero_grad(set_to_none=True)
        losses: dict[str, torch.Tensor] = {}
        for last, micro_batch in micro_batches(batch, recipe.training.accumulation_steps, process.device):
            with no_sync_unless(last, state.objective):
                for name, part in add_gradients(recipe, process, state, micro_batch).items():
                    losses[name] = losses.get(name, 0) + part
        norm = clip_and_step(state.objective, state.model, optimizer, scaler, recipe.optimizer.max_gradient_norm)

        state.step = done = step + 1
        state.average()
        first_bad.note(step, losses, None if scaler.is_enabled() else norm)
        is_stop = stop is not None and stop.is_agreed() and done < num_steps
        is_due = validator is not None and validator.is_due(done, num_steps)
        is_validation, state.owes_validation = is_due and not is_stop, is_due and is_stop
        is_save = done % recipe.training.save_every == 0 or done == num_steps or is_validation or is_stop
        if done % recipe.logging.log_every == 0 or is_save or step == start:
            row, skipped_clips = read_row(losses, norm, num_skipped, process)
            check_finite(row, step, run, scaler, first_bad)
            progress.log(done, row, learning_rate, num_skipped=skipped_clips, scaling=scaling_of(state))
            num_skipped = 0
        if is_save:
            watch.pause()  # a validation, or a slow disk, may take longer than a step
            if is_validation:
                score(recipe, state, validator, progress)
            save(recipe, run, process, state)
        if state.drawer and state.drawer.is_due(done):
            watch.pause()
            draw(recipe, state)
        if is_stop:
            stop.requeue()  # before anything that may wait for a network
            break
        watch.step(done)
    progress.close()


def add_gradients(
    recipe: Recipe, process: Process, state: State, micro_batch: dict[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Add a micro-batch's share of the step to the gradients; its losses by name, of which none holds its graph."""
    with autocast(recipe, process.device):
        batch = state.labeller.label(micro_batch, state.step) if state.labeller else micro_batch
        losses = state.objective(batch)
        share = torch.stack(list(losses.values())).sum() / recipe.training.accumulation_steps
    backward(state.objective, state.scaler, share)
    return {name: loss.detach() / recipe.training.accumulation_steps for name, loss in losses.items()}


def validate_now(
    recipe: Recipe, run: Run, process: Process, state: State, validator: Validator, mirror: WandbMirror | None = None
) -> None:
    """Score a model between steps: one that was asked to stop before, or one whose steps were all done before."""
    progress = Progress(run, recipe, start=state.step, num_steps=state.num_steps, process=process, mirror=mirror)
    score(recipe, state, validator, progress)
    state.owes_validation = False
    progress.close()
    save(recipe, run, process, state)


def score(recipe: Recipe, state: State, validator: Validator, progress: Progress) -> None:
    """Score the model after the steps done, with all of its weights in every process, and note the best so far.

    Where weights are averaged, their averages are what is scored.
    """
    with averaged(state.model, state.ema):
        whole = whole_model(recipe, state.objective, state.model)
        state.best = validator.validate(whole, state.best, state.step, progress)


def draw(recipe: Recipe, state: State) -> None:
    """Let rank 0 draw what the model makes after the steps done, with all of its weights; the others wait.

    Where weights are averaged, their averages are what is drawn. No draw of a random number is the training's own.
    """
    with averaged(state.model, state.ema):
        whole = whole_model(recipe, state.objective, state.model)
        state.drawer.draw(whole, state.step)
        barrier()


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for one step: dropout and memory masks are a function of (seed, step, rank)."""
    torch.manual_seed(seed_of(seed, step, rank))


def seed_of(seed: int, step: int, rank: int) -> int:
    """The seed of all of torch's generators, on CPU and GPUs, in one step of one rank."""
    return (seed * 1_000_003 + step) * 4_099 + rank


def micro_batches(
    batch: dict[str, torch.Tensor], parts: int, device: torch.device
) -> Iterator[tuple[bool, dict[str, torch.Tensor]]]:
    """Split a batch into equal micro-batches on the device; the flag says which is the last."""
    chunks = [{key: value.chunk(parts)[i] for key, value in batch.items()} for i in range(parts)]
    for i, chunk in enumerate(chunks):
        yield i == parts - 1, {key: value.to(device, non_blocking=True) for key, value in chunk.items()}


def autocast(recipe: Recipe, device: torch.device) -> contextlib.AbstractContextManager:
    """Mixed precision of the recipe; losses and distances stay in fp32 inside the models."""
    dtype = AUTOCAST.get(recipe.training.precision)
    return torch.autocast(device.type, dtype) if dtype else contextlib.nullcontext()


def read_row(
    losses: dict[str, torch.Tensor], norm: torch.Tensor, num_skipped: int, process: Process
) -> tuple[dict[str, float], int]:
    """Losses and `grad_norm` as numbers, means over all ranks, and the clips that all of them skipped."""
    skipped = torch.tensor(float(num_skipped), device=process.device)
    *values, skipped = mean_over_ranks(torch.stack([*losses.values(), norm.to(process.device), skipped])).tolist()
    return dict(zip([*losses, "grad_norm"], values, strict=True)), round(skipped * process.world_size)


def scaling_of(state: State) -> dict[str, float]:
    """The scale of an fp16 training's loss, and how many of its steps so far the scaler has skipped; else nothing."""
    if not state.scaler.is_enabled():
        return {}
    updates = max((int(moments["step"]) for moments in state.optimizer.state.values()), default=0)
    return {"scale": state.scaler.get_scale(), "skipped_steps": state.step - updates}


def check_finite(
    row: dict[str, float], step: int, run: Run, scaler: torch.amp.GradScaler, first_bad: FirstBadStep
) -> None:
    """Stop on NaN or infinity; an fp16 scaler skips steps whose gradients overflow, so there only losses count.

    All processes call it together. Raises NotFiniteError with the first step, since the last row, that was not finite.
    """
    bad = [k for k, v in row.items() if not math.isfinite(v) and not (k == "grad_norm" and scaler.is_enabled())]
    if not bad:
        first_bad.forget()
        return
    first, ranks = first_bad.find(otherwise=step)
    print(f"step {step}: {row}", file=sys.stderr)
    raise NotFiniteError(
        f"{run.folder}: {', '.join(bad)} not finite at step {step}, first in step {first} on rank "
        f"{', '.join(map(str, ranks))}; the last checkpoint stays. "
        "Lower optimizer.learning_rate, or check the data (python -m shards verify)",
        first,
        ranks,
    )


def save(recipe: Recipe, run: Run, process: Process, state: State) -> None:
    """Write everything that the next step depends on; older checkpoints, and what only they named, go afterwards.

    All processes call it together: rank 0 writes a file, or all of them the folder of a sharded model.
    """
    saved = {
        "identity": run.identity,
        "step": state.step,
        "scaler": state.scaler.state_dict(),
        "best": asdict(state.best) if state.best else None,
        "owes_validation": state.owes_validation,
        **position(recipe, process, state),
    }
    if is_sharded(state.objective):
        path = run.sharded_checkpoint(state.step)
        save_sharded(path, state.model, state.optimizer, saved, state.ema)
    else:
        path = run.checkpoint(state.step)
        whole = {"model": state.model.state_dict(), "optimizer": state.optimizer.state_dict()}  # some gather it
        if process.is_main:
            save_checkpoint(path, saved | whole | ({"ema": state.ema.tensors} if state.ema else {}))
    if process.is_main:
        for other in run.checkpoints:
            if other.stem == path.stem and other != path:  # of the same step by another strategy
                remove(other)
        for other in run.checkpoints[: -recipe.training.keep_checkpoints]:
            remove(other)
        forget_other_best(run, state.best)


def position(recipe: Recipe, process: Process, state: State) -> dict[str, Any]:
    """Where the random generators and the sampler stand: every rank's seed of the next step, and what that step reads.

    Both are functions of the step, so a resumed run sets them by itself. The checkpoint holds them to be compared: code
    that would draw or read something else is noticed.
    """
    seed, ranks = recipe.training.seed, range(process.world_size)
    batch_size = recipe.training.batch_size * recipe.training.accumulation_steps * process.world_size
    sizes = state.sizes or (state.num_clips,)
    clips = clips_of_step(recipe.data, sizes, seed=seed, step=state.step, batch_size=batch_size)
    return {"random": [seed_of(seed, state.step, rank) for rank in ranks], "sampler": [list(clip) for clip in clips]}


def restore(recipe: Recipe, run: Run, process: Process, state: State) -> None:
    """Continue where the run's newest checkpoint, if there is one, left off; it may be of another strategy.

    Raises ValueError where it is damaged, and where the next step would draw other random numbers or read other clips
    than when it was written.
    """
    if run.checkpoints:
        older, path = [None, *run.checkpoints][-2:]
        if path.is_dir():
            saved = load_sharded(path, run.identity, state.model, state.optimizer, older, state.ema)
        else:
            saved = load_checkpoint(path, run.identity, older)
            load_whole(path, saved, state)
        state.scaler.load_state_dict(saved["scaler"])
        state.step = saved["step"]
        state.best = Best(**saved["best"]) if saved["best"] else None
        state.owes_validation = saved.get("owes_validation", False)
        for name, now in position(recipe, process, state).items():
            was = saved[name]
            if name == "random":  # seeds by rank: there may be another number of them
                was, now = was[: len(now)], now[: len(was)]
            if was != now:
                raise ValueError(
                    f"{path}: step {state.step} would not go on with the {name} position of the checkpoint: "
                    f"the code has changed since; delete the folder {run.folder} to start again"
                )


def load_whole(path: Path, saved: dict[str, Any], state: State) -> None:
    """Load the whole model, optimiser and averages of a checkpoint's file; a process with a shard takes its part."""
    own, optimizer = state.model.state_dict(), saved["optimizer"]
    check_keys(own, saved["model"], path)
    state.model.load_state_dict(shard_like(saved["model"], own))
    parameters = list(numbered(state.model, state.optimizer).values())
    moments = {
        number: shard_like(values, {key: parameters[number] if value.ndim else value for key, value in values.items()})
        for number, values in optimizer["state"].items()
    }
    state.optimizer.load_state_dict(optimizer | {"state": moments})
    if state.ema:
        check_keys(state.ema.tensors, saved["ema"], path)
        state.ema.load(saved["ema"])
