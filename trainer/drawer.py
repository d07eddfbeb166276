"""Who writes down, during a training, what a model makes: the task's own `make_drawer`, where it has one."""

from typing import Protocol

from torch import nn

from trainer.config import Recipe
from trainer.distributed import Process
from trainer.models import TASKS
from trainer.run import Run


class Drawer(Protocol):
    """Draws on rank 0, from generators of its own; all processes ask it."""

    def is_due(self, done: int) -> bool:
        """Whether something is drawn when `done` steps are done."""

    def draw(self, model: nn.Module, step: int) -> None:
        """Write what the model makes after `step`."""


def make_drawer(recipe: Recipe, run: Run, process: Process) -> Drawer | None:
    """Who draws in this training, if its recipe asks for that; ValueError where its model makes nothing to look at."""
    if recipe.logging.sample_every is None:
        return None
    task = TASKS[recipe.model["name"]]
    if not hasattr(task, "make_drawer"):
        raise ValueError(
            f"stage {recipe.stage}: logging.sample_every={recipe.logging.sample_every}, but model "
            f"{recipe.model['name']} makes no clips; set it to null"
        )
    return task.make_drawer(recipe, run, process)
