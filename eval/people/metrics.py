"""Metrics of bodies and cameras, frame by frame: those of BLADE (Wang et al. 2025, section 4), by their definitions.

Two of them differ from what papers on SMPL print: MPJPE is over 14 joints of the body model itself (LIMBS), where they
regress 14 joints of the LSP data set from vertices, and parts are those of the body file. So a number belongs to the
body model that is named beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LIMBS = (
    "left_ankle", "right_ankle", "left_knee", "right_knee", "left_hip", "right_hip", "left_wrist", "right_wrist",
    "left_elbow", "right_elbow", "left_shoulder", "right_shoulder", "neck", "head",
)  # fmt: skip
"""The 14 joints of MPJPE: LSP's by name, but for its top of the head, which is the joint `head` here."""


@dataclass(frozen=True)
class Metric:
    """How a metric is shown: its title and unit, what it is multiplied by, and what it says."""

    title: str
    factor: float
    decimals: int
    meaning: str
    is_better_high: bool = False


METRICS = {
    "depth_error": Metric("T_z m", 1, 3, "T_z: mean |error| of the pelvis' depth, as predicted; no solver moves it."),
    "relative_depth_error": Metric("T_z %", 100, 1, "T_z %: the same as a share of the true depth."),
    "inverse_depth_error": Metric("1/T_z", 1, 3, "1/T_z: mean |1/z - 1/z'|, in 1/m."),
    "place_error": Metric("T_xy m", 1, 3, "T_xy: mean distance of the pelvis across the line of sight."),
    "focal_error": Metric("f %", 100, 1, "f: mean |error| of the focal length as a share of the true one."),
    "aligned_joint_error": Metric(
        "PA-MPJPE mm", 1000, 1, "PA-MPJPE: MPJPE after the best scale, rotation and shift of each body."
    ),
    "joint_error": Metric("MPJPE mm", 1000, 1, "MPJPE: mean distance of 14 joints from the truth, pelvis on pelvis."),
    "vertex_error": Metric("PVE mm", 1000, 1, "PVE: mean distance of all vertices, pelvis on pelvis."),
    "mask_iou": Metric("mIoU %", 100, 1, "mIoU: intersection over union of the masks of both meshes.", True),
    "part_iou": Metric(
        "P-mIoU %", 100, 1, "P-mIoU: the same over the masks of all body parts laid side by side.", True
    ),
}
"""All metrics by their key, in the order of the tables; means over frames."""


def depth_errors(predicted_m: np.ndarray, true_m: np.ndarray) -> dict[str, np.ndarray]:
    """Errors of depths (B,) in metres, each (B,): |z - z'|, |z - z'| / z and |1/z - 1/z'|."""
    error = np.abs(predicted_m - true_m)
    return {
        "depth_error": error,
        "relative_depth_error": error / true_m,
        "inverse_depth_error": np.abs(1 / predicted_m - 1 / true_m),
    }


def mean_distance(predicted_m: np.ndarray, true_m: np.ndarray) -> np.ndarray:
    """Mean over points of the distance between points (B, N, 3) and the true ones, (B,) metres."""
    return np.linalg.norm(predicted_m - true_m, axis=-1).mean(-1)


def align(points_m: np.ndarray, target_m: np.ndarray) -> np.ndarray:
    """Points (B, N, 3) moved by the scale, rotation and shift that bring them nearest to the target (B, N, 3).

    Least squares; reflections are excluded. Umeyama 1991, equations 40 to 42. Points that all lie in one place stay
    where the shift puts them.
    """
    points, target = np.asarray(points_m, np.float64), np.asarray(target_m, np.float64)
    centre, target_centre = points.mean(1, keepdims=True), target.mean(1, keepdims=True)
    points, target = points - centre, target - target_centre
    left, stretch, right = np.linalg.svd(np.einsum("bni,bnj->bij", target, points))
    stretch[:, 2] *= (sign := np.sign(np.linalg.det(left @ right)))
    left[:, :, 2] *= sign[:, None]
    size = (points**2).sum((1, 2))
    scale = np.where(size > 0, stretch.sum(1) / np.where(size > 0, size, 1), 0)
    return scale[:, None, None] * np.einsum("bij,bnj->bni", left @ right, points) + target_centre


def mask_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """Intersection over union of two masks (H, W) bool; NaN where both are empty."""
    union = np.count_nonzero(predicted | true)
    return np.count_nonzero(predicted & true) / union if union else np.nan


def part_iou(predicted: np.ndarray, true: np.ndarray) -> float:
    """The same over the masks of all parts laid side by side, from part ids (H, W), where 0 is no body.

    A pixel that both call a body but of different parts counts in neither's intersection and in the union twice.
    """
    both = np.count_nonzero((predicted == true) & (true > 0))
    union = np.count_nonzero(predicted) + np.count_nonzero(true) - both
    return both / union if union else np.nan
