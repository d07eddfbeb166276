"""Depth in a zarr v3 store: one uint16 array a clip, linear over the clip's own range, one chunk a frame."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

LEVELS = 65535


def quantise(depth_m: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Depth (T, H, W) in metres -> uint16 codes and the metres of code 0 and of code 65535.

    The largest error is half a step, (high - low) / 131070: 0.14 mm over 18 m.
    """
    low, high = float(depth_m.min()), float(depth_m.max())
    span = max(high - low, np.finfo(np.float32).tiny)
    return np.rint((depth_m.astype(np.float64) - low) / span * LEVELS).astype(np.uint16), low, high


def metres(codes: np.ndarray, low: float, high: float) -> np.ndarray:
    """The inverse of `quantise`, float32."""
    return (low + codes.astype(np.float64) * ((high - low) / LEVELS)).astype(np.float32)


def write_depth(store: Path, key: str, depth_m: np.ndarray) -> dict[str, Any]:
    """Add one clip's depth to a store folder: frame chunks, one zarr shard file a clip, blosc-zstd-3, byte shuffle.

    Each frame carries a crc32c, since neither zarr nor blosc would notice a flipped byte. Returns what the index says
    of it: `depth_range_m` (metres of code 0 and of code 65535) and `depth_crc32` (of the clip's files).
    """
    codes, low, high = quantise(depth_m)
    array = zarr.create_array(
        str(store),
        name=key,
        shape=codes.shape,
        dtype="uint16",
        chunks=(1, *codes.shape[1:]),
        shards=codes.shape,
        compressors=[BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2), Crc32cCodec()],
        attributes={"depth_min_m": low, "depth_max_m": high, "convention": "distance to the camera centre"},
        # Without it a frame whose codes are all 0 is left out, and one that was lost looks the same.
        config={"write_empty_chunks": True},
    )
    array[:] = codes
    return {"depth_range_m": [low, high], "depth_crc32": depth_crc32(store, key)}


def depth_crc32(store: Path, key: str) -> int:
    """crc32 of the files of one clip's depth: its zarr.json, then its chunk file."""
    crc32 = 0
    for file in (store / key / "zarr.json", _chunk_file(store, key)):
        crc32 = zlib.crc32(file.read_bytes(), crc32)
    return crc32


def read_depth(store: Path, key: str, frames: slice, range_m: list[float] | None = None) -> np.ndarray:
    """Depth (T, H, W) float32 metres of some frames of a clip.

    Raises ValueError when store or clip cannot be read, and when its range is not `range_m`, which an index gives: the
    chunks have checksums, the attributes that make metres of them have none.
    """
    try:
        if not store.is_dir():
            raise ValueError("the store is missing")
        array = zarr.open_array(str(store), path=key, mode="r")
        # zarr fills in zeros, without a word, for a chunk file that is gone.
        if not _chunk_file(store, key).is_file():
            raise ValueError("its chunk file is missing")
        low, high = array.attrs["depth_min_m"], array.attrs["depth_max_m"]
        if range_m is not None and [low, high] != range_m:
            raise ValueError(f"its range is {low} to {high} m, the index says {range_m[0]} to {range_m[1]} m")
        return metres(array[frames], low, high)
    except (KeyError, TypeError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{store}: depth of clip {key} cannot be read ({reason}); delete it and pack again") from None


def _chunk_file(store: Path, key: str) -> Path:
    return store / key / "c" / "0" / "0" / "0"
