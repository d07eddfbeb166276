"""Random bodies in random poses: within limits, in front of what they bend to, and as often mirrored as not."""

import numpy as np
import pytest

from generation.people.config import PeopleConfig
from generation.people.pose import DEVIATIONS, LIMITS, SHARES, STANCES, draw_state, mirrored
from generation.people.skeleton import JOINTS
from shards.people.body import pose_body
from shards.people.labels import rotation_matrices
from tests.shards.people_clips import BODY

SWAPPED = [JOINTS.index(name.replace("left", "?").replace("right", "left").replace("?", "right")) for name in JOINTS]


def states(count=300, **changes):
    """Shapes (N, S) and rotations (N, 22, 3, 3) of the first seeds."""
    drawn = [draw_state(PeopleConfig(**changes), BODY, np.random.default_rng(seed)) for seed in range(count)]
    return np.stack([state.shape for state in drawn]), np.stack([state.rotations for state in drawn])


def angles(rotations):
    """Angles (...) of rotations (..., 3, 3), radians."""
    return np.arccos(((np.trace(rotations, axis1=-2, axis2=-1) - 1) / 2).clip(-1, 1))


def joints_of(turns):
    """Joints (22, 3) of the mean body after turns (22, 3) about their axes."""
    return pose_body(BODY, np.zeros((1, 2)), rotation_matrices(turns)[None]).joints_m[0]


def stance(name):
    """Joints of a stance by name."""
    turns = np.zeros((22, 3))
    for joint, turn in STANCES[name].items():
        turns[JOINTS.index(joint)] = turn
    return dict(zip(JOINTS, joints_of(turns), strict=True))


def test_the_same_seed_is_the_same_state_and_another_is_another():
    shape, rotations = states(20)
    again = states(20)
    np.testing.assert_array_equal(again[0], shape)
    np.testing.assert_array_equal(again[1], rotations)
    assert len(np.unique(shape, axis=0)) == len(np.unique(rotations.reshape(20, -1), axis=0)) == 20
    assert (shape.dtype, rotations.dtype) == (np.float32, np.float32)


def test_rotations_are_rotations_and_shapes_are_normal_and_cut():
    shape, rotations = states(shape_limit=1.5)
    np.testing.assert_allclose(rotations @ rotations.swapaxes(-1, -2), np.broadcast_to(np.eye(3), rotations.shape),
                               atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(np.linalg.det(rotations), 1, atol=1e-5)
    assert np.abs(shape).max() == 1.5 and abs(shape.mean()) < 0.15 and 0.8 < shape.std() < 1.0
    assert (np.abs(shape) == 1.5).mean() < 0.2


def test_joints_turn_within_their_limits():
    """An angle is at most that of the farthest corner of a joint's box; a limit that is wide is used."""
    _, rotations = states(pose_scale=3.0)
    largest = angles(rotations).max(0)
    for number, name in enumerate(JOINTS[1:], start=1):
        bounds = np.array(LIMITS.get(name.split("_")[-1], ((-0.4, 0.4),) * 3))
        farthest = np.linalg.norm(np.abs(bounds).max(1))
        assert 0.1 < largest[number] <= farthest + 1e-3, name
    knees = rotations[:, [JOINTS.index("left_knee"), JOINTS.index("right_knee")]]
    assert knees[..., 2, 1].min() > -0.15, "a knee bends backwards, and only so: sin of the turn about x"


def test_without_a_scale_only_stances_remain():
    _, rotations = states(200, pose_scale=0.0, max_tilt_degrees=0.0)
    expected = []
    for name, share in SHARES.items():
        turns = np.zeros((22, 3))
        for joint, turn in STANCES[name].items():
            turns[JOINTS.index(joint)] = turn
        for wanted in (turns, mirrored(turns, JOINTS)):
            matrices = rotation_matrices(wanted)
            is_it = np.abs(rotations - matrices).max((1, 2, 3)) < 1e-5
            expected.append(is_it)
            one_way = (
                share if name in ("stand", "sit", "crouch", "arms_down") else share / 2
            )  # the others are two poses
            assert abs(is_it.mean() - one_way) < 0.1, name
    assert (
        np.any(expected, axis=0).all() and sum(SHARES.values()) == pytest.approx(1) and SHARES.keys() == STANCES.keys()
    )
    np.testing.assert_array_equal(rotations[:, 0], np.broadcast_to(np.eye(3), (200, 3, 3)))


def test_the_body_tilts_little_and_never_twists_about_the_vertical():
    """Where it faces is the camera's to decide."""
    _, rotations = states(max_tilt_degrees=15.0)
    tilt = np.degrees(np.arccos(rotations[:, 0, 1, 1]))
    assert 5 < tilt.mean() < 15 and np.percentile(tilt, 90) < 18
    twist = np.degrees(np.arctan2(rotations[:, 0, 0, 2], rotations[:, 0, 2, 2]))
    assert np.abs(twist).max() < 10


def test_a_pose_in_a_mirror_is_the_mirrored_pose():
    """The toy's joints are symmetric: x changes its sign, and left and right change places."""
    rng = np.random.default_rng(2)
    turns = rng.normal(0, 0.5, (22, 3))
    expected = joints_of(turns)[SWAPPED] * [-1, 1, 1]
    np.testing.assert_allclose(joints_of(mirrored(turns, JOINTS)), expected, atol=1e-6)
    np.testing.assert_array_equal(mirrored(mirrored(turns, JOINTS), JOINTS), turns)


def test_left_and_right_are_drawn_alike():
    _, rotations = states(600)
    reach = angles(rotations).mean(0)
    for number, other in enumerate(SWAPPED):
        assert reach[number] == pytest.approx(reach[other], rel=0.15), JOINTS[number]


def test_stances_are_what_their_names_say():
    """Front is -z, down is +y."""
    for name in ("sit", "crouch"):
        joints = stance(name)
        for side in ("left", "right"):
            hip, knee, ankle = (joints[f"{side}_{joint}"] for joint in ("hip", "knee", "ankle"))
            assert knee[2] < hip[2] - 0.3, "a knee is in front of its hip"
            assert ankle[1] > knee[1] + 0.2 and ankle[2] > knee[2] - 0.1, "a shin goes down, and not forwards"
    down = stance("arms_down")
    assert down["left_wrist"][1] > 0 and down["left_wrist"][0] == pytest.approx(-down["right_wrist"][0], abs=1e-6)
    assert abs(down["left_wrist"][0] - down["left_shoulder"][0]) < 0.1 and down["left_elbow"][0] > 0.1
    reach = stance("reach")
    assert reach["left_wrist"][2] < reach["left_shoulder"][2] - 0.3, "forwards"
    walk = stance("walk")
    assert (walk["left_knee"][2] < walk["left_hip"][2]) and (walk["right_ankle"][2] > walk["right_hip"][2])
    assert (walk["left_wrist"][2] > 0) and (walk["right_wrist"][2] < 0), "an arm swings against its leg"


def test_every_joint_has_its_deviation():
    assert {name.split("_")[-1] for name in JOINTS[1:]} == set(DEVIATIONS)
