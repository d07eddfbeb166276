"""Depth at positions between pixels, and positions with depth as points in space.

Camera axes are OpenCV's: x right, y down, z forward. Legend: N points, H W pixels.
"""

from dataclasses import dataclass

import numpy as np

EDGE_RATIO = 1.05
"""Neighbouring pixels whose depths differ by more than this factor lie on different surfaces."""
LEAST_WEIGHT = 1e-4
"""Pixels of less weight do not count: positions at a pixel's centre carry the rounding of float32."""


@dataclass(frozen=True, kw_only=True)
class DepthSamples:
    """z_m (N,), NaN where there is none; at_edge (N,); around_m (4, N), z of the pixels around, NaN where missing."""

    z_m: np.ndarray
    at_edge: np.ndarray
    around_m: np.ndarray


def sample_z(z_m: np.ndarray, points: np.ndarray, edge_ratio: float = EDGE_RATIO) -> DepthSamples:
    """Depth z at raster positions `points` (N, 2) of a depth map z_m (H, W).

    On one surface the four pixels around a position are mixed linearly in 1 / z, which is exact for a plane (1 / z of a
    plane is linear in the picture). Where they differ by more than `edge_ratio`, or one is missing, a mixture would
    hang in the air between two surfaces: the nearest pixel counts alone, and `at_edge` is True. NaN where that pixel is
    missing (0, negative, NaN or infinite) and outside the picture.
    """
    height, width = z_m.shape
    is_inside = ((points >= 0) & (points <= [width, height])).all(axis=1)
    column, row = np.clip(np.where(is_inside[:, None], points, 0) - 0.5, 0, [width - 1, height - 1]).T
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = column - left, row - top
    weights = np.stack([(1 - across) * (1 - down), across * (1 - down), (1 - across) * down, across * down])  # (4, N)
    weights = np.where(weights < LEAST_WEIGHT, 0, weights)
    weights /= weights.sum(axis=0)
    around = np.stack([z_m[top, left], z_m[top, right], z_m[bottom, left], z_m[bottom, right]]).astype(np.float64)
    around = np.where((around > 0) & (around < np.inf), around, np.nan)

    counts = weights > 0
    is_smooth = np.where(counts, around, 0).max(axis=0) <= edge_ratio * np.where(counts, around, np.inf).min(axis=0)
    mixed = 1 / (weights * np.where(counts, 1 / around, 0)).sum(axis=0)
    alone = np.take_along_axis(around, weights.argmax(axis=0)[None], axis=0)[0]
    z = np.where(is_inside, np.where(is_smooth, mixed, alone), np.nan)  # a missing pixel is NaN, and never smooth
    return DepthSamples(z_m=z, at_edge=np.isfinite(z) & ~is_smooth, around_m=around)


def expect_between(points_m: np.ndarray, is_sure: np.ndarray) -> np.ndarray:
    """Where points (N, T, 3) are between the frames in which they are sure (N, T): on straight lines, and at rest
    before the first and after the last of these; NaN for a point that never is sure."""
    expected = np.full(points_m.shape, np.nan)
    frames = np.arange(points_m.shape[1])
    for number in np.flatnonzero(is_sure.any(axis=1)):
        known = is_sure[number]
        for axis in range(3):
            expected[number, :, axis] = np.interp(frames, frames[known], points_m[number, known, axis])
    return expected


def choose_surface(around_m: np.ndarray, expected_m: np.ndarray, otherwise_m: np.ndarray) -> np.ndarray:
    """Of the depths around positions (4, N) those of the smallest ratio to what is expected (N,); `otherwise_m` (N,)
    where nothing is expected in front of the camera."""
    is_expected = expected_m > 0
    ratio = np.abs(np.log(around_m / np.where(is_expected, expected_m, 1)))
    chosen = np.take_along_axis(around_m, np.where(np.isnan(ratio), np.inf, ratio).argmin(axis=0)[None], axis=0)[0]
    return np.where(is_expected, chosen, otherwise_m)


def unproject(points: np.ndarray, z_m: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Points (N, 3) in camera axes, metres, of raster positions (N, 2) at depths z_m (N,) with K (3, 3)."""
    focal, centre = intrinsics[[0, 1], [0, 1]], intrinsics[:2, 2]
    return np.concatenate([(points - centre) / focal, np.ones((len(points), 1))], axis=1) * z_m[:, None]


def camera_to_world(points_m: np.ndarray, world_to_camera: np.ndarray) -> np.ndarray:
    """Points (N, 3) in camera axes -> the world's, with the rigid transform (4, 4) of the world to the camera."""
    return (points_m - world_to_camera[:3, 3]) @ world_to_camera[:3, :3]


def world_to_camera_axes(points_m: np.ndarray, world_to_camera: np.ndarray) -> np.ndarray:
    """The inverse of `camera_to_world`."""
    return points_m @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
