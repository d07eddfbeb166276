"""A man of capsules: the body of unit tests, known in closed form and made in a moment."""

import numpy as np

from generation.people.skeleton import JOINTS, PARENTS, parts_of_faces
from shards.people.body import Body

PLACES = {
    "pelvis": (0, 0, 0), "left_hip": (0.1, 0.05, 0), "right_hip": (-0.1, 0.05, 0), "spine1": (0, -0.12, 0),
    "left_knee": (0.12, 0.47, 0), "right_knee": (-0.12, 0.47, 0), "spine2": (0, -0.24, 0),
    "left_ankle": (0.13, 0.88, 0.02), "right_ankle": (-0.13, 0.88, 0.02), "spine3": (0, -0.34, 0),
    "left_foot": (0.14, 0.94, -0.13), "right_foot": (-0.14, 0.94, -0.13), "neck": (0, -0.5, 0),
    "left_collar": (0.06, -0.44, 0), "right_collar": (-0.06, -0.44, 0), "head": (0, -0.6, 0),
    "left_shoulder": (0.18, -0.45, 0), "right_shoulder": (-0.18, -0.45, 0), "left_elbow": (0.36, -0.27, 0),
    "right_elbow": (-0.36, -0.27, 0), "left_wrist": (0.52, -0.08, 0), "right_wrist": (-0.52, -0.08, 0),
}  # fmt: skip
"""Joints at rest, metres from the pelvis: x to the person's left (right in the picture), y down, z away."""
ENDS = {"head": (0, -0.78, 0), "left_foot": (0.14, 0.95, -0.2), "right_foot": (-0.14, 0.95, -0.2),
        "left_wrist": (0.6, 0.02, 0), "right_wrist": (-0.6, 0.02, 0)}  # fmt: skip
"""Where bones without a further joint end."""
RADII = {"pelvis": 0.12, "spine1": 0.12, "spine2": 0.12, "spine3": 0.13, "head": 0.09, "neck": 0.05}
SIDES = 6
"""Corners of a capsule's cross-section."""


def make_toy() -> Body:
    """The capsule man: 22 joints, two shape coefficients (5 % of stature, 10 % of girth)."""
    joints = np.array([PLACES[name] for name in JOINTS], np.float32)
    vertices, faces, owners, girth = [], [], [], []
    for number, name in enumerate(JOINTS):
        for end in bone_ends(number, joints):
            mesh, triangles = capsule(joints[number], end, RADII.get(name, 0.05))
            faces.append(triangles + sum(map(len, vertices)))
            axis = (end - joints[number]) / np.linalg.norm(end - joints[number])
            away = mesh - joints[number]
            vertices.append(mesh)
            owners += [number] * len(mesh)
            girth.append(away - (away @ axis)[:, None] * axis)
    template, triangles = np.concatenate(vertices), np.concatenate(faces).astype(np.int32)
    weights = np.eye(len(JOINTS), dtype=np.float32)[owners]
    return Body(
        name="toy",
        template_m=template.astype(np.float32),
        shape_directions=np.stack([0.05 * template, 0.1 * np.concatenate(girth)]).astype(np.float32),
        joints_m=joints,
        joint_directions=np.stack([0.05 * joints, 0 * joints]).astype(np.float32),
        parents=np.array(PARENTS, np.int32),
        weights=weights,
        faces=triangles,
        parts=parts_of_faces(weights, triangles),
        joint_names=JOINTS,
        part_names=JOINTS,
    )


def bone_ends(number: int, joints: np.ndarray) -> list[np.ndarray]:
    """Where the bones of a joint end: at its children, or at the ends of the body."""
    children = [joints[child] for child, parent in enumerate(PARENTS) if parent == number]
    return children or [np.array(ENDS[JOINTS[number]], np.float32)]


def capsule(start: np.ndarray, end: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """A closed prism with two points: vertices (2 SIDES + 2, 3), and faces counter-clockwise seen from outside."""
    axis = (end - start) / np.linalg.norm(end - start)
    side = np.cross(axis, [0.0, 0.0, 1.0] if abs(axis[2]) < 0.9 else [0.0, 1.0, 0.0])
    side /= np.linalg.norm(side)
    angles = np.arange(SIDES) * 2 * np.pi / SIDES
    ring = radius * (np.cos(angles)[:, None] * side + np.sin(angles)[:, None] * np.cross(axis, side))
    vertices = np.concatenate([start + ring, end + ring, [start - radius * axis], [end + radius * axis]])
    this, after = np.arange(SIDES), (np.arange(SIDES) + 1) % SIDES
    top, bottom = np.full(SIDES, 2 * SIDES + 1), np.full(SIDES, 2 * SIDES)
    faces = [
        np.stack(corners, -1)
        for corners in (
            (this, after, this + SIDES), (after, after + SIDES, this + SIDES), (after, this, bottom),
            (this + SIDES, after + SIDES, top),
        )
    ]  # fmt: skip
    return vertices, np.concatenate(faces)
