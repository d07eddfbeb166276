"""How Anny's bodies become a body file: on a fake model of a few vertices, and held against Anny itself where it is."""

import sys

import numpy as np
import pytest
import torch

from generation.people import anny as bodies
from generation.people.anny import (
    BONES,
    TO_CAMERA,
    assemble,
    draw_adult,
    make_anny,
    owners_of_bones,
    principal_directions,
    rest_state,
)
from generation.people.skeleton import JOINTS, PARENTS
from shards.people.body import pose_body
from tests.shards.people_clips import turns

LABELS = [*(BONES[name] for name in JOINTS), "finger1-1.L", "finger1-2.L", "jaw"]
BONE_PARENTS = [*PARENTS, JOINTS.index("left_wrist"), 22, JOINTS.index("head")]


class FakeAnny:
    """Anny's interface: z up, facing -y; statures and girths from two phenotypes."""

    bone_labels, bone_parents = LABELS, BONE_PARENTS

    def __init__(self):
        rng = np.random.default_rng(0)
        self.heads = rng.uniform([-0.5, -0.2, 0], [0.5, 0.2, 1.7], (len(LABELS), 3))
        self.vertices = self.heads.repeat(3, 0) + rng.normal(0, 0.05, (3 * len(LABELS), 3))
        weights = np.eye(len(LABELS)).repeat(3, 0) + rng.uniform(0, 0.1, (3 * len(LABELS), len(LABELS)))
        self.dense_vertex_bone_weights = torch.from_numpy(weights / weights.sum(1, keepdims=True))
        self.faces = torch.arange(3 * len(LABELS)).reshape(-1, 3)

    def __call__(self, pose, phenotypes):
        assert pose is None
        scale = np.array([1 + 0.2 * phenotypes["weight"], 1 + 0.2 * phenotypes["weight"], 0.8 + phenotypes["height"]])
        return {
            "rest_bone_heads": torch.from_numpy(self.heads * scale)[None],
            "rest_vertices": torch.from_numpy(self.vertices * scale)[None],
        }


def test_the_rest_state_is_in_camera_axes_from_the_pelvis():
    model = FakeAnny()
    vertices, joints = rest_state(model, {"weight": 0.0, "height": 0.2})
    root, knee = model.heads[0], model.heads[JOINTS.index("left_knee")]
    x, y, z = knee - root
    np.testing.assert_allclose(joints[JOINTS.index("left_knee")], [x, -z, y])  # up (z) is -y, the front (-y) is -z
    np.testing.assert_array_equal(joints[0], 0)
    np.testing.assert_allclose(vertices[5], (model.vertices[5] - root)[[0, 2, 1]] * [1, -1, 1])
    assert np.linalg.det(TO_CAMERA) == 1, "a rotation: no body is mirrored"


def test_bones_that_are_no_joints_hang_on_the_nearest_one():
    owners = owners_of_bones(LABELS, BONE_PARENTS)
    wrist, head = JOINTS.index("left_wrist"), JOINTS.index("head")
    np.testing.assert_array_equal(owners, [*range(22), wrist, wrist, head])
    # A bone without a parent that is no joint is the pelvis'.
    np.testing.assert_array_equal(owners_of_bones(["eye", "head"], [-1, 0]), [0, head])


def test_principal_directions_are_those_of_a_known_population():
    """Of normal coefficients on two known directions, each as long as its deviation."""
    rng = np.random.default_rng(1)
    first, second = np.zeros((2, 30, 3))
    first[:, 1], second[:10, 0] = 0.03, -0.02
    mean, coefficients = rng.normal(size=(30, 3)), rng.normal(size=(4000, 2))
    points = mean + np.einsum("ns,sij->nij", coefficients, np.stack([first, second]))
    found, directions = principal_directions(points, 2)
    np.testing.assert_allclose(found, mean, atol=0.002)
    np.testing.assert_allclose(directions[0], first, atol=0.002)
    np.testing.assert_allclose(directions[1], -second, atol=0.002)  # to where the sum grows
    explained = np.einsum("nij,sij->ns", points - found, directions) / (directions**2).sum((1, 2))
    np.testing.assert_allclose(explained.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(points, found + np.einsum("ns,sij->nij", explained, directions), atol=1e-9)


def test_the_body_has_the_models_mesh_and_the_weights_of_all_bones():
    model = FakeAnny()
    vertices, joints = rest_state(model, {"weight": 0.5, "height": 0.5})
    body = assemble(model, "anny-test", (vertices, joints), (vertices[None] * 0.1, joints[None] * 0.1))
    weights = model.dense_vertex_bone_weights.numpy()
    wrist = JOINTS.index("left_wrist")
    np.testing.assert_allclose(body.weights[:, wrist], weights[:, [wrist, 22, 23]].sum(1), rtol=1e-5)
    np.testing.assert_allclose(body.template_m, vertices, atol=1e-6)
    assert body.parts.tolist() == [*range(1, 23), wrist + 1, wrist + 1, JOINTS.index("head") + 1]
    assert (body.joint_names, body.parents.tolist(), body.num_shapes) == (JOINTS, list(PARENTS), 1)


def test_a_population_becomes_a_linear_space_of_shapes(monkeypatch):
    """The fake model's shapes are a plane: two coefficients give every adult of it exactly."""
    model = FakeAnny()
    monkeypatch.setattr(bodies, "load_model", lambda topology: model)
    settings = {"topology": "anny", "num_shapes": 2, "num_people": 30}
    body = make_anny(seed=3, **settings)
    assert body.name == "anny-0.6.2-anny" and body.num_shapes == 2
    assert body.digest == make_anny(seed=3, **settings).digest != make_anny(seed=4, **settings).digest
    vertices, joints = rest_state(model, draw_adult(np.random.default_rng(99)))
    directions = np.concatenate([body.shape_directions, body.joint_directions], 1).reshape(2, -1)
    away = np.concatenate([vertices - body.template_m, joints - body.joints_m]).ravel()
    shape = np.linalg.lstsq(directions.T, away, rcond=None)[0]
    posed = pose_body(body, shape[None], np.tile(np.eye(3), (1, 22, 1, 1)))
    np.testing.assert_allclose(posed.vertices_m[0], vertices, atol=1e-5)
    np.testing.assert_allclose(posed.joints_m[0], joints, atol=1e-5)


def test_phenotypes_are_those_of_adults():
    people = [draw_adult(np.random.default_rng(seed)) for seed in range(200)]
    assert people[0] == draw_adult(np.random.default_rng(0)) != people[1]
    assert all(0 <= value <= 1 for person in people for value in person.values())
    assert min(person["age"] for person in people) >= 0.65, "an adult's age starts at two thirds"
    assert 0.3 < np.mean([person["gender"] for person in people]) < 0.7


def test_an_unknown_mesh_and_a_missing_package_are_one_clear_error(monkeypatch):
    settings = {"num_shapes": 2, "num_people": 3, "seed": 0}
    with pytest.raises(ValueError, match="topology=smplx: known are anny, notoes_collapse10pc"):
        make_anny(topology="smplx", **settings)
    monkeypatch.setitem(sys.modules, "anny", None)
    with pytest.raises(ValueError, match=r"Anny is not installed here .*; python -m generation body-packages"):
        make_anny(topology="anny", **settings)


@pytest.mark.slow
def test_vertices_are_those_of_annys_own_forward():
    """Of one person's rest state without principal components; R of ours is B^T R B in a bone's axes B."""
    pytest.importorskip("anny", reason="Anny is beside the main environment (python -m generation body-packages)")
    with bodies.available(None):
        model = bodies.load_model("notoes_collapse10pc")
    phenotypes = draw_adult(np.random.default_rng(5))
    model.reference_bone_orientations = None  # turns are from the rest pose, as ours are
    rest = model(None, phenotypes)
    vertices, joints = rest_state(model, phenotypes)
    body = assemble(model, "anny-one", (vertices, joints), (np.zeros((1, *vertices.shape)), np.zeros((1, 22, 3))))
    bones = [model.bone_labels.index(BONES[name]) for name in JOINTS]
    for pose in turns(np.random.default_rng(6), 3, 22, bound=1.2).astype(float):
        deltas = torch.eye(4).repeat(1, len(model.bone_labels), 1, 1)
        for bone, turn in zip(bones, pose, strict=True):
            axes = rest["rest_bone_poses"][0, bone, :3, :3].double().numpy()
            deltas[0, bone, :3, :3] = torch.from_numpy(axes.T @ TO_CAMERA.T @ turn @ TO_CAMERA @ axes)
        output = model(deltas, phenotypes, pose_parameterization="local-bone")
        heads = output["bone_poses"][0, bones, :3, 3].double().numpy()
        vertices = output["vertices"][0].double().numpy()
        posed = pose_body(body, np.zeros((1, 1)), pose[None])
        np.testing.assert_allclose(posed.joints_m[0], (heads - heads[0]) @ TO_CAMERA.T, atol=1e-5)
        np.testing.assert_allclose(posed.vertices_m[0], (vertices - heads[0]) @ TO_CAMERA.T, atol=1e-5)
