"""What a driver does in a window of frames, in the five forms that Vista is told it (Gao et al., Vista, 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NoReturn

import numpy as np

COMMANDS = ("turn_right", "turn_left", "stop", "straight")
"""Names of commands. Numbers are a model's own: which number means which command differs between data sets."""
KINDS = ("command", "trajectory", "speed", "angle", "goal")
"""The five forms in Vista's order."""
NUM_STEPS = 4
STEP_S = 0.5
"""Values are those at 0.5, 1.0, 1.5 and 2.0 s after the window's first frame."""
SHAPES = {"trajectory_m": (NUM_STEPS, 2), "speed_mps": (NUM_STEPS,), "angle_deg": (NUM_STEPS,), "goal": (2,)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Actions:
    """What the driver of a window does; what is not known is None. Checked when made; ValueError names the field."""

    command: str | None = None
    """A name of COMMANDS"""
    trajectory_m: np.ndarray | None = None
    """(4, 2) float64, later places of the camera as (right, forward) of the first frame, on the ground's plane"""
    speed_mps: np.ndarray | None = None
    """(4,) float64, not negative"""
    angle_deg: np.ndarray | None = None
    """(4,) float64, the steering wheel's, to the left positive"""
    goal: np.ndarray | None = None
    """(2,) float64, a place in the first frame as shares (x / W, y / H)"""

    def __post_init__(self) -> None:
        if self.command is not None and self.command not in COMMANDS:
            self._refuse("command", f"is {self.command!r}, known are {', '.join(COMMANDS)}")
        for name, shape in SHAPES.items():
            array = getattr(self, name)
            if array is None:
                continue
            if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.shape != shape:
                self._refuse(name, f"must be an array of float64 of shape {shape}")
            if not np.isfinite(array).all():
                self._refuse(name, "is NaN or infinite")
        if self.speed_mps is not None and (self.speed_mps < 0).any():
            self._refuse("speed_mps", "is negative")
        if self.goal is not None and not ((self.goal >= 0) & (self.goal <= 1)).all():
            self._refuse("goal", f"is {self.goal.tolist()}, expected shares from 0 to 1; None where it is not seen")

    @property
    def present(self) -> np.ndarray:
        """(5,) bool: which of KINDS are known."""
        return np.array([getattr(self, field.name) is not None for field in fields(self)])

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise ValueError(f"actions.{name} {reason}")


def values_of(actions: Actions, command_numbers: Mapping[str, int]) -> dict[str, list[float] | None]:
    """Actions as lists of 1, 8, 4, 4 and 2 numbers by the names of KINDS, what is not known as None.

    `command_numbers` are those of a model. Raises ValueError for a command that has none.
    """
    if actions.command is not None and actions.command not in command_numbers:
        raise ValueError(f"command {actions.command} has no number; known: {', '.join(command_numbers)}")
    arrays = [None if getattr(actions, name) is None else getattr(actions, name).ravel().tolist() for name in SHAPES]
    command = None if actions.command is None else [float(command_numbers[actions.command])]
    return dict(zip(KINDS, [command, *arrays], strict=True))


def actions_to_json(actions: Actions) -> dict[str, Any]:
    """What JSON can hold of actions: lists, and null where they are not known."""
    found = {field.name: getattr(actions, field.name) for field in fields(actions)}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def actions_from_json(content: dict[str, Any]) -> Actions:
    """The inverse of `actions_to_json`; ValueError for what is none."""
    try:
        arrays = {name: None if content[name] is None else np.array(content[name], np.float64) for name in SHAPES}
        return Actions(command=content["command"], **arrays)
    except (KeyError, TypeError) as error:
        raise ValueError(f"actions are not as expected ({error})") from None
