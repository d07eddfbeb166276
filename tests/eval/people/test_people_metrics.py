"""Each metric against a slow version of its definition, and where it must be zero, one or undefined."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from eval.people.metrics import LIMBS, align, depth_errors, mask_iou, mean_distance, part_iou
from generation.people.skeleton import JOINTS
from tests.eval.people.persons import draw_rotations


def test_errors_of_depth_by_hand():
    errors = depth_errors(np.array([1.0, 4.0]), np.array([2.0, 5.0]))
    assert errors["depth_error"].tolist() == [1, 1]
    assert errors["relative_depth_error"].tolist() == [0.5, 0.2]
    np.testing.assert_allclose(errors["inverse_depth_error"], [0.5, 0.05])


def test_mean_distance_is_that_of_a_loop():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 7, 3))
    for picture, value in enumerate(mean_distance(first, second)):
        slow = [math.dist(a, b) for a, b in zip(first[picture], second[picture], strict=True)]
        assert value == pytest.approx(sum(slow) / 7)


def test_the_fourteen_joints_are_joints_of_every_body():
    assert len(set(LIMBS)) == 14 and set(LIMBS) <= set(JOINTS)


def test_points_that_were_only_scaled_turned_and_moved_come_back():
    rng = np.random.default_rng(1)
    target = rng.normal(size=(6, 14, 3))
    turned = np.einsum("bij,bnj->bni", draw_rotations(rng, 6, degrees=90).astype(float), target)
    np.testing.assert_allclose(align(2.5 * turned + rng.normal(size=(6, 1, 3)), target), target, atol=1e-5)
    np.testing.assert_allclose(align(0 * target, target), np.repeat(target.mean(1, keepdims=True), 14, 1))


def test_a_mirrored_body_is_not_mirrored_back():
    target = np.random.default_rng(2).normal(size=(1, 14, 3))
    assert mean_distance(align(target * [-1, 1, 1], target), target)[0] > 0.3


def test_alignment_is_the_least_that_a_search_finds():
    """A slow version: a search over scale, three angles and a shift by a general optimiser, from several starts."""
    rng = np.random.default_rng(3)
    points, target = rng.normal(size=(2, 1, 14, 3))
    target[0, :, 2] *= -1  # most likely to tempt a reflection

    def rotation(vector):
        angle = np.linalg.norm(vector) + 1e-12
        x, y, z = vector / angle
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross

    def squares(values):
        moved = np.exp(values[0]) * points[0] @ rotation(values[1:4]).T + values[4:7]
        return ((moved - target[0]) ** 2).sum()

    least = min(minimize(squares, np.r_[-1, rng.normal(size=6)]).fun for _ in range(12))
    assert ((align(points, target) - target) ** 2).sum() == pytest.approx(least, rel=1e-5)


def test_masks_and_parts_against_loops_over_pixels():
    rng = np.random.default_rng(4)
    first, second = rng.integers(0, 4, (2, 9, 11))
    both = union = 0
    for a, b in zip(first.ravel(), second.ravel(), strict=True):
        both += a > 0 and b > 0
        union += a > 0 or b > 0
    assert mask_iou(first > 0, second > 0) == both / union
    both = union = 0
    for part in (1, 2, 3):
        for a, b in zip(first.ravel(), second.ravel(), strict=True):
            both += a == part and b == part
            union += a == part or b == part
    assert part_iou(first, second) == both / union


def test_masks_at_their_limits():
    empty, full = np.zeros((4, 4), int), np.ones((4, 4), int)
    assert mask_iou(full > 0, full > 0) == part_iou(full, full) == 1
    assert mask_iou(full > 0, empty > 0) == part_iou(full, empty) == part_iou(full, 2 * full) == 0
    assert math.isnan(mask_iou(empty > 0, empty > 0)) and math.isnan(part_iou(empty, empty))
