"""What trackers of streams share: where points are in a frame, and what a frame and a point must be.

Legend: H W source pixels, N points that are followed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

Array = np.ndarray | torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Where the points are in one frame: ids (N,) int64; points (N, 2) float32 as (x, y) in source pixels, raster
    convention; visible (N,) bool; uncertainty (N,) float32, the probability of a large error: of one above 8 input
    pixels by LBM, above 12 by CoTracker3."""

    ids: np.ndarray
    points: np.ndarray
    visible: np.ndarray
    uncertainty: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def no_positions() -> Positions:
    """Those of no points."""
    nothing = np.zeros(0, np.float32)
    return Positions(
        ids=nothing.astype(np.int64), points=nothing.reshape(0, 2), visible=nothing > 0, uncertainty=nothing
    )


def keep_positions(positions: Positions, index: np.ndarray) -> Positions:
    """The positions of some of the points."""
    return Positions(**{name: values[index] for name, values in vars(positions).items()})


def join_positions(first: Positions, second: Positions) -> Positions:
    """The positions of both."""
    return Positions(**{name: np.concatenate([values, vars(second)[name]]) for name, values in vars(first).items()})


def check_frame(frame: Array, number: int, size: tuple[int, int] | None, device: torch.device) -> torch.Tensor:
    """A frame (H, W, 3) uint8 as (1, 3, H, W) on the device; ValueError that names the frame by its number.

    size: (H, W) of the frames before, None for the first.
    """
    name = f"frame {number}"
    if frame is None:
        raise ValueError(f"{name} is missing (None); go on with the next frame, or start again")
    if not isinstance(frame, np.ndarray | torch.Tensor):
        raise ValueError(f"{name} is a {type(frame).__name__}, expected a NumPy array or a torch tensor")
    if frame.dtype not in (np.uint8, torch.uint8):
        raise ValueError(f"{name} has type {frame.dtype}, expected uint8 (0..255)")
    if frame.ndim != 3 or frame.shape[2] != 3 or 0 in frame.shape:
        raise ValueError(f"{name} has shape {tuple(frame.shape)}, expected (H, W, 3)")
    if size is not None and tuple(frame.shape[:2]) != size:
        height, width = frame.shape[:2]
        raise ValueError(
            f"{name} is {width}x{height}, the first one was {size[1]}x{size[0]}; resize it, or start again"
        )
    if isinstance(frame, np.ndarray):
        frame = torch.from_numpy(np.array(frame, order="C"))  # a copy: the caller may fill its buffer again
    return frame.to(device).permute(2, 0, 1)[None]


def check_ids(ids: Sequence[int] | np.ndarray | int, followed: np.ndarray) -> np.ndarray:
    """Ids to remove as (M,); ValueError for those that are no numbers, and for those that are not followed."""
    ids = np.atleast_1d(np.asarray(ids))
    if ids.size and ids.dtype.kind not in "iu":
        raise ValueError(f"ids to remove are {ids.dtype}, expected whole numbers")
    unknown = np.setdiff1d(ids, followed)
    if len(unknown):
        raise ValueError(f"no point with id {unknown.tolist()[0]} is followed ({len(unknown)} unknown ids)")
    return ids


def check_points(points: Array | Sequence, size: tuple[int, int]) -> np.ndarray:
    """Points (N, 2) as float32; ValueError for those that are no positions in a frame of this size (height, width)."""
    points = points.detach().cpu().numpy() if isinstance(points, torch.Tensor) else np.asarray(points)
    if points.size == 0:
        return np.zeros((0, 2), np.float32)
    if points.ndim != 2 or points.shape[1] != 2 or points.dtype.kind not in "iuf":
        raise ValueError(
            f"points are {points.dtype} of shape {points.shape}, expected numbers of shape (N, 2) as (x, y)"
        )
    if not np.isfinite(points).all():
        number = int(np.flatnonzero(~np.isfinite(points).all(1))[0])
        raise ValueError(f"point {number} is ({points[number, 0]}, {points[number, 1]}), not a finite position")
    height, width = size
    is_outside = ((points < 0) | (points > (width, height))).any(1)
    if is_outside.any():
        number = int(np.flatnonzero(is_outside)[0])
        raise ValueError(
            f"point {number} at ({points[number, 0]:g}, {points[number, 1]:g}) is outside the frame of "
            f"{width}x{height} pixels ({is_outside.sum()} of {len(points)} points)"
        )
    return points.astype(np.float32)
