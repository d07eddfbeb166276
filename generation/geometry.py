"""Rotations and boxes over time: numpy only, for the renderer's side and for the checks.

Legend: T frames, K instances.
"""

import itertools

import numpy as np

CORNERS = np.array(list(itertools.product((0, 1), repeat=3)))
"""(8, 3) low or high end of x, y, z of a box's corners, in Kubric's order."""


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) of quaternions (..., 4) given as (w, x, y, z)."""
    w, x, y, z = np.moveaxis(quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def box_corners(bounds: np.ndarray, positions: np.ndarray, quaternions: np.ndarray) -> np.ndarray:
    """World corners (T, 8, 3) of a box with scaled bounds (2, 3) at positions (T, 3), turned by (T, 4)."""
    box = np.where(CORNERS, bounds[1], bounds[0])  # (8, 3)
    return np.einsum("tij,cj->tci", rotation_matrices(quaternions), box) + positions[:, None]
