"""The actions of a window of frames, from what the clip says of its drive."""

import numpy as np

from shards.driving.actions import NUM_STEPS, STEP_S, Actions
from shards.driving.drive import Drive

UNTIMED = ("command", "goal")
"""Actions that are no values at steps of time."""
TOLERANCE_S = 1e-3
"""How far beyond the last frame a value is still that of the last frame: clocks count in microseconds."""
LARGEST_GAP_S = 1.0
"""Between frames that are farther apart nothing is interpolated."""


def actions_of_window(drive: Drive, first: int = 0, step_s: float = STEP_S) -> Actions:
    """The actions of the window that begins at frame `first` of a drive; what is not known there is None.

    Values are those 1, 2, 3 and 4 times `step_s` after that frame by `times_s`, interpolated between the frames of the
    clip, also those behind the window; where the clip ends before, all four are not present (a caller who wants nothing
    from behind a window gives `drive.frames(...)` of it). A place of the trajectory is (right, forward) of the camera
    as it is in frame `first`, on the plane that is level: right of the picture is positive. Command and goal are those
    stated for frame `first`. `drive.stated` comes first where it says something, for windows that begin at frame 0; its
    trajectory, speed and angle are of steps of 0.5 s and of no other.
    Raises ValueError for a frame that is not there and a step that is not positive.
    """
    if not 0 <= first < len(drive.times_s):
        raise ValueError(f"no frame {first}: the drive has frames 0..{len(drive.times_s) - 1}")
    if not step_s > 0:
        raise ValueError(f"steps of {step_s} s: give a positive number, such as {STEP_S}")
    times_s = drive.times_s[first] + step_s * np.arange(1, NUM_STEPS + 1)
    found = {
        "command": None if drive.commands is None else drive.commands[first],
        "trajectory_m": trajectory_of(drive, first, times_s),
        "speed_mps": interpolate(drive.times_s, drive.speed_mps, times_s),
        "angle_deg": interpolate(drive.times_s, drive.steering_deg, times_s),
        "goal": None if drive.goal is None or np.isnan(drive.goal[first]).any() else drive.goal[first],
    }
    if drive.stated is not None and first == 0:
        stated = {name: getattr(drive.stated, name) for name in found if step_s == STEP_S or name in UNTIMED}
        found |= {name: value for name, value in stated.items() if value is not None}
    return Actions(**found)


def trajectory_of(drive: Drive, first: int, times_s: np.ndarray) -> np.ndarray | None:
    """Places (K, 2) m of the camera at times (K,), right and forward of frame `first`; None where not known."""
    poses = drive.camera_to_world
    places = interpolate(drive.times_s, None if poses is None else poses[:, :2, 3], times_s)  # (K, 2) in the world
    return None if places is None else to_ground(poses[first], places)


def to_ground(pose: np.ndarray, places_m: np.ndarray) -> np.ndarray:
    """Places (..., 2) x and y of the world as (..., 2) right and forward of a camera's pose (3, 4), levelled."""
    forward = pose[:2, 2] / np.linalg.norm(pose[:2, 2])
    right = np.array([forward[1], -forward[0]])
    return (places_m - pose[:2, 3]) @ np.stack([right, forward], -1)


def interpolate(known_s: np.ndarray, values: np.ndarray | None, times_s: np.ndarray) -> np.ndarray | None:
    """Values (T, ...) at times (T,), linearly at times (K,) as (K, ...).

    None where there are no values, one is NaN, the times lead out of those known, or the frames have a gap there.
    """
    outside = (times_s[0] < known_s[0] - TOLERANCE_S) or (times_s[-1] > known_s[-1] + TOLERANCE_S)
    if values is None or outside:
        return None
    times_s = np.clip(times_s, known_s[0], known_s[-1])
    after = np.searchsorted(known_s, times_s)  # the first frame that is not earlier
    before = np.where(known_s[after] == times_s, after, after - 1)
    gap_s = known_s[after] - known_s[before]
    if (gap_s > LARGEST_GAP_S).any():
        return None
    share = np.divide(times_s - known_s[before], gap_s, out=np.zeros_like(times_s), where=gap_s > 0)
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    found = np.where(share > 0, (1 - share) * values[before] + share * values[after], values[before])
    return None if np.isnan(found).any() else found
