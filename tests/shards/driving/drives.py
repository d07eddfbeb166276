"""Drives along a line and along a circle, and clips of them, for the tests of driving."""

import numpy as np

from shards import Clip
from shards.driving.drive import Drive
from shards.driving.motion import commands_of, goals_of

SIZE = (36, 64)
INTRINSICS = np.array([[50.0, 0, 32], [0, 50, 18], [0, 0, 1]])


def level_pose(x, y, heading, height=1.5):
    """A level camera's pose (3, 4) at (x, y), which looks along `heading`, radians from the world's x to its y."""
    cos, sin = np.cos(heading), np.sin(heading)
    right, down, forward = (sin, -cos, 0), (0, 0, -1), (cos, sin, 0)
    return np.stack([right, down, forward, (x, y, height)], -1).astype(np.float64)


def poses_of(times_s, speed, yaw_rate=0.0, heading=0.7, place=(100.0, -40.0)):
    """Poses (T, 3, 4) of a vehicle with constant speed and yaw rate, by the formula of its circle."""
    angle = heading + yaw_rate * times_s
    if yaw_rate:
        x = place[0] + speed / yaw_rate * (np.sin(angle) - np.sin(heading))
        y = place[1] - speed / yaw_rate * (np.cos(angle) - np.cos(heading))
    else:
        x, y = place[0] + speed * times_s * np.cos(heading), place[1] + speed * times_s * np.sin(heading)
    return np.stack([level_pose(*one) for one in zip(x, y, angle, strict=True)])


def make_drive(num_frames=31, rate=10.0, speed=8.0, yaw_rate=0.0):
    """A drive in which everything is known."""
    times_s = np.arange(num_frames) / rate
    poses = poses_of(times_s, speed, yaw_rate)
    return Drive(
        times_s=times_s,
        camera_to_world=poses,
        speed_mps=np.full(num_frames, float(speed)),
        yaw_rate_radps=np.full(num_frames, float(yaw_rate)),
        steering_deg=100 * yaw_rate + np.arange(num_frames, dtype=np.float64),
        goal=goals_of(times_s, poses, INTRINSICS, SIZE),
        commands=commands_of(times_s, poses),
    )


def drive_clip(key="clip-0", num_frames=31, **settings):
    """A clip whose frames say their number by their grey, with a drive."""
    grey = np.arange(num_frames, dtype=np.uint8)[:, None, None, None]
    return Clip(
        key=key,
        video=np.ascontiguousarray(np.broadcast_to(grey, (num_frames, *SIZE, 3))),
        tracks=np.zeros((num_frames, 0, 2), np.float32),
        visible=np.zeros((num_frames, 0), bool),
        drive=make_drive(num_frames, **settings),
        metadata={"recipe": {"source": "toy", "frame_rate": 10}},
    )
