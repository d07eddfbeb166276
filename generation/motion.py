"""Is a simulated scene worth rendering? Pure functions of poses: what fails takes the next sub-seed.

Legend: K bodies, T rendered frames (poses have one frame more at either end).
"""

import numpy as np

from generation.config import MoviConfig
from generation.geometry import rotation_matrices

FARTHEST_M, FASTEST_M_S = 60.0, 100.0
"""Beyond these a body was thrown by an unstable simulation: the dome's radius is 30, objects fall from 10 at most."""


class DegenerateSceneError(Exception):
    """A scene that makes no clip: another sub-seed is tried."""


def check_motion(
    config: MoviConfig,
    is_dynamic: list[bool],
    poses: dict[str, np.ndarray],
    bounds: np.ndarray,
    camera_positions: np.ndarray,
) -> None:
    """Raise DegenerateSceneError when the simulation failed, or the camera is inside an object.

    poses: position, velocity (K, T + 2, 3), quaternion (K, T + 2, 4), and others; bounds (K, 2, 3): the bodies' boxes
    in their own axes, metres; camera_positions (T, 3).
    """
    if not all(np.isfinite(values).all() for values in poses.values()):
        raise DegenerateSceneError("the simulation gave positions that are no numbers")
    if sum(is_dynamic) < min(config.min_dynamic, 1):
        raise DegenerateSceneError("no room for a dynamic object")
    if not is_dynamic:
        return
    distance, speed = (np.linalg.norm(poses[name], axis=-1).max() for name in ("position", "velocity"))
    if distance > FARTHEST_M or speed > FASTEST_M_S:
        raise DegenerateSceneError(f"the simulation exploded: a body {distance:.0f} m away, {speed:.0f} m/s fast")
    if is_inside(camera_positions, poses["position"][:, 1:-1], poses["quaternion"][:, 1:-1], bounds).any():
        raise DegenerateSceneError("the camera is inside an object")


def is_inside(points: np.ndarray, positions: np.ndarray, quaternions: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Whether (K, T) points (T, 3) are in the boxes (K, 2, 3) at positions (K, T, 3), turned by (K, T, 4)."""
    turned = np.einsum("ktji,ktj->kti", rotation_matrices(quaternions), points - positions)
    return ((turned > bounds[:, None, 0]) & (turned < bounds[:, None, 1])).all(-1)
