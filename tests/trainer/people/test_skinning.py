"""Bodies in torch: the same numbers as numpy's, and gradients that finite differences confirm."""

import dataclasses

import numpy as np
import pytest
import torch

from generation.people.toy import make_toy
from shards.people.body import pose_body
from trainer.people.rotations import angles_between, matrices_of_six, six_of_matrices
from trainer.people.skinning import SkinnedBody


def random_pose(body, batch=5, seed=0):
    rng = np.random.default_rng(seed)
    six = torch.from_numpy(rng.normal(size=(batch, body.num_joints, 6)).astype(np.float32))
    shape = torch.from_numpy(rng.normal(size=(batch, body.num_shapes)).astype(np.float32))
    return shape, matrices_of_six(six)


def with_corrections(body):
    size = (9 * (body.num_joints - 1), len(body.template_m), 3)
    return dataclasses.replace(body, pose_directions=np.random.default_rng(3).normal(0, 0.01, size).astype(np.float32))


@pytest.mark.parametrize("body", [make_toy(), with_corrections(make_toy())], ids=["plain", "corrected"])
def test_torch_and_numpy_pose_the_same_body(body):
    shape, rotations = random_pose(body)
    vertices, joints = SkinnedBody(body)(shape, rotations)
    expected = pose_body(body, shape.numpy(), rotations.numpy())
    np.testing.assert_allclose(vertices, expected.vertices_m, atol=1e-5)
    np.testing.assert_allclose(joints, expected.joints_m, atol=1e-5)
    some = torch.tensor([3, 40, 7])
    fewer, _ = SkinnedBody(body, some)(shape, rotations)
    np.testing.assert_allclose(fewer, expected.vertices_m[:, some], atol=1e-5)


def test_gradients_are_those_of_finite_differences():
    body = SkinnedBody(with_corrections(make_toy()), torch.tensor([0, 50, 100, 200])).double()
    shape, rotations = random_pose(make_toy(), batch=2)
    shape, six = shape.double().requires_grad_(), six_of_matrices(rotations).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda s, r: body(s, matrices_of_six(r)), (shape, six))


def test_the_constants_of_a_body_are_no_weights():
    assert not SkinnedBody(make_toy()).state_dict()


def test_six_numbers_and_back():
    _, rotations = random_pose(make_toy())
    torch.testing.assert_close(matrices_of_six(six_of_matrices(rotations)), rotations, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotations), torch.ones(rotations.shape[:2]))
    scaled = six_of_matrices(rotations) * 3
    torch.testing.assert_close(matrices_of_six(scaled), rotations, atol=1e-5, rtol=0)


@pytest.mark.parametrize("angle", [0.0, 1e-3, 1.0, 3.0, np.pi])
def test_angles_and_their_gradient_are_finite(angle):
    turn = torch.tensor(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], dtype=torch.float32
    )
    start = random_pose(make_toy(), batch=1)[1][0, 0].requires_grad_()
    found = angles_between(start, start.detach() @ turn)
    assert found.item() == pytest.approx(angle, abs=2e-3)
    found.backward()
    assert torch.isfinite(start.grad).all()
