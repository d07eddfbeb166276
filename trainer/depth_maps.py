"""Depth, intrinsics and poses of a video from files. Legend: T frames, H W pixels of the depth maps."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr

from shards.depth import LEVELS

KINDS = ("z", "distance")
OPENGL_TO_HERE = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """Depth that is read frame by frame: `files`, PNGs, or `array`, zarr (T, H, W). kind: z or distance.

    metres = offset_m + scale_m * stored value; a stored 0 is no measurement unless `zero_counts`.
    """

    name: str
    kind: str
    scale_m: float
    offset_m: float = 0.0
    zero_counts: bool = False
    files: tuple[Path, ...] = ()
    array: Any = None

    def __len__(self) -> int:
        return len(self.files) if self.array is None else self.array.shape[0]

    def frame(self, number: int) -> np.ndarray:
        """Depth (H, W) float64 metres, NaN where there is none; raises ValueError for a picture that is no depth."""
        stored = np.asarray(self.array[number]) if self.array is not None else _read_png(self.files[number])
        depth_m = self.offset_m + stored.astype(np.float64) * self.scale_m
        is_known = np.isfinite(stored) & (depth_m > 0) & (self.zero_counts | (stored != 0))
        return np.where(is_known, depth_m, np.nan)


def open_depth(
    path: Path, kind: str | None = None, scale_m: float | None = None, range_m: tuple[float, float] | None = None
) -> DepthMaps:
    """Depth of one video: a folder of 16-bit PNGs in the order of their names, or one zarr array (T, H, W).

    kind defaults to what an array of ours says of itself, otherwise to z. scale_m: metres of one code; range_m: metres
    of code 0 and of code 65535, as in our clip folders. Raises ValueError for anything that leaves metres unknown.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: no folder; give a zarr array or a folder of 16-bit PNGs")
    if (path / "zarr.json").exists() or (path / ".zarray").exists() or (path / ".zgroup").exists():
        return _open_array(path, kind, scale_m)
    files = tuple(sorted(path.glob("*.png")))
    if not files:
        raise ValueError(f"{path}: neither a zarr array nor a folder of PNGs")
    if (scale_m is None) == (range_m is None):
        raise ValueError(f"{path}: say what a code is: --depth-scale METRES or --depth-range LOW,HIGH, one of them")
    if range_m is None:
        return DepthMaps(name=str(path), kind=kind or "z", scale_m=scale_m, files=files)
    low, high = range_m
    scale_m = (high - low) / LEVELS
    return DepthMaps(name=str(path), kind=kind or "z", scale_m=scale_m, offset_m=low, zero_counts=True, files=files)


def _open_array(path: Path, kind: str | None, scale_m: float | None) -> DepthMaps:
    try:
        array = zarr.open(str(path), mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a readable zarr array ({error})") from None
    if not isinstance(array, zarr.Array):
        inside = ", ".join(sorted(array.keys())[:3])
        raise ValueError(f"{path}: holds several arrays; give one of them: {path}/NAME ({inside}, ...)")
    if array.ndim != 3:
        raise ValueError(f"{path}: has shape {array.shape}, expected (T, H, W)")
    if {"depth_min_m", "depth_max_m"} <= set(array.attrs):
        if scale_m is not None or kind == "z":
            raise ValueError(f"{path}: says itself that it is the distance in metres; leave the options of depth out")
        low, high = float(array.attrs["depth_min_m"]), float(array.attrs["depth_max_m"])
        step = (high - low) / LEVELS
        return DepthMaps(name=str(path), kind="distance", scale_m=step, offset_m=low, zero_counts=True, array=array)
    if scale_m is None and array.dtype.kind != "f":
        raise ValueError(f"{path}: holds {array.dtype}; say how many metres one is: --depth-scale METRES")
    return DepthMaps(name=str(path), kind=kind or "z", scale_m=1.0 if scale_m is None else scale_m, array=array)


def _read_png(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f"{path}: not a readable picture")
    if image.dtype != np.uint16 or image.ndim != 2:
        raise ValueError(f"{path}: is {image.dtype} of shape {image.shape}, expected one channel of 16 bits")
    return image


def read_intrinsics(text: str, num_frames: int) -> np.ndarray:
    """K of each frame, (T, 3, 3), from `fx,fy,cx,cy` or a JSON file, in raster pixels of the video.

    JSON: fx, fy, cx, cy by name, or `intrinsics`: a matrix (3, 3) or one a frame (T, 3, 3). Raises ValueError.
    """
    if text.endswith(".json"):
        content = _read_json(Path(text))
        values = content.get("intrinsics") if isinstance(content, dict) else content
        if values is None:
            values = [content.get(name) for name in ("fx", "fy", "cx", "cy")]
    else:
        values = text.split(",")
    matrices = _numbers(values, text)
    if matrices.shape == (4,):
        fx, fy, cx, cy = matrices
        matrices = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    if matrices.shape == (3, 3):
        matrices = np.repeat(matrices[None], num_frames, 0)
    if matrices.ndim != 3 or matrices.shape[1:] != (3, 3):
        raise ValueError(f"{text}: no intrinsics; give fx,fy,cx,cy or a JSON file with them or with a 3x3 matrix")
    if not ((matrices[:, 0, 0] > 0) & (matrices[:, 1, 1] > 0) & (matrices[:, 2] == [0, 0, 1]).all(1)).all():
        raise ValueError(f"{text}: focal lengths must be positive, and the last row of K 0 0 1")
    return matrices


def read_poses(path: Path) -> np.ndarray:
    """Transforms (T, 4, 4) of the world to the camera (x right, y down, z forward) from a JSON file.

    It holds `world_to_camera` or `camera_to_world`, a matrix (4, 4) a frame, and perhaps `axes`: `opencv` (default) or
    `opengl` (x right, y up, the camera looks along -z). Raises ValueError for anything else.
    """
    content = _read_json(path)
    known = {"world_to_camera", "camera_to_world"}
    if not isinstance(content, dict) or len(known & content.keys()) != 1:
        raise ValueError(f"{path}: expected one of {' and '.join(sorted(known))}, a list of 4x4 matrices")
    name = (known & content.keys()).pop()
    matrices = _numbers(content[name], str(path))
    if matrices.ndim != 3 or matrices.shape[1:] != (4, 4):
        raise ValueError(f"{path}: {name} has shape {matrices.shape}, expected (T, 4, 4)")
    rotations = matrices[:, :3, :3]
    is_rotation = np.allclose(rotations @ rotations.transpose(0, 2, 1), np.eye(3), atol=1e-4)
    if not is_rotation or not (np.linalg.det(rotations) > 0).all() or not (matrices[:, 3] == [0, 0, 0, 1]).all():
        raise ValueError(f"{path}: {name} holds matrices that are no rotation and translation (last row 0 0 0 1)")
    if name == "camera_to_world":
        matrices = np.linalg.inv(matrices)
    axes = content.get("axes", "opencv")
    if axes not in ("opencv", "opengl"):
        raise ValueError(f"{path}: axes={axes!r}; use opencv or opengl")
    return OPENGL_TO_HERE @ matrices if axes == "opengl" else matrices


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: not a readable JSON file ({error})") from None


def _numbers(values: Any, where: str) -> np.ndarray:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: expected numbers, and as many in each row") from None
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: holds NaN or infinite values, or one of fx, fy, cx, cy is missing")
    return array
