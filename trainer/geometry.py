"""Points of a picture and its depth -> points in space.

Cameras have x right, y down, z forward (as OpenCV's), positions are raster pixels. Legend: N points, T frames,
H W pixels of the depth map.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from shards.layouts.camera import ray_lengths

EDGE = 0.05
"""Four neighbouring depths that differ by more than this share of the nearest lie on both sides of an edge. On a plane,
depth changes by depth / (focal length in pixels x height above the plane) a pixel: by 3 % on a floor 20 m away, seen
from 5 m above with a focal length of 140 pixels."""


@dataclass(frozen=True, kw_only=True)
class LiftedTracks:
    """Tracks in space: camera_m (N, T, 3) float32 metres in the axes of each frame's camera; world_m the same in the
    world, None without poses; NaN where not `valid` (N, T): hidden, outside the frame, or without depth. `at_edge`
    (N, T): beside a depth edge, where a small error of the track reaches another surface."""

    camera_m: np.ndarray
    world_m: np.ndarray | None
    valid: np.ndarray
    at_edge: np.ndarray


def sample_z(z_m: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth along the axis at points: z_m (H, W), NaN where there is none, points (N, 2) -> z (N,) and at_edge (N,).

    On one surface 1/z is interpolated bilinearly, which is exact on a plane. Where the four pixels around a point lie
    on both sides of an edge, or one has no depth, the nearest counts: an average would float between two surfaces.
    Outside the frame z is NaN.
    """
    height, width = z_m.shape
    inside = ((points >= 0) & (points <= (width, height))).all(-1)  # false for NaN
    x, y = np.where(inside[:, None], points, 0.5).astype(np.float64).T
    left, top = np.floor(x - 0.5).astype(int), np.floor(y - 0.5).astype(int)
    columns = np.clip([left, left + 1], 0, width - 1)  # (2, N)
    rows = np.clip([top, top + 1], 0, height - 1)
    corners = z_m[rows[:, None], columns[None]].astype(np.float64)  # (2, 2, N)
    across, down = x - 0.5 - left, y - 0.5 - top
    with np.errstate(divide="ignore", invalid="ignore"):
        low, high = corners.min((0, 1)), corners.max((0, 1))  # NaN if one is
        is_surface = high <= low * (1 + EDGE)
        inverse = 1 / corners
        upper, lower = (row[0] * (1 - across) + row[1] * across for row in inverse)
        smooth = 1 / (upper * (1 - down) + lower * down)
    nearest = z_m[np.minimum(y.astype(int), height - 1), np.minimum(x.astype(int), width - 1)]
    return np.where(inside, np.where(is_surface, smooth, nearest), np.nan), inside & ~is_surface


def lift_frame(
    points: np.ndarray, depth_m: np.ndarray, kind: str, intrinsics: np.ndarray, frame_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2) of one frame and its depth (H, W) -> camera_m (N, 3), NaN where there is no depth, at_edge (N,).

    kind: `z` (along the axis) or `distance` (to the camera's centre); intrinsics (3, 3) and points are in pixels of the
    frame_size (height, width), whatever the size of the depth map.
    """
    per_pixel = np.array([depth_m.shape[1] / frame_size[1], depth_m.shape[0] / frame_size[0]])
    if kind == "distance":
        own = np.diag([*per_pixel, 1.0]) @ intrinsics
        depth_m = depth_m / ray_lengths(*depth_m.shape, own)
    z, at_edge = sample_z(depth_m, points * per_pixel)
    rays = np.concatenate([points, np.ones((len(points), 1))], 1) @ np.linalg.inv(intrinsics).T  # (N, 3), z is 1
    return rays * z[:, None], at_edge


def lift_tracks(
    tracks: np.ndarray,
    visible: np.ndarray,
    depth_of: Callable[[int], np.ndarray],
    kind: str,
    intrinsics: np.ndarray,
    frame_size: tuple[int, int],
    world_to_camera: np.ndarray | None = None,
) -> LiftedTracks:
    """Lift tracks (N, T, 2) where they are visible (N, T); depth_of(t) gives frame t's depth (H, W) metres.

    intrinsics (T, 3, 3); world_to_camera (T, 4, 4). Raises ValueError for arrays that do not fit each other.
    """
    num_points, num_frames = visible.shape
    shapes = {
        "tracks": (tracks.shape, (num_points, num_frames, 2)),
        "intrinsics": (intrinsics.shape, (num_frames, 3, 3)),
    }
    if world_to_camera is not None:
        shapes["poses"] = (world_to_camera.shape, (num_frames, 4, 4))
    for name, (found, expected) in shapes.items():
        if found != expected:
            raise ValueError(f"{name} have shape {found}, expected {expected} to fit the tracks")
    camera_m = np.full((num_points, num_frames, 3), np.nan, np.float32)
    world_m = None if world_to_camera is None else camera_m.copy()
    at_edge = np.zeros((num_points, num_frames), bool)
    for t in range(num_frames):
        seen = np.flatnonzero(visible[:, t])
        found, at_edge[seen, t] = lift_frame(
            tracks[seen, t].astype(np.float64), depth_of(t), kind, intrinsics[t], frame_size
        )
        camera_m[seen, t] = found
        if world_m is not None:
            to_world = np.linalg.inv(world_to_camera[t])
            world_m[seen, t] = found @ to_world[:3, :3].T + to_world[:3, 3]
    valid = np.isfinite(camera_m).all(-1)
    return LiftedTracks(camera_m=camera_m, world_m=world_m, valid=valid, at_edge=at_edge & valid)
