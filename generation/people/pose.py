"""Random bodies and poses: a stance, and random turns of each joint within limits."""

from dataclasses import dataclass

import numpy as np

from generation.people.config import PeopleConfig
from shards.people.body import Body
from shards.people.labels import rotation_matrices

DEVIATIONS = {
    "hip": (0.35, 0.12, 0.15), "knee": (0.25, 0.03, 0.03), "ankle": (0.2, 0.1, 0.1), "foot": (0.1, 0.03, 0.03),
    "spine1": (0.12, 0.1, 0.08), "spine2": (0.12, 0.1, 0.08), "spine3": (0.1, 0.1, 0.06), "neck": (0.15, 0.2, 0.12),
    "head": (0.15, 0.2, 0.12), "collar": (0.05, 0.08, 0.1), "shoulder": (0.4, 0.3, 0.45), "elbow": (0.15, 0.4, 0.2),
    "wrist": (0.25, 0.15, 0.25),
}  # fmt: skip
"""Deviations (radians) of a joint's turn about the axes of the rest pose: x bends forward, y twists, z leans aside."""
LIMITS = {
    "hip": ((-2.2, 0.5), (-0.6, 0.6), (-0.5, 0.5)), "knee": ((0.0, 2.4), (-0.1, 0.1), (-0.1, 0.1)),
    "ankle": ((-0.5, 0.6), (-0.3, 0.3), (-0.3, 0.3)), "shoulder": ((-2.5, 0.8), (-1.2, 1.2), (-1.3, 1.6)),
    "elbow": ((-2.2, 0.2), (-1.0, 1.0), (-0.6, 0.6)), "wrist": ((-0.8, 0.8), (-0.5, 0.5), (-0.6, 0.6)),
    "neck": ((-0.5, 0.5), (-0.7, 0.7), (-0.4, 0.4)), "head": ((-0.5, 0.5), (-0.7, 0.7), (-0.4, 0.4)),
}  # fmt: skip
"""Bounds of the turns of a person's left joint; on the right those about y and z are mirrored. Others: 0.4 each way."""
STANCES = {
    "stand": {},
    "walk": {"left_hip": (-0.5, 0, 0), "left_knee": (0.3, 0, 0), "right_hip": (0.3, 0, 0), "right_knee": (0.5, 0, 0),
             "left_shoulder": (0.5, 0, 0.7), "right_shoulder": (-0.5, 0, -0.7)},
    "sit": {"left_hip": (-1.5, 0, -0.1), "right_hip": (-1.5, 0, 0.1), "left_knee": (1.5, 0, 0),
            "right_knee": (1.5, 0, 0), "left_shoulder": (-0.5, 0, 0.6), "right_shoulder": (-0.5, 0, -0.6)},
    "reach": {"left_shoulder": (-1.6, 0, 0.6), "right_shoulder": (-0.2, 0, -0.7), "spine1": (0.15, 0, 0)},
    "crouch": {"left_hip": (-1.9, 0, -0.2), "right_hip": (-1.9, 0, 0.2), "left_knee": (2.1, 0, 0),
               "right_knee": (2.1, 0, 0), "left_ankle": (-0.3, 0, 0), "right_ankle": (-0.3, 0, 0),
               "spine1": (0.4, 0, 0), "left_shoulder": (-0.6, 0, 0.5), "right_shoulder": (-0.6, 0, -0.5)},
    "arms_down": {"left_shoulder": (0, 0, 0.8), "right_shoulder": (0, 0, -0.8)},
}  # fmt: skip
"""Turns (radians about x, y, z) that a pose begins with; the rest pose holds the arms 45 degrees out."""
SHARES = {"stand": 0.1, "arms_down": 0.25, "walk": 0.25, "sit": 0.15, "reach": 0.15, "crouch": 0.1}


@dataclass(frozen=True, kw_only=True, eq=False)
class BodyState:
    """One body in one pose, upright in the axes of the camera's rest: x right, y down."""

    shape: np.ndarray
    """(S,) float32"""
    rotations: np.ndarray
    """(J, 3, 3) float32; the first is a small tilt"""


def draw_state(config: PeopleConfig, body: Body, rng: np.random.Generator) -> BodyState:
    """A random shape and pose; mirrored for half of them."""
    shape = rng.normal(size=body.num_shapes).clip(-config.shape_limit, config.shape_limit)
    stance = STANCES[str(rng.choice(list(SHARES), p=list(SHARES.values())))]
    turns = np.zeros((body.num_joints, 3))
    for number, name in enumerate(body.joint_names[1:], start=1):
        side, joint = name.split("_") if "_" in name else ("", name)
        deviation = np.array(DEVIATIONS.get(joint, (0.05, 0.05, 0.05)))
        low, high = np.array(LIMITS.get(joint, ((-0.4, 0.4),) * 3)).T
        if side == "right":
            low, high = np.array([low[0], -high[1], -high[2]]), np.array([high[0], -low[1], -low[2]])
        turn = np.array(stance.get(name, (0, 0, 0))) + config.pose_scale * rng.normal(size=3) * deviation
        turns[number] = turn.clip(low, high)
    if rng.random() < 0.5:
        turns = mirrored(turns, body.joint_names)
    turns[0] = np.radians(config.max_tilt_degrees) / 2 * rng.normal(size=3) * [1, 0, 1]
    return BodyState(shape=shape.astype(np.float32), rotations=rotation_matrices(turns).astype(np.float32))


def mirrored(turns: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """The pose in a mirror: left and right joints change places, turns about y and z their sign."""
    swap = {"left": "right", "right": "left"}
    others = [name.replace(name.split("_")[0], swap.get(name.split("_")[0], name.split("_")[0])) for name in names]
    return turns[[names.index(name) for name in others]] * [1, -1, -1]
