"""The motion of frames, forward metres and left turn since the frame before: along a path, or from a table.

Legend: T frames of a round, K moments.
"""

import csv
import math
from pathlib import Path

import numpy as np

from shards.driving.actions import NUM_STEPS, STEP_S
from trainer.driving.samples import motion_of

MOTION_COLUMNS = ("forward_m", "turn_left_rad")
LEAST_SPEED = 0.02
"""Metres in STEP_S: who is slower at a moment of a path stands, and keeps looking where he looked."""


def motion_along(trajectory_m: np.ndarray, times_s: np.ndarray) -> np.ndarray:
    """(T, 2) float32: forward metres and left turn, radians, since the frame before, along a path through (4, 2)
    places (right, forward) 0.5, 1.0, 1.5, 2.0 s after the first frame, at times (T,) from 0.

    Between places a cubic curve with their mean directions (Catmull-Rom), which begins straight ahead; the camera looks
    along it. After its end all goes on as between the last two frames on it.
    """
    known = times_s <= NUM_STEPS * STEP_S + 1e-6
    knots = np.concatenate([np.zeros((1, 2)), trajectory_m])  # (5, 2)
    slopes = np.gradient(knots, STEP_S, axis=0, edge_order=2)
    slopes[0] = 0, max(0.0, 2 * knots[1, 1] / STEP_S - slopes[1, 1])  # as much ahead as the first part asks for
    part = np.clip((times_s[known] / STEP_S).astype(int), 0, NUM_STEPS - 1)
    share = (times_s[known] / STEP_S - part)[:, None]
    places = hermite(knots[part], knots[part + 1], slopes[part] * STEP_S, slopes[part + 1] * STEP_S, share)
    directions = hermite_slope(knots[part], knots[part + 1], slopes[part] * STEP_S, slopes[part + 1] * STEP_S, share)
    motion = motion_of(poses_on_ground(places, headings_of(directions)))
    return np.concatenate([motion, np.repeat(motion[-1:], (~known).sum(), axis=0)])


def hermite(start: np.ndarray, end: np.ndarray, leaving: np.ndarray, arriving: np.ndarray, share: np.ndarray):
    """Places (K, 2) on cubic curves between two places with slopes, at shares (K, 1) of the way."""
    square, cube = share**2, share**3
    mixed = (2 * cube - 3 * square + 1) * start + (3 * square - 2 * cube) * end
    return mixed + (cube - 2 * square + share) * leaving + (cube - square) * arriving


def hermite_slope(start: np.ndarray, end: np.ndarray, leaving: np.ndarray, arriving: np.ndarray, share: np.ndarray):
    """The derivative of `hermite` by the share."""
    square = share**2
    mixed = (6 * square - 6 * share) * (start - end)
    return mixed + (3 * square - 4 * share + 1) * leaving + (3 * square - 2 * share) * arriving


def headings_of(directions: np.ndarray) -> np.ndarray:
    """Radians to the left of straight ahead (T,) of directions (T, 2) right and forward, metres in a STEP_S."""
    headings = [0.0]
    for right, forward in directions[1:]:
        is_moving = math.hypot(right, forward) > LEAST_SPEED
        headings.append(math.atan2(-right, forward) if is_moving else headings[-1])
    return np.unwrap(headings)


def poses_on_ground(places: np.ndarray, headings: np.ndarray) -> np.ndarray:
    """Poses (T, 3, 4) of a level camera at places (T, 2) right and forward of the first, in a world with these axes."""
    cos, sin, zero = np.cos(headings), np.sin(headings), np.zeros_like(headings)
    right, down, forward = (cos, sin, zero), (zero, zero, zero - 1), (-sin, cos, zero)
    columns = (right, down, forward, (*places.T, zero))
    return np.stack([np.stack(column, -1) for column in columns], -1)


def read_motion(path: Path, num_frames: int) -> np.ndarray:
    """The motion (num_frames, 2) of a video's frames from a CSV file with the columns forward_m,turn_left_rad: since
    the frame before, so that the first row says nothing. Raises ValueError for fewer rows, and for other columns."""
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != MOTION_COLUMNS:
            raise ValueError(f"--motion {path}: columns {rows.fieldnames}, expected {','.join(MOTION_COLUMNS)}")
        try:
            motion = np.array([[float(row[name]) for name in MOTION_COLUMNS] for row in rows])
        except (TypeError, ValueError) as error:
            raise ValueError(f"--motion {path}: not numbers ({error})") from None
    if len(motion) < num_frames or not np.isfinite(motion).all():
        raise ValueError(f"--motion {path}: {len(motion)} rows, expected {num_frames} of finite numbers, one a frame")
    return motion[:num_frames]


def motion_of_round(motion: np.ndarray, number: int, num_frames: int, num_carried: int) -> np.ndarray:
    """The part (T, 2) of a video's motion that a round is told, whose first `num_carried` frames the one before has."""
    start = number * (num_frames - num_carried)
    part = motion[start : start + num_frames].copy()
    part[0] = 0
    return part
