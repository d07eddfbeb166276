"""What a world model is told of each round: actions by words or JSON, and the motion of its frames.

Legend: T frames of a round.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shards.driving.actions import COMMANDS, NUM_STEPS, Actions, actions_from_json
from trainer.batch import Sample
from trainer.driving.config import DrivingData
from trainer.driving.paths import motion_along
from trainer.driving.samples import pack
from trainer.models.vista.recipe import VistaConfig
from trainer.strict import suggestion

NOTHING = "none"
FIELDS = {
    "command": ("command", 0, f"one of {', '.join(COMMANDS)}"),
    "trajectory": ("trajectory_m", 8, "right,forward metres after 0.5, 1, 1.5 and 2 s: trajectory=0,4;0,8;-1,12;-2,16"),
    "speed": ("speed_mps", 4, "m/s after 0.5, 1, 1.5 and 2 s: speed=8,8,7,6"),
    "angle": ("angle_deg", 4, "degrees of the steering wheel, to the left positive: angle=0,10,20,20"),
    "goal": ("goal", 2, "a place in the picture as shares of its width and height: goal=0.4,0.55"),
}
"""Kinds of action by the word that names them: the field of Actions, how many numbers, and how they are written."""


def read_actions(texts: Sequence[str]) -> list[Actions]:
    """The actions of rounds, in order: each text is `none`, words (`command=turn_left speed=8,8,8,8`), or a file.json
    with one round's actions or a list of them. Raises ValueError for anything else."""
    found = []
    for text in texts:
        found += read_actions_file(Path(text)) if text.lower().endswith(".json") else [parse_actions(text)]
    return found


def parse_actions(text: str) -> Actions:
    """Actions of words, KIND=VALUES with spaces between kinds; ValueError says what is expected."""
    known: dict[str, Any] = {}
    for word in [] if text.strip() == NOTHING else text.split():
        kind, equals, value = word.partition("=")
        if not equals or kind not in FIELDS:
            raise ValueError(f"--actions {word!r}: expected KIND=VALUES or a file.json; kinds: {', '.join(FIELDS)}")
        field, count, expected = FIELDS[kind]
        known[field] = value if kind == "command" else parse_numbers(word, value, count, expected)
    if "trajectory_m" in known:
        known["trajectory_m"] = known["trajectory_m"].reshape(NUM_STEPS, 2)
    return checked(known, f"--actions {text!r}")


def parse_numbers(word: str, value: str, count: int, expected: str) -> np.ndarray:
    """So many numbers with commas or semicolons between them, float64."""
    try:
        numbers = np.array([float(part) for part in value.replace(";", ",").split(",")])
    except ValueError:
        raise ValueError(f"--actions {word}: not numbers; expected {expected}") from None
    if len(numbers) != count:
        raise ValueError(f"--actions {word}: {len(numbers)} numbers, expected {count}: {expected}")
    return numbers


def read_actions_file(path: Path) -> list[Actions]:
    """The actions of a JSON file: a mapping of any of the fields of Actions, or a list of such, one a round."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"--actions {path}: not a readable JSON file ({error})") from None
    rounds = content if isinstance(content, list) else [content]
    if not rounds:
        raise ValueError(f"--actions {path}: an empty list; give one mapping for each round")
    fields = [field for field, _, _ in FIELDS.values()]
    found = []
    for number, each in enumerate(rounds):
        where = f"--actions {path}, round {number}"
        if each is not None and not isinstance(each, Mapping):
            raise ValueError(f"{where}: expected a mapping of {', '.join(fields)}, or null")
        for name in each or {}:
            if name not in fields:
                raise ValueError(f"{where}: unknown key {name!r}, {suggestion(name, fields)}")
        found.append(checked(dict.fromkeys(fields) | dict(each or {}), where))
    return found


def checked(values: Mapping[str, Any], where: str) -> Actions:
    """Actions of lists or arrays by field; ValueError that says where they are from, with the closest command."""
    command = values.get("command")
    if command is not None and command not in COMMANDS:
        raise ValueError(f"{where}: unknown command {command!r}, {suggestion(str(command), COMMANDS)}")
    try:
        return actions_from_json(dict.fromkeys((field for field, _, _ in FIELDS.values())) | dict(values))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def deal_actions(actions: Sequence[Actions], num_rounds: int | None) -> list[Actions]:
    """One round's actions for each of `num_rounds` (None: as many as there are actions); one is told in all rounds."""
    actions = list(actions) or [Actions()]
    num_rounds = num_rounds or len(actions)
    if len(actions) not in (1, num_rounds):
        raise ValueError(
            f"--rounds {num_rounds} with {len(actions)} actions: give one --actions for all rounds, or one for each"
        )
    return actions if len(actions) == num_rounds else actions * num_rounds


def tell(
    actions: Actions, config: VistaConfig, data: DrivingData, fps: float, motion: np.ndarray | None = None
) -> Sample:
    """What a round of T frames is told, as trainer.driving.samples tells a window: values, present, motion, moves, fps.

    For a network with the motion of frames that is `motion` (T, 2), forward metres and left turn, radians, since the
    frame before, or by the trajectory (motion_along); without either it is not told. Raises ValueError for what this
    model was not trained with.
    """
    takes_motion, given = bool(config.unet.frame_values), [kind for kind in FIELDS if has(actions, kind)]
    if not config.unet.with_actions and [kind for kind in given if not (kind == "trajectory" and takes_motion)]:
        way = "trajectory, or --motion FILE.csv" if takes_motion else "nothing"
        raise ValueError(f"these weights were trained without actions: tell {way} (told now: {', '.join(given)})")
    if motion is not None and not takes_motion:
        raise ValueError("--motion: these weights know no motion of frames (model.unet.frame_values=0); use --actions")
    if motion is None and takes_motion and actions.trajectory_m is not None:
        motion = motion_along(actions.trajectory_m, np.arange(data.num_frames) / fps)
    nothing = np.zeros((data.num_frames, 2), np.float32)
    moves = np.array(motion is not None)
    motion = nothing if motion is None else motion.astype(np.float32)
    return {**pack(actions, data), "motion": motion, "moves": moves, "fps": np.float32(fps)}


def has(actions: Actions, kind: str) -> bool:
    """Whether a kind of action is known."""
    return getattr(actions, FIELDS[kind][0]) is not None
