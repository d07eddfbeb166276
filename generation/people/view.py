"""Random cameras close to a person, as BEDLAM-CC places them."""

from dataclasses import dataclass

import numpy as np

from generation.people.config import PeopleConfig
from shards.people.body import Body
from shards.people.labels import rotation_matrices

TARGETS = ("pelvis", "spine1", "spine2", "spine3", "neck", "head")
"""What cameras look at, or rather just below: one after the other."""
SENSOR_MM = 36.0


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """A camera in the person's axes (y down): a point p is seen at `rotation @ (p - position_m)`."""

    position_m: np.ndarray
    """(3,)"""
    rotation: np.ndarray
    """(3, 3)"""
    focal_px: float


def draw_view(
    config: PeopleConfig, body: Body, joints_m: np.ndarray, floor_m: float, number: int, rng: np.random.Generator
) -> View:
    """The `number`th random camera of a person; joints (J, 3) and the floor's y, metres from the pelvis."""
    target = joints_m[body.joint(TARGETS[number % len(TARGETS)])] + [0, config.target_drop_m, 0]
    target[1] = min(target[1], floor_m)
    near, far = config.near_m if rng.random() < config.near_share else config.far_m
    distance = 1 / rng.uniform(1 / far, 1 / near)
    reach = np.linalg.norm((joints_m - target)[:, [0, 2]], axis=1).max()
    distance = max(distance, config.clearance * reach)
    polar, azimuth = np.pi * rng.uniform(*config.polar), rng.uniform(0, 2 * np.pi)
    # As far above the floor as it must be: a camera below is lifted along its circle.
    lowest = (floor_m - config.min_height_m - target[1]) / distance  # of -cos(polar)
    polar = min(polar, np.arccos(np.clip(-lowest, -1, 1)))
    away = np.array([np.sin(polar) * np.sin(azimuth), -np.cos(polar), -np.sin(polar) * np.cos(azimuth)])
    forward = -away
    right = np.array([np.cos(azimuth), 0, np.sin(azimuth)])
    looking = np.stack([right, np.cross(forward, right), forward])  # rows: the camera's axes
    noise = np.radians(config.direction_noise_degrees) / distance * rng.normal(size=2)
    turned = rotation_matrices(np.array([noise[0], noise[1], 0.0])) @ looking
    focal = config.focal_mm / SENSOR_MM * config.resolution * distance * rng.uniform(*config.focal_jitter)
    return View(position_m=target + distance * away, rotation=turned, focal_px=float(focal))
