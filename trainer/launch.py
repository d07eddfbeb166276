"""Train one stage: `torchrun --nproc_per_node=2 -m trainer.launch stage=lbm training.num_steps=100`."""

import argparse
import os
import sys
from dataclasses import replace
from multiprocessing import forkserver, resource_tracker
from pathlib import Path

import torch
from torch import nn

from shards import ClipStore
from shards.files import write_bytes
from trainer.batch import Loader, MakeSample, loader_context, make_loader, make_sample
from trainer.batch_norm import synchronise_batch_norm
from trainer.checkpoint import load_into, save_weights
from trainer.config import Recipe, compose_launch, stages
from trainer.distributed import Process, barrier, find_place, process_group
from trainer.drawer import make_drawer
from trainer.ema import Ema, averaged
from trainer.finite import NotFiniteError, batch_path, save_batch
from trainer.hang import Watch
from trainer.interruption import EXIT_CODE, Interrupted, StopRequest, signals_held
from trainer.loop import State, autocast, micro_batches, restore, train, validate_now
from trainer.lora import adapt
from trainer.models import TASKS
from trainer.optim import make_optimizer
from trainer.pseudo.labels import make_labeller
from trainer.pseudo.samples import make_video_sample
from trainer.published import read_published
from trainer.run import Run, describe_run, fit_to_processes, open_run, recipe_text
from trainer.strategy import Objective, distribute, is_sharded, share_optimizer, whole_model
from trainer.validation import Best, Validator, say_score
from trainer.wandb_mirror import WandbMirror, wandb_mirror

BEST = "best.safetensors"
"""The weights with the best validation, in the output folder where there is a validation."""
WEIGHTS = "weights.safetensors"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line: overrides, one of them stage=NAME."""
    parser = argparse.ArgumentParser(
        prog="trainer.launch",
        description="Train one stage. Resumes by itself: the same command goes on where it was interrupted.",
        epilog="Start one process per GPU with `torchrun --nproc_per_node=N -m trainer.launch stage=...`.",
    )
    parser.add_argument("--print", action="store_true", dest="only_print", help="print the composed recipe and stop")
    parser.add_argument(
        "overrides",
        nargs="+",
        metavar="KEY=VALUE",
        help=f"stage=NAME ({', '.join(stages())}) and Hydra overrides: model=lbm_small training.num_steps=100 "
        "optimizer.learning_rate=1.0e-4 data.dataset=NAME paths.run_root=runs paths.output_dir=results/NAME",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's, 75 interrupted and saved."""
    options = parse_arguments(arguments)
    try:
        names = [o.removeprefix("stage=") for o in options.overrides if o.startswith("stage=")]
        if len(names) != 1:
            raise ValueError(f"say which stage: stage={' or stage='.join(stages())}")
        overrides = [o for o in options.overrides if not o.startswith("stage=")]
        recipe, paths = compose_launch(names[0], overrides)
        if options.only_print:
            print(recipe_text(recipe), end="")
            return 0
        with process_group(recipe.training.threads) as process:
            run = describe_run(recipe, paths, process.world_size)
            run_stage(fit_to_processes(recipe, process.world_size), run, process)
    except Interrupted as told:
        if rank_in_environment() == 0:
            print(told, file=sys.stderr)
        return EXIT_CODE
    except (ValueError, FloatingPointError, OSError) as error:
        rank = rank_in_environment()
        print(f"error: {error}" if rank == 0 else f"error (rank {rank}): {error}", file=sys.stderr)
        return 2
    return 0


def rank_in_environment() -> int:
    """This process's rank; 0 where the environment says nothing sensible."""
    try:
        return find_place(os.environ).rank
    except ValueError:
        return 0


def run_stage(recipe: Recipe, run: Run, process: Process) -> None:
    """Train (or finish, or find finished) one stage and write its weights to the run's output folder."""
    lock = open_run(run, recipe) if process.is_main else None
    if process.is_main:
        (run.output / BEST).unlink(missing_ok=True)  # of an earlier training: it is no output that Snakemake deletes
    barrier()
    state = prepare(recipe, run, process)
    restore(recipe, run, process, state)
    validator = None
    if run.validation_index:
        make_validator = getattr(TASKS[recipe.model["name"]], "make_validator", Validator)
        validator = make_validator(recipe, run, process, steps_per_epoch(recipe, state.num_clips, process))
    state.drawer = make_drawer(recipe, run, process)
    announce(recipe, run, process, state)
    with wandb_mirror(recipe, run, process) as mirror:
        if validator and state.owes_validation:
            validate_now(recipe, run, process, state, validator, mirror)
        if state.step < state.num_steps:
            train_rest(recipe, run, process, state, validator, mirror)
        if validator and not validator.is_own(state.best):  # it was set, or changed, after all steps were done
            validate_now(recipe, run, process, state, validator, mirror)
    with averaged(state.model, state.ema):
        whole = whole_model(recipe, state.objective, state.model)
        if process.is_main:
            finish(recipe, run, whole, state.best if validator else None)
        barrier()
    if lock:
        lock.close()


def train_rest(
    recipe: Recipe,
    run: Run,
    process: Process,
    state: State,
    validator: Validator | None,
    mirror: WandbMirror | None,
) -> None:
    """Train from the state's step to the end; raises Interrupted where a signal asked to stop; all is saved then.

    Raises FloatingPointError for a number that is not finite; what the model was given is written down first.
    """
    if recipe.data.num_workers:
        start_loader_server()
    loader = loader_of(recipe, run, process, state, range(state.step, state.num_steps))
    watch = Watch(recipe.training.max_step_minutes, recipe.exp_name, process.rank)
    with StopRequest(process) as stop, watch:
        try:
            train(recipe, run, process, state, loader, validator, stop, mirror, watch)
        except NotFiniteError as found:
            kept = keep_batch(recipe, run, process, state, found)
            raise FloatingPointError(f"{found}. What the model was given: python -m trainer.finite {kept}") from None
        barrier()  # rank 0 has saved
    if state.step < state.num_steps:
        saved = run.sharded_checkpoint if is_sharded(state.objective) else run.checkpoint
        raise Interrupted(
            f"{recipe.exp_name}: {stop.signal_name} after step {state.step} of {state.num_steps}; saved in "
            f"{saved(state.step)}, and the same command goes on there"
        )


def sample_maker(recipe: Recipe, state: State) -> MakeSample:
    """What makes this training's samples: the model's task, or of videos with tracks, or without."""
    of_tracks = make_video_sample if state.labeller else make_sample
    return getattr(TASKS[recipe.model["name"]], "make_sample", of_tracks)


def loader_of(recipe: Recipe, run: Run, process: Process, state: State, steps: range) -> Loader:
    """This process's batches of some steps."""
    return make_loader(
        recipe,
        run.indexes,
        start=steps.start,
        num_steps=steps.stop,
        rank=process.rank,
        world_size=process.world_size,
        make=sample_maker(recipe, state),
    )


def keep_batch(recipe: Recipe, run: Run, process: Process, state: State, found: NotFiniteError) -> Path:
    """Write what the model was given where numbers were not finite first, labels included; all call it together.

    The batch is made again: it is a function of the step. Returns the file of the first rank that had it.
    """
    try:
        if process.rank in found.ranks:
            alone = replace(recipe, data=replace(recipe.data, num_workers=0))
            loader = loader_of(alone, run, process, state, range(found.step, found.step + 1))
            ((positions,), (batch,)) = loader.sampler, loader
            if state.labeller:
                with autocast(recipe, process.device):
                    parts = micro_batches(batch, recipe.training.accumulation_steps, process.device)
                    labelled = [state.labeller.label(part, found.step) for _, part in parts]
                batch |= {key: torch.cat([part[key] for part in labelled]) for key in labelled[0]}
            save_batch(batch_path(run.folder, found.step, process.rank), loader.keys_of(positions), batch)
    finally:
        barrier()  # the first process that ends takes the others with it
    return batch_path(run.folder, found.step, found.ranks[0])


def start_loader_server() -> None:
    """Start what loader processes come from, so that a signal to the whole group leaves them alone."""
    loader_context()  # says what the server imports
    for each in (resource_tracker, forkserver):  # the first lets SIGTERM through when it has started, so two blocks
        with signals_held():
            each.ensure_running()


def prepare(recipe: Recipe, run: Run, process: Process) -> State:
    """The state of a training before its first step, on the device; rank 0 writes the untrained weights."""
    task = TASKS.get(recipe.model.get("name"))
    if task is None:
        raise ValueError(f"model.name={recipe.model.get('name')!r} is unknown; known: {', '.join(TASKS)}")
    if recipe.training.precision != "fp32" and process.device.type == "cpu":
        raise ValueError(f"training.precision={recipe.training.precision} needs a GPU; use training.precision=fp32")
    torch.manual_seed(recipe.training.seed)
    model = task.build(recipe.model)
    if run.init_weights:
        load_into(model, task.fit_weights(read_published(run.init_weights), model), run.init_weights)
    if hasattr(task, "get_ready"):
        task.get_ready(model, recipe, run)
    if process.is_main and not run.untrained.exists():
        save_weights(run.untrained, model, recipe)
    adapt(model, recipe.training.lora)
    model.to(process.device)
    if recipe.training.sync_batch_norm:
        synchronise_batch_norm(model, process.device)
    objective = distribute(recipe, process, Objective(model, task))
    optimizer = make_optimizer(model, recipe.optimizer, fused=process.device.type == "cuda")
    objective, optimizer = share_optimizer(recipe, process, objective, optimizer, run.deepspeed_op)
    sizes = tuple(len(ClipStore(index)) for index in run.indexes)
    return State(
        model=model,
        objective=objective,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(process.device.type, enabled=recipe.training.precision == "fp16"),
        step=0,
        num_steps=count_steps(recipe, run, sum(sizes), process),
        num_clips=sum(sizes),
        sizes=sizes,
        labeller=make_labeller(recipe, run.teachers, run.index, process.device),
        ema=None if recipe.training.ema_decay is None else Ema(model, recipe.training.ema_decay),
    )


def steps_per_epoch(recipe: Recipe, num_clips: int, process: Process) -> int:
    """The whole global batches that the clips fill."""
    training = recipe.training
    return num_clips // (training.batch_size * training.accumulation_steps * process.world_size)


def count_steps(recipe: Recipe, run: Run, num_clips: int, process: Process) -> int:
    """Optimiser steps of the whole training."""
    if recipe.training.num_steps is not None:
        return recipe.training.num_steps
    steps = steps_per_epoch(recipe, num_clips, process)
    if not steps:
        raise ValueError(f"{run.index}: {num_clips} clips do not fill one global batch; lower training.batch_size")
    return recipe.training.num_epochs * steps


def announce(recipe: Recipe, run: Run, process: Process, state: State) -> None:
    """Say what is about to happen, and on Slurm who is where."""
    if "SLURMD_NODENAME" in os.environ:
        where = f"node {os.environ['SLURMD_NODENAME']}, {process.device}"
        print(f"{recipe.exp_name}: rank {process.rank} of {process.world_size} on {where}", file=sys.stderr)
    if process.is_main:
        begin = f"resuming at step {state.step} of" if state.step else "training"
        where = f"{process.world_size} x {process.device.type}"
        where += f" ({recipe.training.strategy})" if process.world_size > 1 else ""
        print(
            f"{recipe.exp_name}: {begin} {state.num_steps} steps on {where}, run folder {run.folder}", file=sys.stderr
        )


def finish(recipe: Recipe, run: Run, model: nn.Module, best: Best | None) -> None:
    """Write the finished files and say where they are; best.safetensors is there where validation found a best one."""
    if best:
        write_bytes(run.output / BEST, run.best_weights(best.step).read_bytes())
    if recipe.training.keep == "last":
        save_weights(run.output / WEIGHTS, model, recipe)
    elif best:
        write_bytes(run.output / WEIGHTS, run.best_weights(best.step).read_bytes())
    else:
        raise ValueError(f"{run.folder}: no validation gave a {recipe.validation.best_by}, so no weights are the best")
    write_bytes(run.output / "untrained.safetensors", run.untrained.read_bytes())
    write_bytes(run.output / "metrics.jsonl", run.metrics.read_bytes())
    write_bytes(run.output / "recipe.yaml", recipe_text(recipe).encode())
    told = f"{recipe.training.keep} weights in {run.output / WEIGHTS}, curves in {run.output}/metrics.jsonl"
    if best:
        measured = f"{recipe.validation.best_by} {say_score(recipe.validation.best_by, best.score)}"
        told += f", best weights (step {best.step}, {measured}) in {run.output / BEST}"
    print(f"{recipe.exp_name}: {told}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
