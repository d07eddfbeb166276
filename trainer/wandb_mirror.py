"""Rows of metrics.jsonl sent to Weights & Biases as well. Whatever happens there, the training goes on."""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainer.config import Recipe, as_dict
from trainer.distributed import Process
from trainer.interruption import signals_held
from trainer.run import Run

SECONDS_TO_REACH = 30
"""So long the service is waited for at the start, before the run is written to the disk instead."""


@contextlib.contextmanager
def wandb_mirror(recipe: Recipe, run: Run, process: Process) -> Iterator["WandbMirror | None"]:
    """A mirror for the length of a block on rank 0, where the recipe asks for one.

    Raises ValueError, on all ranks and before anything is trained, where the package is not installed.
    """
    if recipe.logging.use_wandb and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            "logging.use_wandb=true, but the package wandb is not installed: pip install 'frameline[wandb]', "
            "or train with logging.use_wandb=false"
        )
    if not (recipe.logging.use_wandb and process.is_main):
        yield None
        return
    mirror = WandbMirror(recipe, run)
    try:
        yield mirror
    except BaseException:
        mirror.close(exit_code=1)
        raise
    mirror.close()


class WandbMirror:
    """One run there, whose name is that of the run here: a resumed training goes on in it.

    Its files are in the run's folder. It is online where an account is known and the service answers, else offline (to
    be sent later by `wandb sync`); WANDB_MODE decides otherwise. Any error is one warning, and the last word of it.
    """

    def __init__(self, recipe: Recipe, run: Run):
        self.run = None
        modes = [os.environ["WANDB_MODE"]] if os.environ.get("WANDB_MODE") else ["online", "offline"]
        for mode in modes:
            try:
                self.run = _start(recipe, run, mode)
                break
            except Exception as error:
                then = "; its run is written to the disk" if mode != modes[-1] else "; training goes on without it"
                _warn(f"{mode} is not possible ({_first_line(error)}){then}")
        if self.run:
            print(f"wandb: {self.run.settings.mode}, run {self.run.id} in {Path(self.run.dir).parent}", file=sys.stderr)

    def log(self, row: dict[str, Any]) -> None:
        """Send one row of metrics.jsonl under its step."""
        self._try(lambda: self.run.log({k: v for k, v in row.items() if k != "event"}, step=row["step"]))

    def close(self, exit_code: int = 0) -> None:
        """Send what is left."""
        self._try(lambda: self.run.finish(exit_code=exit_code))
        self.run = None

    def _try(self, action) -> None:
        if self.run is None:
            return
        try:
            action()
        except Exception as error:  # of a package that may raise anything: nothing of it may end a training
            self.run = None
            _warn(f"stopped ({_first_line(error)}); training goes on, and metrics.jsonl holds all rows")


def _start(recipe: Recipe, run: Run, mode: str):
    import wandb

    settings = wandb.Settings(console="off", init_timeout=SECONDS_TO_REACH, silent=True)
    with _no_questions(), signals_held():
        return wandb.init(
            project=recipe.logging.wandb_project,
            entity=recipe.logging.wandb_entity,
            name=recipe.exp_name,
            id=run.identity[:16],
            resume="allow",
            mode=mode,
            dir=run.folder,
            config=as_dict(recipe),
            settings=settings,
        )


@contextlib.contextmanager
def _no_questions() -> Iterator[None]:
    """Without an account wandb would ask for one in a terminal, and the training would wait for the answer."""
    terminal = sys.stdin
    with Path(os.devnull).open() as nothing:
        sys.stdin = nothing
        try:
            yield
        finally:
            sys.stdin = terminal


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _warn(text: str) -> None:
    print(f"warning: wandb: {text}", file=sys.stderr, flush=True)
