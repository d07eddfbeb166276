"""The models that can be trained: an explicit table."""

from types import ModuleType
from typing import Any

from torch import nn

from trainer.config import suggestion
from trainer.models.blade_depthnet import task as blade_depthnet_task
from trainer.models.blade_posenet import task as blade_posenet_task
from trainer.models.cotracker3 import task as cotracker3_task
from trainer.models.lbm import task as lbm_task
from trainer.models.vista import task as vista_task

TASKS: dict[str, ModuleType] = {
    "lbm": lbm_task,
    "cotracker3": cotracker3_task,
    "blade_depthnet": blade_depthnet_task,
    "blade_posenet": blade_posenet_task,
    "vista": vista_task,
}


def build(name: str, **overrides: Any) -> nn.Module:
    """A model in its published configuration, changed by `overrides` (`build("lbm", dropout=0.0)`).

    Raises ValueError for an unknown name or key, with the closest known one.
    """
    if name not in TASKS:
        raise ValueError(f"there is no model '{name}', {suggestion(name, TASKS)}")
    return TASKS[name].build(overrides)
