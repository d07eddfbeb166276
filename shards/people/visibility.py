"""Which joints of a drawn body are seen."""

import numpy as np

from shards.people.body import Body
from shards.people.raster import Drawn

DEPTH_INSIDE_M = 0.15
"""A joint lies inside the body: a surface so far in front of it hides nothing."""


def joints_seen(body: Body, drawn: Drawn, joints_px: np.ndarray, joints_m: np.ndarray) -> np.ndarray:
    """(J,) bool: in the picture, in front of the camera, and not hidden by another part of the body.

    joints_px (J, 2) raster pixels of the picture, joints_m (J, 3) in camera axes. What covers a joint hides it unless
    it is the joint's own part or one beside it, or nearer to it than DEPTH_INSIDE_M.
    """
    height, width = drawn.depth_m.shape
    inside = ((joints_px >= 0) & (joints_px < [width, height])).all(-1) & (joints_m[:, 2] > 0)
    x, y = np.floor(joints_px.clip(0, [width - 1, height - 1])).astype(int).T
    is_far = drawn.depth_m[y, x] < joints_m[:, 2] - DEPTH_INSIDE_M  # infinite where nothing is drawn
    face = drawn.face[y, x]
    owner = np.where(face >= 0, _joint_of_part(body)[body.parts[face]], -1)  # (J,) the joint whose part is there
    numbers = np.arange(body.num_joints)
    is_beside = (owner == numbers) | (owner == body.parents) | (body.parents[owner] == numbers)
    return inside & ~(is_far & ~(is_beside & (owner >= 0)))


def _joint_of_part(body: Body) -> np.ndarray:
    """(P + 1,) the joint of the same name as each part; -1 for no part, and for a part of another name."""
    numbers = {name: number for number, name in enumerate(body.joint_names)}
    return np.array([-1, *(numbers.get(name, -1) for name in body.part_names)])
