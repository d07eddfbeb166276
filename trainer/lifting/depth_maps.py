"""Depth maps of a video, read one frame at a time: 16-bit PNGs, a zarr array, an npy file, or a packed clip.

Legend: T frames, H W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zarr

from shards import Clip
from shards.depth import read_depth
from shards.layouts.files import list_images, naming, read_codes

KINDS = ("z", "distance")
"""Depth along the camera's axis, or distance to the camera's centre."""


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """Depth of `num_frames` frames: read(t) is (H, W) in metres, of the `kind` "z" or "distance"."""

    name: str
    num_frames: int
    kind: str
    read: Callable[[int], np.ndarray]


def open_depth(path: Path, kind: str | None = None, scale: float | None = None) -> DepthMaps:
    """Depth maps of a folder of 16-bit PNGs, a zarr array (T, H, W), or an .npy file (T, H, W).

    `scale`: metres of one unit of the file; an array of floating-point numbers is in metres without it. An array of our
    own depth stores (`shard-000000.zarr/<key>`) says both itself. Raises ValueError for another file, and where `kind`
    or `scale` is not known.
    """
    path = Path(path)
    if scale is not None and not 0 < scale < np.inf:
        raise ValueError(f"--depth-scale {scale}: give the metres of one unit, such as 0.001")
    if (path / "zarr.json").exists() or (path / ".zarray").exists():
        array = _open_zarr(path)
        if {"depth_min_m", "depth_max_m"} <= array.attrs.keys():
            return _own_array(path, array, kind, scale)
        return _array(path, array, kind, scale)
    if path.is_dir():
        files = list_images(path)
        scale, kind = _known_scale(path, scale), _known_kind(path, kind)
        return DepthMaps(
            name=str(path), num_frames=len(files), kind=kind, read=lambda t: read_codes(files[t : t + 1])[0] * scale
        )
    if path.suffix == ".npy":
        with naming(path):
            return _array(path, np.load(path, mmap_mode="r", allow_pickle=False), kind, scale)
    raise ValueError(f"{path}: not depth; give a folder of 16-bit PNGs, a zarr array (store.zarr/<clip>), or an .npy")


def depth_of_clip(clip: Clip) -> DepthMaps:
    """The depth of a clip that was read with its depth."""
    assert clip.depth_m is not None
    return DepthMaps(name=clip.key, num_frames=len(clip.video), kind="distance", read=clip.depth_m.__getitem__)


def _open_zarr(path: Path) -> zarr.Array:
    try:
        return zarr.open_array(str(path), mode="r")
    except (KeyError, TypeError, OSError, ValueError, RuntimeError) as error:
        names = sorted(inner.name for inner in path.iterdir() if inner.is_dir())
        hint = f"; it is a store: give one of its arrays, such as {path / names[0]}" if names else ""
        raise ValueError(f"{path}: not a readable zarr array ({type(error).__name__}){hint}") from None


def _own_array(path: Path, array: zarr.Array, kind: str | None, scale: float | None) -> DepthMaps:
    if scale is not None or kind == "z":
        raise ValueError(f"{path}: says itself that it holds metres, distance: leave out --depth-scale and z")

    def read(t: int) -> np.ndarray:
        return read_depth(path.parent, path.name, slice(t, t + 1))[0]  # it notices chunks that are gone

    return DepthMaps(name=str(path), num_frames=array.shape[0], kind="distance", read=read)


def _array(path: Path, array: np.ndarray | zarr.Array, kind: str | None, scale: float | None) -> DepthMaps:
    if array.ndim != 3 or array.dtype.kind not in "fiu" or 0 in array.shape:
        raise ValueError(f"{path}: is {array.dtype} of shape {array.shape}, expected numbers (T, H, W)")
    if array.dtype.kind == "f" and scale is None:
        scale = 1.0
    scale, kind = _known_scale(path, scale), _known_kind(path, kind)

    def read(t: int) -> np.ndarray:
        try:
            return np.asarray(array[t], np.float64) * scale
        except (ValueError, OSError, RuntimeError) as error:  # what zarr's codecs raise
            raise ValueError(f"{path}: depth of frame {t} cannot be read ({error})") from None

    return DepthMaps(name=str(path), num_frames=array.shape[0], kind=kind, read=read)


def _known_scale(path: Path, scale: float | None) -> float:
    if scale is None:
        raise ValueError(f"{path}: holds integers: give --depth-scale, the metres of one unit (0.001 for millimetres)")
    return scale


def _known_kind(path: Path, kind: str | None) -> str:
    if kind not in KINDS:
        raise ValueError(
            f"{path}: give --depth-kind z (along the camera's axis: sensors, networks) or distance (to its centre)"
        )
    return kind
