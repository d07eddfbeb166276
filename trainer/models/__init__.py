"""The models that can be trained: an explicit table."""

from types import ModuleType
from typing import Any

from torch import nn

from trainer.config import suggestion
from trainer.models.blade_depthnet import task as blade_depthnet
from trainer.models.blade_posenet import task as blade_posenet
from trainer.models.cotracker3 import task as cotracker3
from trainer.models.lbm import task as lbm
from trainer.models.vista import task as vista

TASKS: dict[str, ModuleType] = {
    "lbm": lbm,
    "cotracker3": cotracker3,
    "blade_depthnet": blade_depthnet,
    "blade_posenet": blade_posenet,
    "vista": vista,
}


def build(name: str, **overrides: Any) -> nn.Module:
    """A model in its published configuration, changed by `overrides` (`build("lbm", dropout=0.0)`).

    Raises ValueError for an unknown name or key, with the closest known one.
    """
    if name not in TASKS:
        raise ValueError(f"there is no model '{name}', {suggestion(name, TASKS)}")
    return TASKS[name].build(overrides)
