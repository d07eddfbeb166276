"""A user's SMPL or SMPL-X file as a body file. Only arrays are read: the package smplx, whose licence forbids
commercial use, is not needed.

Joints after the first 22 (hands, jaw, eyes) keep their rest pose: their weights go to the joint that they hang on.
"""

from pathlib import Path
from typing import NoReturn

import numpy as np

from generation.people.skeleton import merge_bones, parts_of_faces
from shards.npzfile import load_npz
from shards.people.body import Body
from shards.people.labels import TURN
from shards.people.skeleton import JOINTS, PARENTS

LICENCE = "https://smpl-x.is.tue.mpg.de"
MODELS = {55: "smplx", 24: "smpl"}
"""By the number of joints."""
AXES = {"v_template": 2, "shapedirs": 3, "posedirs": 3, "J_regressor": 2, "weights": 2, "kintree_table": 2, "f": 2}
"""Arrays that are read, and how many axes each has."""


def read_smplx(path: Path, num_shapes: int) -> Body:
    """The body of an npz with the arrays v_template (V, 3), shapedirs (V, 3, S), posedirs (V, 3, 9 (J - 1)),
    J_regressor (J, V), weights (V, J), kintree_table (2, J) and f (F, 3); J is 55 (SMPL-X) or 24 (SMPL).

    Raises ValueError for a missing file, with the page where it is licensed, and for one with other arrays.
    """
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file; SMPL-X is licensed, and got from {LICENCE}")
    if path.suffix != ".npz":
        raise ValueError(f"{path}: a pickle is not read; take the npz from {LICENCE}")
    content, arrays = load_npz(path, AXES), {}
    for name, num_axes in AXES.items():
        if name not in content:
            _refuse(path, f"has no {name}")
        arrays[name] = np.asarray(content[name])
        if arrays[name].dtype.kind not in "fiu":
            _refuse(path, f"has {name} of type {arrays[name].dtype}, expected numbers")
        if arrays[name].ndim != num_axes:
            _refuse(path, f"has {name} of shape {arrays[name].shape}, expected {num_axes} axes")
    num_joints, num_vertices = arrays["weights"].shape[1], len(arrays["v_template"])
    if num_joints not in MODELS:
        _refuse(path, f"has {num_joints} joints, expected {' or '.join(map(str, MODELS))}")
    parents = arrays["kintree_table"][0].astype(np.int64)  # the first may be 2^32 - 1
    if tuple(parents[1 : len(JOINTS)]) != PARENTS[1:]:
        _refuse(path, "has another tree of joints than SMPL's")
    expected = {
        "v_template": (num_vertices, 3), "J_regressor": (num_joints, num_vertices), "kintree_table": (2, num_joints),
        "posedirs": (num_vertices, 3, 9 * (num_joints - 1)), "weights": (num_vertices, num_joints),
    }  # fmt: skip
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            _refuse(path, f"has {name} of shape {arrays[name].shape}, expected {shape}")
    if arrays["shapedirs"].shape[:2] != (num_vertices, 3) or arrays["shapedirs"].shape[2] < num_shapes:
        _refuse(
            path, f"has shapedirs of shape {arrays['shapedirs'].shape}, expected ({num_vertices}, 3, {num_shapes}+)"
        )
    return _assemble(f"{MODELS[num_joints]}-{path.stem}", arrays, parents, num_shapes)


def _assemble(name: str, arrays: dict[str, np.ndarray], parents: np.ndarray, num_shapes: int) -> Body:
    """The arrays of 22 joints, turned so that up is -y."""
    count = len(JOINTS)
    regressor = arrays["J_regressor"][:count]  # (22, V)
    directions = np.moveaxis(arrays["shapedirs"][..., :num_shapes], -1, 0) @ TURN  # (S, V, 3)
    template = arrays["v_template"] @ TURN
    # Of the nine numbers of TURN R TURN, which a correction is multiplied by.
    signs = np.tile(np.outer(np.diag(TURN), np.diag(TURN)).ravel(), count - 1)
    corrections = np.moveaxis(arrays["posedirs"][..., : 9 * (count - 1)], -1, 0) @ TURN * signs[:, None, None]
    owners = list(range(count))
    for parent in parents[count:]:
        owners.append(owners[parent])
    weights = merge_bones(arrays["weights"], np.array(owners), count)
    faces = arrays["f"].astype(np.int32)
    return Body(
        name=name,
        template_m=template.astype(np.float32),
        shape_directions=directions.astype(np.float32),
        joints_m=(regressor @ template).astype(np.float32),
        joint_directions=np.einsum("jv,svx->sjx", regressor, directions).astype(np.float32),
        parents=np.array(PARENTS, np.int32),
        weights=weights,
        faces=faces,
        parts=parts_of_faces(weights, faces),
        joint_names=JOINTS,
        part_names=JOINTS,
        pose_directions=corrections.astype(np.float32),
    )


def _refuse(path: Path, reason: str) -> NoReturn:
    raise ValueError(f"{path}: {reason}; it is no model file of SMPL or SMPL-X ({LICENCE})")
