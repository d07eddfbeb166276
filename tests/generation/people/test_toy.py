"""The capsule man: closed, the right way out, and as large as its shape coefficients say."""

import numpy as np
import pytest

from generation.people.skeleton import JOINTS, PARENTS, merge_bones, parts_of_faces
from generation.people.toy import PLACES, SIDES, capsule, make_toy
from shards.people.body import pose_body


def volume(vertices, faces):
    """Of a closed mesh, by the divergence theorem; negative where faces are the wrong way round."""
    a, b, c = np.moveaxis(vertices[faces].astype(float), 1, 0)
    return (a * np.cross(b, c)).sum() / 6


def test_a_capsule_is_closed_and_has_the_volume_of_a_prism_and_two_pyramids():
    start, end, radius = np.array([0.3, -0.2, 2.0]), np.array([0.5, 0.4, 1.7]), 0.1
    vertices, faces = capsule(start, end, radius)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert {tuple(edge) for edge in edges} == {tuple(edge[::-1]) for edge in edges} and len(edges) == len(
        set(map(tuple, edges))
    )
    area = SIDES / 2 * radius**2 * np.sin(2 * np.pi / SIDES)
    assert volume(vertices, faces) == pytest.approx(area * (np.linalg.norm(end - start) + 2 * radius / 3))


def test_the_toy_has_the_joints_of_smplx_and_a_capsule_on_every_bone():
    body = make_toy()
    assert body.joint_names == body.part_names == JOINTS and body.parents.tolist() == list(PARENTS)
    np.testing.assert_array_equal(body.joints_m, np.array([PLACES[name] for name in JOINTS], np.float32))
    assert set(body.parts) == set(range(1, 23))
    num_children = [PARENTS.count(joint) for joint in range(22)]
    of_capsules = 2 * SIDES + 2
    vertices_of = np.bincount(body.weights.argmax(1), minlength=22)
    np.testing.assert_array_equal(vertices_of, [of_capsules * max(1, n) for n in num_children])
    assert volume(body.template_m, body.faces) > 0


def test_axes_up_is_minus_y_and_the_left_hand_is_at_plus_x():
    """And the toes are in front, at -z."""
    body = make_toy()
    place = dict(zip(JOINTS, body.joints_m, strict=True))
    assert place["head"][1] < place["pelvis"][1] < place["left_ankle"][1]
    assert place["left_wrist"][0] > 0 > place["right_wrist"][0]
    assert place["left_foot"][2] < place["left_ankle"][2]


def test_shape_coefficients_are_stature_and_girth():
    body, turns = make_toy(), np.tile(np.eye(3), (3, 22, 1, 1))
    posed = pose_body(body, np.array([[0, 0], [1, 0], [0, 1]]), turns)
    statures = np.ptp(posed.vertices_m[..., 1], axis=1)
    assert statures[1] == pytest.approx(1.05 * statures[0], rel=1e-5)
    np.testing.assert_allclose(posed.joints_m[1], 1.05 * posed.joints_m[0], atol=1e-6)
    np.testing.assert_allclose(posed.joints_m[2], posed.joints_m[0], atol=1e-6)
    # A shin of 0.05 m radius: its ring is a tenth farther from the bone.
    shin = body.weights.argmax(1) == JOINTS.index("left_knee")
    start, end = body.joints_m[[JOINTS.index("left_knee"), JOINTS.index("left_ankle")]].astype(float)
    axis = (end - start) / np.linalg.norm(end - start)
    for number, expected in ((0, 0.05), (2, 0.055)):
        away = posed.vertices_m[number][shin][: 2 * SIDES] - start
        np.testing.assert_allclose(np.linalg.norm(away - np.outer(away @ axis, axis), axis=1), expected, atol=1e-6)


def test_making_it_twice_gives_the_same():
    assert make_toy().digest == make_toy().digest


def test_weights_of_bones_go_to_the_joints_that_they_hang_on():
    weights = np.array([[0.5, 0.2, 0.3, 0], [0, 0, 0.25, 0.75], [-1e-9, 1, 0, 0]])
    merged = merge_bones(weights, np.array([0, 1, 1, 0]), 2)
    np.testing.assert_allclose(merged, [[0.5, 0.5], [0.75, 0.25], [0, 1]])
    assert merged.dtype == np.float32 and merged.min() >= 0


def test_a_face_is_of_the_joint_that_moves_it_most():
    weights = np.array([[1, 0, 0], [0.4, 0.6, 0], [0, 0.6, 0.4], [0, 0, 1]])
    np.testing.assert_array_equal(parts_of_faces(weights, np.array([[0, 1, 2], [0, 0, 1], [2, 3, 3]])), [1 + 0, 1, 3])
    assert parts_of_faces(weights, np.array([[1, 1, 2]])).tolist() == [2]
