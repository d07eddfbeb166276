"""Depth in a zarr v3 store: one uint16 array a clip, linear over the clip's own range, one chunk a frame."""

from pathlib import Path

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


def write_depth(store: Path, key: str, depth_m: np.ndarray) -> None:
    """Add one clip's depth to a store folder: frame chunks, one zarr shard file a clip, blosc-zstd-3, byte shuffle.

    Each frame carries a crc32c, since neither zarr nor blosc would notice a flipped byte.
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


def read_depth(store: Path, key: str, frames: slice) -> np.ndarray:
    """Depth (T, H, W) float32 metres of some frames of a clip; ValueError when store or clip cannot be read."""
    try:
        array = zarr.open_array(str(store), path=key, mode="r")
        # zarr fills in zeros, without a word, for a chunk file that is gone.
        if not (store / key / "c" / "0" / "0" / "0").is_file():
            raise ValueError("its chunk file is missing")
        return metres(array[frames], array.attrs["depth_min_m"], array.attrs["depth_max_m"])
    except (KeyError, TypeError, OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{store}: depth of clip {key} cannot be read ({reason}); delete it and pack again") from None
