"""A small body with the arrays and axes of SMPL-X, its plain forward, and labels of it in the formats of data sets.

Axes of the rest pose are SMPL's: y up, facing +z, and the pelvis is not at the origin.
"""

from types import SimpleNamespace

import cv2
import numpy as np

from generation.people.toy import make_toy
from shards.people.body import Body, pose_body

TURN = np.diag([1.0, -1.0, -1.0])
ORIGIN = np.array([0.01, -0.35, 0.02])
SIZE = (60, 80)
"""Height and width of the images."""


def make_model(num_shapes=4, seed=0):
    """Template, shape directions, joints, weights and pose directions of a model in SMPL's axes."""
    toy, rng = make_toy(), np.random.default_rng(seed)
    weights = toy.weights + rng.uniform(0, 0.02, toy.weights.shape)
    num_vertices, num_joints = toy.weights.shape
    return SimpleNamespace(
        template=toy.template_m @ TURN + ORIGIN,
        joints=toy.joints_m @ TURN + ORIGIN,
        shape_directions=rng.normal(0, 0.01, (num_shapes, num_vertices, 3)),
        joint_directions=rng.normal(0, 0.01, (num_shapes, num_joints, 3)),
        pose_directions=rng.normal(0, 0.002, (9 * (num_joints - 1), num_vertices, 3)),
        weights=weights / weights.sum(1, keepdims=True),
        parents=toy.parents,
        toy=toy,
    )


def as_body(model, name="smplx-test"):
    """The same model as a body file's: turned so that up is -y."""
    signs = np.outer(np.diag(TURN), np.diag(TURN)).ravel()  # of the nine numbers of TURN R TURN
    bends = model.pose_directions.reshape(-1, 9, *model.template.shape) * signs[:, None, None]
    single = {
        "template_m": model.template @ TURN,
        "shape_directions": model.shape_directions @ TURN,
        "joints_m": model.joints @ TURN,
        "joint_directions": model.joint_directions @ TURN,
        "weights": model.weights,
        "pose_directions": bends.reshape(model.pose_directions.shape) @ TURN,
    }
    toy = model.toy
    return Body(
        name=name,
        parents=toy.parents,
        faces=toy.faces,
        parts=toy.parts,
        joint_names=toy.joint_names,
        part_names=toy.part_names,
        **{key: value.astype(np.float32) for key, value in single.items()},
    )


def forward(model, betas, global_orient, body_pose, transl):
    """Vertices (V, 3) and joints (J, 3) of SMPL by Loper et al. 2015, one joint after the other, 4x4 matrices."""
    rotations = [cv2.Rodrigues(np.asarray(one, float))[0] for one in (global_orient, *body_pose)]
    shaped = model.template + np.tensordot(betas, model.shape_directions, 1)
    joints = model.joints + np.tensordot(betas, model.joint_directions, 1)
    bend = np.concatenate([(rotation - np.eye(3)).ravel() for rotation in rotations[1:]])
    posed = shaped + np.tensordot(bend, model.pose_directions, 1)
    chain = []
    for number, rotation in enumerate(rotations):
        local = np.eye(4)
        parent = model.parents[number]
        local[:3, :3], local[:3, 3] = rotation, joints[number] - (joints[parent] if number else 0)
        chain.append(chain[parent] @ local if number else local)
    vertices = np.zeros_like(posed)
    for number, world in enumerate(chain):
        moved = (posed - joints[number]) @ world[:3, :3].T + world[:3, 3]
        vertices += model.weights[:, number, None] * moved
    return vertices + transl, np.stack([world[:3, 3] for world in chain]) + transl


def make_labels(num_people=3, num_shapes=4, num_joints=22, seed=0):
    """Labels of people who stand 2 to 3 metres in front of cameras, upright and turned to all sides."""
    rng = np.random.default_rng(seed)
    upright = [
        cv2.Rodrigues(cv2.Rodrigues(np.array([np.pi, 0, 0]))[0] @ cv2.Rodrigues(np.array([0, yaw, 0]))[0])[0].ravel()
        for yaw in rng.uniform(-3, 3, num_people)
    ]
    return {
        "betas": rng.normal(size=(num_people, num_shapes)),
        "global_orient": np.array(upright) + rng.normal(0, 0.05, (num_people, 3)),
        "body_pose": rng.normal(0, 0.25, (num_people, num_joints - 1, 3)),
        "transl": np.stack([*rng.uniform(-0.2, 0.2, (2, num_people)), rng.uniform(2, 3, num_people)], -1),
    }


def expected(model, labels, number):
    """Vertices and joints of one of the labels, by the plain forward."""
    names = ("betas", "global_orient", "body_pose", "transl")
    return forward(model, *(np.asarray(labels[name][number]) for name in names))


def vertices_of(body, person, frame=0):
    """Vertices of a clip's person, by the body file."""
    part = slice(frame, frame + 1)
    return pose_body(body, person.shape[part], person.rotations[part], person.pelvis_m[part]).vertices_m[0]


def write_model(path, model, num_joints=55):
    """The model as SMPL-X's npz: joints after the 22 (hands, jaw, eyes) hang on wrists and head. The regressor
    is one that makes the model's joints of its vertices, for every shape."""
    rng = np.random.default_rng(4)
    num_vertices, num_more = len(model.template), num_joints - 22
    wanted = np.concatenate([model.joints[None], model.joint_directions])  # (1 + S, 22, 3)
    known = np.concatenate([model.template[None], model.shape_directions])  # (1 + S, V, 3)
    equations = np.concatenate([known.transpose(1, 0, 2).reshape(num_vertices, -1), np.ones((num_vertices, 1))], 1)
    sides = np.concatenate([wanted.transpose(1, 0, 2).reshape(22, -1), np.ones((22, 1))], 1)
    regressor = np.linalg.lstsq(equations.T, sides.T, rcond=None)[0].T  # (22, V): exact, as V is larger
    owners = rng.choice([15, 20, 21], num_more)
    weights = np.concatenate([model.weights, np.zeros((num_vertices, num_more))], 1)
    for number, owner in enumerate(owners):  # each takes a part of the weight of what it hangs on
        share = rng.uniform(0, 0.3, num_vertices) * weights[:, owner]
        weights[:, 22 + number] += share
        weights[:, owner] -= share
    parents = np.concatenate([[2**32 - 1], model.parents[1:], owners]).astype(np.uint32)
    bends = np.concatenate([model.pose_directions, rng.normal(size=(9 * num_more, num_vertices, 3))])
    more = rng.normal(0, 0.01, (6, num_vertices, 3))
    np.savez(
        path,
        v_template=model.template,
        shapedirs=np.moveaxis(np.concatenate([model.shape_directions, more]), 0, -1),
        posedirs=np.moveaxis(bends, 0, -1),
        J_regressor=np.concatenate([regressor, regressor[owners]]),
        weights=weights,
        kintree_table=np.stack([parents, np.arange(num_joints, dtype=np.uint32)]),
        f=model.toy.faces.astype(np.uint32),
        part2num=np.array({"Head": 15}, object),
    )
    return path
