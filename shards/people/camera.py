"""The pinhole camera of a picture: square pixels, and no turn, as bodies are in its axes already."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Camera:
    """Cameras of B pictures. Pixels (x, y) in raster convention: the centre of the top-left pixel is (0.5, 0.5)."""

    focal_px: np.ndarray
    """(B,) float, positive"""
    centre_px: np.ndarray
    """(B, 2) float, the principal point"""


def project(camera: Camera, points_m: np.ndarray) -> np.ndarray:
    """Pixels (B, N, 2) of points (B, N, 3) in camera axes; NaN where a point is not in front of the camera."""
    depth = np.where(points_m[..., 2:] > 0, points_m[..., 2:], np.nan)
    return camera.focal_px[:, None, None] * points_m[..., :2] / depth + camera.centre_px[:, None]


def crop_camera(camera: Camera, box: np.ndarray, size: int) -> Camera:
    """The cameras of pictures that are cut out by boxes (B, 3) of (left, top, side) and resized to size x size."""
    scale = size / box[:, 2]
    return Camera(focal_px=camera.focal_px * scale, centre_px=(camera.centre_px - box[:, :2]) * scale[:, None])
