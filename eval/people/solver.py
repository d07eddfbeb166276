"""The camera of a picture from a body: focal length and T_x, T_y, given T_z, the joints of the mesh and their pixels.

With the depths z of the joints known, the pixels u = c + f (X + T_x) / z are linear in (f, f T_x, f T_y): the weighted
least squares of the reprojection have a closed form, and a step of Gauss and Newton from it is zero. What the steps
are for is outliers: joints that do not fit lose weight (Huber 1964), and the form is solved again. No picture is looked
at alone: all B are solved at once.

The principal point is the picture's centre. The joints are from the pelvis, which is joint 0: no offset is left over.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shards.people.raster import NEAR_M

MIN_JOINTS = 4
"""Fewer joints say too little: two give f, T_x and T_y, and more than that have to agree."""
FOCAL_BOUNDS = (0.02, 20.0)
"""Focal lengths as shares of the picture's longer side: fields of view of 175 to 3 degrees; 10 to 10,000 px of 500."""
MIN_SPREAD = 0.01
"""Joints whose rays differ by less than this share of their place say nothing of the focal length."""
OUTLIER = 2.0
"""Standard deviations from which a joint loses weight."""
EXACT_PX = 1e-6
"""Errors that count as none."""
MOST_STEPS = 100
STEPS_OF_SCALE = 10
"""Steps in which the standard deviation is estimated anew; from then on each step lowers one convex sum."""
CONVERGED = 1e-4
"""Relative change of the focal length in the last step."""

SOLVED = ""
TOO_FEW = f"fewer than {MIN_JOINTS} joints with a score in front of the camera"
ONE_POINT = "all joints lie in one direction"
OUT_OF_BOUNDS = "the focal length is out of bounds"
NOT_CONVERGED = "the steps did not converge"


@dataclass(frozen=True, kw_only=True, eq=False)
class Solved:
    """Cameras of B pictures; NaN where there is none, and `reason` says why."""

    focal_px: np.ndarray
    """(B,) float64"""
    pelvis_m: np.ndarray
    """(B, 3) float64: T_x, T_y, and the T_z that was given"""
    reason: np.ndarray
    """(B,) str, empty where the camera was found"""
    error_px: np.ndarray
    """(B,) float64, weighted root mean square of the reprojection"""

    @property
    def is_solved(self) -> np.ndarray:
        """(B,) bool"""
        return self.reason == SOLVED


def solve_cameras(
    joints_m: np.ndarray,
    depth_m: np.ndarray,
    joints_px: np.ndarray,
    weights: np.ndarray,
    size: np.ndarray,
    *,
    is_robust: bool = True,
) -> Solved:
    """Find the cameras of B pictures.

    joints_m (B, J, 3) of the mesh, from the pelvis; depth_m (B,) T_z; joints_px (B, J, 2); weights (B, J), at least 0,
    such as the scores of the joints; size (B, 2) width and height of the pictures, whose centre is the principal point.
    is_robust=False: every joint keeps its weight. Raises ValueError where something given is not finite.
    """
    given = {"joints_m": joints_m, "depth_m": depth_m, "joints_px": joints_px, "weights": weights}
    for name, array in given.items():
        if not np.isfinite(array).all():
            raise ValueError(
                f"{name} for the camera is NaN or infinite in picture {np.argwhere(~np.isfinite(array))[0][0]}"
            )
    joints, size = np.asarray(joints_m, np.float64), np.asarray(size, np.float64)
    offset = np.asarray(joints_px, np.float64) - size[:, None] / 2  # (B, J, 2) from the principal point
    depth = joints[..., 2] + np.asarray(depth_m, np.float64)[:, None]  # (B, J)
    is_used = (depth > NEAR_M) & (weights > 0)
    depth = np.where(is_used, depth, 1.0)
    weights = np.where(is_used, weights, 0.0).astype(np.float64)
    focal, place, is_settled = _descend(joints[..., :2], depth, offset, weights, MOST_STEPS if is_robust else 1)
    low, high = (share * size.max(1) for share in FOCAL_BOUNDS)
    *_, spread = _closed_form(joints[..., :2], depth, offset, weights)
    with np.errstate(invalid="ignore"):
        reason = np.select(
            [is_used.sum(1) < MIN_JOINTS, ~(spread > MIN_SPREAD**2), ~((focal >= low) & (focal <= high)), ~is_settled],
            [TOO_FEW, ONE_POINT, OUT_OF_BOUNDS, NOT_CONVERGED],
            SOLVED,
        )
    is_lost = reason != SOLVED
    error = np.linalg.norm(_residual(joints[..., :2], depth, offset, focal, place), axis=-1)  # (B, J)
    error_px = np.sqrt((weights * error**2).sum(1) / np.maximum(weights.sum(1), 1e-12))
    pelvis = np.concatenate([place, np.asarray(depth_m, np.float64)[:, None]], 1)
    pelvis[is_lost], focal[is_lost], error_px[is_lost] = np.nan, np.nan, np.nan
    return Solved(focal_px=focal, pelvis_m=pelvis, reason=reason, error_px=error_px)


def _descend(xy, depth, offset, weights, num_steps):
    """Focal lengths (B,), T_x and T_y (B, 2), and whether they settled (B,) while outliers lose weight."""
    trust = np.ones_like(weights)  # (B, J)
    focal, place, _ = _closed_form(xy, depth, offset, weights)
    is_settled, limit = np.ones(len(xy), bool), None
    for step in range(num_steps - 1):
        error = np.linalg.norm(_residual(xy, depth, offset, focal, place), axis=-1)  # (B, J)
        if step < STEPS_OF_SCALE:
            # Of errors that are normal in x and y the median is 1.177 standard deviations.
            known = np.where(weights > 0, error, np.nan)
            deviation = np.nanmedian(np.where(np.isnan(known).all(1, keepdims=True), 0, known), axis=1) / 1.1774
            limit = OUTLIER * np.maximum(deviation, EXACT_PX)[:, None]
        trust = np.where(error > limit, limit / np.maximum(error, EXACT_PX), 1.0)
        before = focal
        focal, place, _ = _closed_form(xy, depth, offset, weights * trust)
        with np.errstate(invalid="ignore"):
            is_settled = np.abs(focal - before) <= CONVERGED * np.abs(focal)
        if is_settled.all():
            break
    return focal, place, is_settled


def _closed_form(xy, depth, offset, weights):
    """Focal lengths (B,), T_x and T_y (B, 2), and how far the joints spread (B,) as a share, squared.

    xy (B, J, 2) metres, depth (B, J) metres, offset (B, J, 2) pixels, weights (B, J).
    """
    rays = xy / depth[..., None]  # (B, J, 2)
    w = weights[..., None]
    near = (weights / depth**2).sum(1)  # (B,) sum of w / z^2
    place = (w * rays / depth[..., None]).sum(1)  # (B, 2) sum of w X / z^2
    pull = (w * offset / depth[..., None]).sum(1)  # (B, 2) sum of w du / z
    with np.errstate(invalid="ignore", divide="ignore"):
        total = (w * rays**2).sum((1, 2))
        spread = total - (place**2).sum(1) / near
        focal = ((w * rays * offset).sum((1, 2)) - (place * pull).sum(1) / near) / spread
        moved = (pull / focal[:, None] - place) / near[:, None]
        return focal, moved, spread / total


def _residual(xy, depth, offset, focal, place):
    """(B, J, 2) pixels between the joints that are given and those that the camera sees."""
    return focal[:, None, None] * (xy + place[:, None]) / depth[..., None] - offset
