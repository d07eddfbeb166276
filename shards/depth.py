"""Depth in a zarr v3 store: one uint16 array a clip, linear over the clip's own range, one chunk a frame."""

from pathlib import Path

import numpy as np
import zarr
from zarr.codecs import BloscCodec

LEVELS = 65535


def quantise(depth_m: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Depth (T, H, W) in metres -> uint16 codes and the metres of code 0 and of code 65535."""
    low, high = float(depth_m.min()), float(depth_m.max())
    span = max(high - low, np.finfo(np.float32).tiny)
    return np.rint((depth_m.astype(np.float64) - low) / span * LEVELS).astype(np.uint16), low, high


def metres(codes: np.ndarray, low: float, high: float) -> np.ndarray:
    """The inverse of `quantise`, float32."""
    return (low + codes.astype(np.float64) * ((high - low) / LEVELS)).astype(np.float32)


def write_depth(store: Path, key: str, depth_m: np.ndarray) -> None:
    """Add one clip's depth to a store folder: frame chunks, one zarr shard file a clip, blosc-zstd-3, byte shuffle."""
    codes, low, high = quantise(depth_m)
    array = zarr.create_array(
        str(store),
        name=key,
        shape=codes.shape,
        dtype="uint16",
        chunks=(1, *codes.shape[1:]),
        shards=codes.shape,
        compressors=BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2),
        attributes={"depth_min_m": low, "depth_max_m": high, "convention": "distance to the camera centre"},
    )
    array[:] = codes


def read_depth(store: Path, key: str, frames: slice) -> np.ndarray:
    """Depth (T, H, W) float32 metres of some frames of a clip; ValueError when store or clip cannot be read."""
    try:
        array = zarr.open_array(str(store), path=key, mode="r")
        codes, attributes = array[frames], array.attrs
        return metres(codes, attributes["depth_min_m"], attributes["depth_max_m"])
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{store}: depth of clip {key} cannot be read ({error}); delete it and run `snakemake data`"
        ) from None
