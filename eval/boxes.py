"""Which tracks lie on objects: visible points are put into space by their depth and held against instances' boxes.

Shards do not store the instance of a track, so this is an estimate: held against the annotator's own ids it is right
for 97 % of the tracks of the 56 default clips (128 x 128 pixels). Metres, z up; the camera looks along -z of its own
axes with y up; depth is the distance to the camera's centre. Legend: T frames, H W pixels, N points, K instances,
P positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

TOLERANCE = 0.005
"""A point counts as inside up to this share of the box's longest edge outside: the surface lies on the box."""


def find_object_tracks(
    tracks: np.ndarray, visible: np.ndarray, depth_m: np.ndarray, metadata: dict[str, Any], frames: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Whether (N,) a track lies on an object, and whether (N,) that is known: it is visible in one of the frames.

    tracks (T, N, 2) pixels, visible (T, N) and depth_m (T, H, W) are of the clip's `frames` (T,); camera and instances
    are those of metadata.json. A track is on an object when more than half of its visible positions lie in a box.
    """
    camera, instances = metadata["camera"], metadata["instances"]
    rotations = rotation_matrices(np.array(camera["quaternions_wxyz"], float)[frames])
    positions = np.array(camera["positions"], float)[frames]
    num_inside = np.zeros(tracks.shape[1], int)
    for t, frame in enumerate(frames):
        points = np.flatnonzero(visible[t])
        pixels = nearest_pixels(tracks[t, points], depth_m.shape[1:])
        distance = depth_m[t, pixels[:, 1], pixels[:, 0]]
        principal_point = np.array(camera["principal_point"], float)
        rays = pixel_rays(pixels + 0.5, camera["focal_px"], principal_point)
        world = rays * distance[:, None] @ rotations[t].T + positions[t]
        num_inside[points] += is_in_boxes(world, *_boxes_at(instances, frame))
    num_seen = visible.sum(axis=0)
    return num_inside * 2 > num_seen, num_seen > 0


def nearest_pixels(positions: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Columns and rows (P, 2) of the pixels that raster positions (P, 2) lie in, clipped to a frame of size (H, W)."""
    height, width = size
    return np.clip(np.floor(positions).astype(int), 0, (width - 1, height - 1))


def pixel_rays(positions: np.ndarray, focal_px: float, principal_point: np.ndarray) -> np.ndarray:
    """Unit directions (P, 3), in the camera's axes, of raster positions (P, 2)."""
    offset = (positions - principal_point) * (1, -1)
    rays = np.concatenate([offset, np.full((len(offset), 1), -float(focal_px))], axis=1)
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


def is_in_boxes(world: np.ndarray, positions: np.ndarray, rotations: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether (P,) world positions (P, 3) lie in any of K boxes: positions (K, 3), rotations (K, 3, 3) to the world,
    bounds (K, 2, 3) low and high ends in the box's own axes."""
    local = np.einsum("kij,pki->pkj", rotations, world[:, None] - positions)  # world to box: the transpose
    margin = TOLERANCE * (bounds[:, 1] - bounds[:, 0]).max(axis=-1, keepdims=True, initial=0)  # (K, 1)
    is_inside = (local >= bounds[:, 0] - margin) & (local <= bounds[:, 1] + margin)
    return is_inside.all(axis=-1).any(axis=-1)


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of quaternions (..., 4) as (w, x, y, z), by Euler-Rodrigues: 1 + 2 w [v] + 2 [v][v]."""
    unit = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    scalar, vector = unit[..., :1, None], unit[..., 1:]
    cross = np.cross(np.eye(3), vector[..., None, :])  # rows e_i x v: the matrix [v] of v x
    return np.eye(3) + 2 * scalar * cross + 2 * cross @ cross


def _boxes_at(instances: Sequence[dict[str, Any]], frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions (K, 3), rotations (K, 3, 3) and bounds (K, 2, 3) of all instances in one frame."""
    positions = np.array([body["positions"][frame] for body in instances], float).reshape(-1, 3)
    quaternions = np.array([body["quaternions_wxyz"][frame] for body in instances], float).reshape(-1, 4)
    bounds = np.array([body["bounds"] for body in instances], float).reshape(-1, 2, 3)
    return positions, rotation_matrices(quaternions), bounds
