"""A body model as one file of arrays, and its linear-blend skinning.

Every back end (Anny's bodies, a user's SMPL-X file, the toy of the tests) becomes the same arrays, so nothing but the
command that writes the file knows where a body comes from. Formula: Loper et al. 2015 (SMPL), equations 2 to 10.
"""

import hashlib
import io
import json
import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from shards.files import write_bytes

FORMAT = "frameline-body/1"
ARRAYS = {
    "template_m": np.float32, "shape_directions": np.float32, "joints_m": np.float32, "joint_directions": np.float32,
    "parents": np.int32, "weights": np.float32, "faces": np.int32, "parts": np.uint8,
}  # fmt: skip
"""Names of the arrays of every body file."""
LARGEST = 1 << 30
"""Bytes that an array of a body file may have: SMPL-X with 400 shape directions is a tenth of it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Body:
    """A skinned body. It stands upright and faces the camera at rest: up is -y, its front is -z, its left +x.

    Checked when it is made; ValueError names the body and the array.
    """

    name: str
    """Back end and version: what tables name beside a number."""
    template_m: np.ndarray
    """(V, 3) float32, the mean shape at rest"""
    shape_directions: np.ndarray
    """(S, V, 3) float32 metres for one standard deviation of each shape coefficient"""
    joints_m: np.ndarray
    """(J, 3) float32, joints of the mean shape at rest; 0 is the pelvis"""
    joint_directions: np.ndarray
    """(S, J, 3) float32"""
    parents: np.ndarray
    """(J,) int32, the joint that each hangs on, which comes before it; -1 for the pelvis"""
    weights: np.ndarray
    """(V, J) float32, rows sum to 1: how much each joint moves a vertex"""
    faces: np.ndarray
    """(F, 3) int32 vertices of a triangle, counter-clockwise seen from outside"""
    parts: np.ndarray
    """(F,) uint8, the body part of a face from 1; 0 is what is no body"""
    joint_names: tuple[str, ...]
    part_names: tuple[str, ...]
    pose_directions: np.ndarray | None = None
    """(9 (J - 1), V, 3) float32, corrections by the rotations of all joints but the pelvis; None: none"""

    def __post_init__(self) -> None:
        num_joints, num_vertices, num_shapes = len(self.joints_m), len(self.template_m), len(self.shape_directions)
        expected = {
            "template_m": (num_vertices, 3), "shape_directions": (num_shapes, num_vertices, 3),
            "joints_m": (num_joints, 3), "joint_directions": (num_shapes, num_joints, 3), "parents": (num_joints,),
            "weights": (num_vertices, num_joints), "faces": (len(self.faces), 3), "parts": (len(self.faces),),
        }  # fmt: skip
        if self.pose_directions is not None:
            expected["pose_directions"] = (9 * (num_joints - 1), num_vertices, 3)
        for name, shape in expected.items():
            array, dtype = getattr(self, name), ARRAYS.get(name, np.float32)
            if array.shape != shape or array.dtype != dtype:
                self._refuse(name, f"is {array.shape} {array.dtype}, expected {shape} {np.dtype(dtype)}")
            if array.dtype == np.float32 and not np.isfinite(array).all():
                self._refuse(name, "is NaN or infinite somewhere")
        if not (num_joints and len(self.faces)):
            self._refuse("faces" if num_joints else "joints_m", "has no entries")
        if self.parents[0] != -1 or not all(0 <= p < j for j, p in enumerate(self.parents[1:].tolist(), start=1)):
            self._refuse("parents", "must be -1 for joint 0, and for every other joint one that comes before it")
        if np.abs(self.weights.sum(1) - 1).max(initial=0) > 1e-3 or self.weights.min(initial=0) < 0:
            self._refuse("weights", "must be at least 0 and sum to 1 for every vertex")
        if self.faces.min() < 0 or self.faces.max() >= num_vertices:
            self._refuse("faces", f"name vertices outside 0..{num_vertices - 1}")
        if len(self.joint_names) != num_joints or not 1 <= self.parts.min() <= self.parts.max() <= len(self.part_names):
            self._refuse("parts", "or joint_names do not fit the number of names")

    def _refuse(self, name: str, reason: str) -> None:
        raise ValueError(f"body {self.name}: {name} {reason}")

    @property
    def num_joints(self) -> int:
        return len(self.parents)

    @property
    def num_shapes(self) -> int:
        return len(self.shape_directions)

    @cached_property
    def digest(self) -> str:
        """16 hex digits of everything that decides vertices: what a shard's labels belong to."""
        digest = hashlib.sha256(self.name.encode())
        for name in (*ARRAYS, "pose_directions"):
            array = getattr(self, name)
            if array is not None:
                digest.update(f"{name}{array.shape}{array.dtype}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def joint(self, name: str) -> int:
        """The number of a joint; ValueError with the known names."""
        if name not in self.joint_names:
            raise ValueError(f"body {self.name}: no joint '{name}'; it has {', '.join(self.joint_names)}")
        return self.joint_names.index(name)


@dataclass(frozen=True, kw_only=True, eq=False)
class Posed:
    """Bodies in camera axes: vertices (B, V, 3) and joints (B, J, 3) float32 metres."""

    vertices_m: np.ndarray
    joints_m: np.ndarray


def pose_body(body: Body, shape: np.ndarray, rotations: np.ndarray, pelvis_m: np.ndarray | None = None) -> Posed:
    """Bodies of these shapes in these poses, each with its pelvis exactly at `pelvis_m` (default: the origin).

    shape (B, S); rotations (B, J, 3, 3), each about its joint in the axes of the rest pose and relative to its parent,
    the first one about the pelvis; pelvis_m (B, 3) metres. Raises ValueError for shapes that do not fit the body.
    """
    batch = len(rotations)
    expected = {"shape": (batch, body.num_shapes), "rotations": (batch, body.num_joints, 3, 3)}
    for name, array in (("shape", shape), ("rotations", rotations)):
        if array.shape != expected[name]:
            raise ValueError(f"body {body.name}: {name} is {array.shape}, expected {expected[name]}")
    shape, rotations = shape.astype(np.float32), rotations.astype(np.float32)
    rest = body.template_m + np.tensordot(shape, body.shape_directions, 1)  # (B, V, 3)
    joints = body.joints_m + np.tensordot(shape, body.joint_directions, 1)  # (B, J, 3)
    if body.pose_directions is not None:
        bend = (rotations[:, 1:] - np.eye(3, dtype=np.float32)).reshape(batch, -1)
        rest = rest + np.tensordot(bend, body.pose_directions, 1)
    turned, placed = _chain(body.parents.tolist(), rotations, joints)
    place = np.zeros((batch, 3), np.float32) if pelvis_m is None else np.asarray(pelvis_m, np.float32)
    # v' = sum_j w_j (G_j (v - joint_j) + place_j) = (sum_j w_j G_j) v + sum_j w_j (place_j - G_j joint_j)
    offset = placed - np.einsum("bjxy,bjy->bjx", turned, joints)
    transform = np.concatenate([turned.reshape(batch, -1, 9), offset], -1)  # (B, J, 12)
    blended = np.matmul(body.weights, transform)  # (B, V, 12)
    vertices = np.einsum("bvxy,bvy->bvx", blended[..., :9].reshape(batch, -1, 3, 3), rest) + blended[..., 9:]
    return Posed(vertices_m=vertices + place[:, None], joints_m=placed + place[:, None])


def _chain(parents: list[int], rotations: np.ndarray, joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (B, J, 3, 3) of all joints in the axes of the camera, and their places (B, J, 3) from the pelvis."""
    turned, placed = np.empty_like(rotations), np.empty_like(joints)
    turned[:, 0], placed[:, 0] = rotations[:, 0], 0
    for joint, parent in enumerate(parents[1:], start=1):
        turned[:, joint] = turned[:, parent] @ rotations[:, joint]
        bone = joints[:, joint] - joints[:, parent]
        placed[:, joint] = placed[:, parent] + np.einsum("bxy,by->bx", turned[:, parent], bone)
    return turned, placed


def write_body(path: Path, body: Body) -> Path:
    """Write a body file: an npz without pickles whose bytes depend on the body only."""
    arrays = {name: getattr(body, name) for name in (*ARRAYS, "pose_directions") if getattr(body, name) is not None}
    names = {"name": body.name, "joint_names": body.joint_names, "part_names": body.part_names, "format": FORMAT}
    content = io.BytesIO()
    np.savez(content, about=np.frombuffer(json.dumps(names).encode(), np.uint8), **arrays)
    return write_bytes(path, content.getvalue())


def read_body(path: Path) -> Body:
    """Read a body file; ValueError that names it for anything else than what `write_body` wrote."""
    again = "make it again (snakemake data/bodies/NAME.npz, or python -m generation body --help)"
    if not Path(path).is_file():
        raise ValueError(f"{path}: there is no body file; {again}")
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.file_size > LARGEST for entry in archive.infolist()):
                raise ValueError("an array is too large")
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            if about.pop("format", None) != FORMAT:
                raise ValueError("another format")
            known = {field.name for field in fields(Body)}
            arrays = {name: archive[name] for name in archive.files if name in known}
        names = {name: tuple(about[name]) for name in ("joint_names", "part_names")}
        return Body(name=about["name"], **names, **arrays)
    except (OSError, EOFError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: not a body file of this version ({reason}); {again}") from None
