"""Actions of windows of drives whose motion has a formula: a line, a circle, a stop."""

import dataclasses

import numpy as np
import pytest

from shards.driving.actions import KINDS, Actions, actions_from_json, actions_to_json
from shards.driving.drive import Drive
from shards.driving.motion import commands_of, goals_of, speeds_of, yaw_rates_of
from shards.driving.window import actions_of_window, interpolate
from tests.shards.driving.drives import INTRINSICS, SIZE, level_pose, make_drive, poses_of

AFTER = np.array([0.5, 1.0, 1.5, 2.0])


def test_a_straight_drive_leads_straight_ahead_whatever_its_heading():
    actions = actions_of_window(make_drive(speed=8), first=4)
    np.testing.assert_allclose(actions.trajectory_m, np.stack([0 * AFTER, 8 * AFTER], -1), atol=1e-9)
    np.testing.assert_allclose(actions.speed_mps, 8)
    np.testing.assert_allclose(actions.angle_deg, 4 + 10 * AFTER)
    np.testing.assert_allclose(actions.goal, [0.5, 0.5])  # straight ahead of a level camera
    assert actions.command == "straight" and actions.present.tolist() == [True] * 5


@pytest.mark.parametrize(("yaw_rate", "command"), [(0.3, "turn_left"), (-0.3, "turn_right")])
def test_a_turn_leads_along_its_circle(yaw_rate, command):
    actions = actions_of_window(make_drive(num_frames=101, rate=40, speed=8, yaw_rate=yaw_rate), first=7)
    radius = 8 / abs(yaw_rate)
    angle = abs(yaw_rate) * AFTER
    right = -np.sign(yaw_rate) * radius * (1 - np.cos(angle))
    np.testing.assert_allclose(actions.trajectory_m, np.stack([right, radius * np.sin(angle)], -1), atol=1e-3)
    assert actions.command == command
    x, z = actions.trajectory_m[-1]
    np.testing.assert_allclose(actions.goal, [(50 * x / z + 32) / 64, 0.5], atol=1e-6)
    assert (actions.goal[0] < 0.5) == (yaw_rate > 0), "to the left of the picture where it turns to the left"


def test_a_tilted_camera_sees_the_same_trajectory():
    """The plane is level: how far the camera looks down, and leans over, is not in it."""
    drive = make_drive(yaw_rate=0.2)
    down, lean = 0.2, 0.1
    pitch = np.array([[1, 0, 0], [0, np.cos(down), np.sin(down)], [0, -np.sin(down), np.cos(down)]])
    roll = np.array([[np.cos(lean), -np.sin(lean), 0], [np.sin(lean), np.cos(lean), 0], [0, 0, 1]])
    tilted = drive.camera_to_world.copy()
    tilted[:, :, :3] = tilted[:, :, :3] @ pitch @ roll
    found = actions_of_window(dataclasses.replace(drive, camera_to_world=tilted))
    np.testing.assert_allclose(found.trajectory_m, actions_of_window(drive).trajectory_m, atol=1e-9)


def test_times_are_those_of_the_clip_not_its_frame_numbers():
    """Frames of a real camera: 12 a second, at times of a 20 Hz clock."""
    times_s = np.concatenate([n / 2 + np.array([0, 0.1, 0.15, 0.25, 0.35, 0.4]) for n in range(6)])
    drive = Drive(times_s=1533151514.512404 + times_s, camera_to_world=poses_of(times_s, 12.0), speed_mps=times_s + 12)
    for first in (0, 5):
        actions = actions_of_window(drive, first)
        np.testing.assert_allclose(actions.trajectory_m[:, 1], 12 * AFTER, atol=1e-5)
        np.testing.assert_allclose(actions.speed_mps, 12 + times_s[first] + AFTER, atol=1e-5)
    np.testing.assert_allclose(actions_of_window(drive, 2, step_s=0.1).speed_mps, 12.15 + AFTER / 5, atol=1e-5)


def test_what_is_beyond_the_end_is_not_present():
    drive = make_drive(num_frames=31)  # 3 s
    last = actions_of_window(drive, first=10)
    assert last.present.all() and last.trajectory_m[-1, 1] == pytest.approx(16)
    beyond = actions_of_window(drive, first=11)
    assert beyond.present.tolist() == [False] * 5 and beyond.command is None
    window = drive.frames(list(range(5, 20)))  # 1.4 s
    assert actions_of_window(window).present.tolist() == [True, False, False, False, True], "stated for its first frame"
    short = actions_of_window(window, step_s=0.35)
    np.testing.assert_allclose(short.trajectory_m[:, 1], 8 * 0.7 * AFTER, atol=1e-9)
    with pytest.raises(ValueError, match=r"no frame 31: the drive has frames 0\.\.30"):
        actions_of_window(drive, 31)
    with pytest.raises(ValueError, match="steps of 0 s: give a positive number"):
        actions_of_window(drive, step_s=0)


def test_what_is_not_known_is_not_present():
    drive = make_drive()
    bare = actions_of_window(Drive(times_s=drive.times_s))
    assert bare.present.tolist() == [False] * len(KINDS)
    steering = drive.steering_deg.copy()
    steering[12] = np.nan
    drive = dataclasses.replace(drive, steering_deg=steering, goal=np.full((31, 2), np.nan), speed_mps=None)
    assert actions_of_window(drive, 0).angle_deg is not None, "at 0.5, 1, 1.5, 2 s the frames 5, 10, 15, 20 are asked"
    assert actions_of_window(drive, 2).angle_deg is None, "frame 12"
    assert actions_of_window(drive, 0).present.tolist() == [True, True, False, True, False]


def test_nothing_is_interpolated_over_a_gap():
    times_s = np.array([0, 0.4, 0.6, 1.0, 1.4, 2.6, 3.0])
    drive = Drive(times_s=times_s, camera_to_world=poses_of(times_s, 5.0), speed_mps=np.full(7, 5.0))
    assert actions_of_window(drive).present.tolist() == [False] * 5
    assert actions_of_window(drive, step_s=0.3).speed_mps.tolist() == [5.0] * 4
    assert interpolate(np.array([0.0, 1.0]), np.array([2.0, 4.0]), np.array([-0.1])) is None
    np.testing.assert_allclose(
        interpolate(np.array([0.0, 1.0]), np.array([2.0, 4.0]), np.array([0.25, 1.0005])), [2.5, 4]
    )


def test_stated_actions_come_first_at_the_first_frame():
    stated = Actions(command="stop", speed_mps=np.array([1.0, 2, 3, 4]))
    drive = dataclasses.replace(make_drive(), stated=stated)
    found = actions_of_window(drive)
    assert found.command == "stop" and found.speed_mps.tolist() == [1, 2, 3, 4]
    np.testing.assert_allclose(found.trajectory_m[:, 1], 8 * AFTER)
    assert actions_of_window(drive, 1).command == "straight"
    other_steps = actions_of_window(drive, step_s=0.25)
    assert other_steps.command == "stop" and other_steps.speed_mps.tolist() == [8, 8, 8, 8]


def test_speed_and_yaw_rate_of_poses():
    drive = make_drive(speed=6, yaw_rate=-0.4)
    np.testing.assert_allclose(speeds_of(drive.times_s, drive.camera_to_world)[1:-1], 6, rtol=1e-3)
    heading_over_pi = make_drive(num_frames=201, speed=6, yaw_rate=0.5)  # 20 s: more than a whole circle
    np.testing.assert_allclose(yaw_rates_of(heading_over_pi.times_s, heading_over_pi.camera_to_world), 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    ("speed", "yaw_rate", "command"),
    [(0.9, 0, "stop"), (0.0, 0, "stop"), (1.1, 0, "straight"), (8, 0.12, "straight"), (8, 0.13, "turn_left")],
)
def test_commands_follow_the_place_after_two_seconds(speed, yaw_rate, command):
    """8 m/s and 0.125 rad/s: 64 (1 - cos 0.25) = 1.99 m aside."""
    times_s = np.arange(25) / 10
    assert commands_of(times_s, poses_of(times_s, speed, yaw_rate)) == (command,) * 5 + (None,) * 20


def test_goals_that_are_not_seen_are_none():
    times_s = np.arange(31) / 10
    goals = goals_of(times_s, poses_of(times_s, 8.0, 0.5), INTRINSICS, SIZE)
    assert not np.isnan(goals[:11]).any() and np.isnan(goals[11:]).all()
    assert np.isnan(goals_of(times_s, poses_of(times_s, 8.0, 0.6), INTRINSICS, SIZE)).all(), "outside of the picture"
    assert np.isnan(goals_of(times_s, poses_of(times_s, 0.4), INTRINSICS, SIZE)).all(), "0.8 m ahead"
    backward = np.stack([level_pose(-time, 0, 0) for time in times_s])
    assert np.isnan(goals_of(times_s, backward, INTRINSICS, SIZE)).all()


def test_actions_survive_json():
    actions = actions_of_window(make_drive(yaw_rate=0.1))
    again = actions_from_json(actions_to_json(actions))
    np.testing.assert_array_equal(again.trajectory_m, actions.trajectory_m)
    assert again.command == actions.command and again.present.all()
    with pytest.raises(ValueError, match="actions are not as expected"):
        actions_from_json({"command": "stop"})
