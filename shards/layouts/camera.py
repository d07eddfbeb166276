"""Pinhole cameras of other layouts: depth along the axis and distance to the centre, and a clip's own camera.

Legend: T frames, H W pixels. Intrinsics K (3, 3) are in raster pixels: the centre of the top-left pixel is (0.5, 0.5).
Cameras here have x right, y down, z forward (as OpenCV's); Kubric's have x right, y up and look along -z.
"""

from typing import Any

import numpy as np

from shards.clip import Clip

KUBRIC_TO_HERE = np.diag([1.0, -1.0, -1.0])


def ray_lengths(height: int, width: int, intrinsics: np.ndarray) -> np.ndarray:
    """Distance to the camera's centre over z, (H, W), at pixel centres; ValueError for a K that is not one."""
    if (
        intrinsics.shape != (3, 3)
        or not np.isfinite(intrinsics).all()
        or intrinsics[0, 0] <= 0
        or intrinsics[1, 1] <= 0
    ):
        raise ValueError(f"intrinsics {np.asarray(intrinsics).tolist()} are not those of a camera")
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    across = (x - intrinsics[0, 2]) / intrinsics[0, 0]  # (W,)
    down = (y - intrinsics[1, 2]) / intrinsics[1, 1]  # (H,)
    return np.sqrt(1 + across[None, :] ** 2 + down[:, None] ** 2)


def distance_from_z(z_m: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Depth along the axis (T, H, W) -> distance to the camera's centre (T, H, W) float32, with K (T, 3, 3)."""
    return _scaled(z_m, intrinsics, np.multiply)


def z_from_distance(distance_m: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """The inverse of `distance_from_z`."""
    return _scaled(distance_m, intrinsics, np.divide)


def _scaled(depth_m: np.ndarray, intrinsics: np.ndarray, operation: np.ufunc) -> np.ndarray:
    if len(intrinsics) != len(depth_m):
        raise ValueError(f"there are intrinsics for {len(intrinsics)} frames, and depth of {len(depth_m)}")
    result = np.empty(depth_m.shape, np.float32)
    for t, k in enumerate(np.asarray(intrinsics, np.float64)):
        result[t] = operation(depth_m[t], ray_lengths(*depth_m.shape[1:], k))
    return result


def camera_metadata(intrinsics: np.ndarray, world_to_camera: np.ndarray) -> dict[str, Any]:
    """What `intrinsics_of` and `world_to_camera_of` read back from a clip's metadata["camera"]."""
    return {
        "intrinsics": np.asarray(intrinsics, np.float64).tolist(),
        "world_to_camera": np.asarray(world_to_camera, np.float64).tolist(),
        "convention": "x right, y down, z forward; raster pixels",
    }


def intrinsics_of(clip: Clip) -> np.ndarray | None:
    """K of each frame, (T, 3, 3), from the clip's metadata (ours or `camera_metadata`); None where it has none."""
    camera = clip.metadata.get("camera")
    if not isinstance(camera, dict):
        return None
    if "intrinsics" in camera:
        return _checked(clip, camera["intrinsics"], (3, 3), "intrinsics")
    if "focal_px" not in camera:
        return None
    height, width = clip.video.shape[1:3]
    x, y = camera.get("principal_point", (width / 2, height / 2))
    focal = float(camera["focal_px"])
    k = np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]], np.float64)
    return np.repeat(k[None], len(clip.video), 0)


def world_to_camera_of(clip: Clip) -> np.ndarray | None:
    """Transforms (T, 4, 4) of the world to the camera, from the clip's metadata; None where it has none."""
    camera = clip.metadata.get("camera")
    if not isinstance(camera, dict):
        return None
    if "world_to_camera" in camera:
        return _checked(clip, camera["world_to_camera"], (4, 4), "world_to_camera")
    if not {"positions", "quaternions_wxyz"} <= camera.keys():
        return None
    positions = _checked(clip, camera["positions"], (3,), "positions")
    rotations = rotations_of(_checked(clip, camera["quaternions_wxyz"], (4,), "quaternions_wxyz"))
    transforms = np.tile(np.eye(4), (len(positions), 1, 1))
    transforms[:, :3, :3] = KUBRIC_TO_HERE @ rotations.transpose(0, 2, 1)
    transforms[:, :3, 3] = -np.einsum("tij,tj->ti", transforms[:, :3, :3], positions)
    return transforms


def rotations_of(quaternions: np.ndarray) -> np.ndarray:
    """Quaternions (T, 4) as (w, x, y, z) -> rotation matrices (T, 3, 3)."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.array(rows).transpose(2, 0, 1)


def _checked(clip: Clip, content: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = np.asarray(content, np.float64)
    if array.shape != (len(clip.video), *shape):
        raise ValueError(f"clip {clip.key}: camera's {name} has shape {array.shape}, not {(len(clip.video), *shape)}")
    return array
