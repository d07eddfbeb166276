"""What poses and times alone say of a drive: speed, yaw rate, commands and goals, for those who write clips."""

import itertools

import numpy as np

from shards.driving.actions import NUM_STEPS, STEP_S
from shards.driving.drive import Drive
from shards.driving.window import interpolate, to_ground, trajectory_of

TURN_M = 2.0
"""So far aside after 2 s it is a turn: the rule by which planners on nuScenes name commands (UniAD, VAD, Vista)."""
STOP_M = 2.0
"""Not so far ahead after 2 s, without a turn, it is a stop."""
GOAL_M = 1.0
"""A place nearer than this is no goal: where the vehicle stands, noise would choose it."""
HORIZON_S = NUM_STEPS * STEP_S


def speeds_of(times_s: np.ndarray, camera_to_world: np.ndarray) -> np.ndarray:
    """Speed (T,) m/s on the ground of poses (T, 3, 4) at times (T,): central differences; two frames or more."""
    velocity = np.gradient(camera_to_world[:, :2, 3], times_s, axis=0)
    return np.linalg.norm(velocity, axis=1)


def yaw_rates_of(times_s: np.ndarray, camera_to_world: np.ndarray) -> np.ndarray:
    """Yaw rate (T,) rad/s, to the left positive, of poses (T, 3, 4) at times (T,): central differences."""
    forward = camera_to_world[:, :2, 2]
    return np.gradient(np.unwrap(np.arctan2(forward[:, 1], forward[:, 0])), times_s)


def steps_of(camera_to_world: np.ndarray) -> np.ndarray:
    """How the camera of poses (T, 3, 4) has moved since the frame before: (T, 2) metres ahead and radians to the left.

    Metres along where it looked then, on the level; frame 0 has moved nowhere.
    """
    forward = camera_to_world[:, :2, 2]
    turns = np.diff(np.unwrap(np.arctan2(forward[:, 1], forward[:, 0])))
    pairs = itertools.pairwise(camera_to_world)
    ahead = [to_ground(before, after[:2, 3])[1] for before, after in pairs]
    return np.concatenate([np.zeros((1, 2)), np.stack([np.array(ahead).reshape(-1), turns], -1)])


def commands_of(times_s: np.ndarray, camera_to_world: np.ndarray, horizon_s: float = HORIZON_S) -> tuple:
    """The command of each of T frames by where the camera is `horizon_s` later; None where the clip ends before.

    turn_left or turn_right from TURN_M aside, else stop up to STOP_M ahead, else straight.
    """
    drive = Drive(times_s=times_s, camera_to_world=camera_to_world)
    ends = (trajectory_of(drive, frame, times_s[frame, None] + horizon_s) for frame in range(len(times_s)))
    return tuple(None if end is None else command_of(end[0]) for end in ends)


def command_of(place_m: np.ndarray) -> str:
    """The command that leads to a place (2,), right and forward of the camera."""
    right, forward = place_m
    if abs(right) >= TURN_M:
        return "turn_right" if right > 0 else "turn_left"
    return "stop" if forward <= STOP_M else "straight"


def goals_of(
    times_s: np.ndarray,
    camera_to_world: np.ndarray,
    intrinsics: np.ndarray,
    size: tuple[int, int],
    horizon_s: float = HORIZON_S,
) -> np.ndarray:
    """Where in each frame the camera will be `horizon_s` later: (T, 2) shares (x / W, y / H).

    NaN where that place is less than GOAL_M ahead or outside of the picture, and where the clip ends before.
    `intrinsics` is K (3, 3) in raster pixels of a picture of `size` (H, W).
    """
    goals = np.full((len(times_s), 2), np.nan)
    for frame, pose in enumerate(camera_to_world):
        later = interpolate(times_s, camera_to_world[:, :, 3], times_s[frame, None] + horizon_s)
        if later is None:
            continue
        x, y, z = intrinsics @ pose[:, :3].T @ (later[0] - pose[:, 3])
        share = np.array([x, y]) / z / size[::-1] if z >= GOAL_M else np.array([-1.0, -1.0])
        if ((share >= 0) & (share <= 1)).all():
            goals[frame] = share
    return goals
