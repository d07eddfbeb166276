"""Scenes that make no clip are recognised before they are rendered."""

import numpy as np
import pytest

from generation.config import MoviConfig
from generation.motion import DegenerateSceneError, check_motion, is_inside

TURN = [np.cos(np.pi / 8), 0.0, 0.0, np.sin(np.pi / 8)]  # 45 degrees about z


def scene(**changes):
    """One resting body of 2 x 1 x 1 m at the origin, two frames, a camera 9 m away."""
    poses = {
        "position": np.zeros((1, 4, 3)),
        "velocity": np.zeros((1, 4, 3)),
        "quaternion": np.tile([1.0, 0, 0, 0], (1, 4, 1)),
        "angular_velocity": np.zeros((1, 4, 3)),
    }
    parts = {
        "config": MoviConfig(),
        "is_dynamic": [True],
        "poses": poses,
        "bounds": np.array([[[-1, -0.5, -0.5], [1, 0.5, 0.5]]]),
        "camera_positions": np.array([[0.0, -9, 1]] * 2),
    }
    for name, (place, value) in changes.items():
        poses[name][place] = value
    return parts


def test_a_quiet_scene_passes():
    check_motion(**scene())
    check_motion(**scene() | {"is_dynamic": [], "poses": {}, "config": MoviConfig(min_dynamic=0)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position": ((0, 2, 1), np.nan)}, "no numbers"),
        ({"position": ((0, 3, 2), 200.0)}, "exploded: a body 200 m away"),
        ({"velocity": ((0, 1, 0), -300.0)}, "300 m/s fast"),
    ],
)
def test_an_explosion_is_said(changes, message):
    with pytest.raises(DegenerateSceneError, match=message):
        check_motion(**scene(**changes))


def test_no_room_for_what_should_move():
    with pytest.raises(DegenerateSceneError, match="no room for a dynamic object"):
        check_motion(**scene() | {"is_dynamic": [False]})


def test_a_camera_that_passes_through_an_object():
    parts = scene() | {"camera_positions": np.array([[0.0, -9, 1], [0.9, 0.4, 0.0]])}
    with pytest.raises(DegenerateSceneError, match="the camera is inside an object"):
        check_motion(**parts)


def test_inside_follows_the_box_s_turn_and_place():
    """The point (0.9, 0, 0) lies along the long edge; turned by 45 degrees, that edge points elsewhere."""
    bounds, point = np.array([[[-1, -0.2, -0.2], [1, 0.2, 0.2]]]), np.array([[0.9, 0.0, 0.0]])
    at = np.zeros((1, 1, 3))
    assert is_inside(point, at, np.array([[[1.0, 0, 0, 0]]]), bounds).all()
    assert not is_inside(point, at, np.array([[TURN]]), bounds).any()
    along = np.array([[0.9 * np.sqrt(0.5), 0.9 * np.sqrt(0.5), 0.0]])
    assert is_inside(along, at, np.array([[TURN]]), bounds).all()
    assert not is_inside(along, at + 5, np.array([[TURN]]), bounds).any()
