"""A clip as named byte strings (the members of a tar) and back."""

import io
import json

import imageio.v3 as iio
import numpy as np

from shards.clip import Clip

PNG_LEVEL = 6
"""zlib level of frames: 9 takes far longer for a few percent (measured, lossless either way)."""


def frame_name(frame: int) -> str:
    """Member name of a frame, after the key and a dot."""
    return f"frame{frame:03d}.png"


def encode_clip(clip: Clip) -> dict[str, bytes]:
    """Members of a clip in fixed order: frames (PNG), tracks, visible, metadata. Equal clips give equal bytes."""
    members = {frame_name(t): encode_png(frame) for t, frame in enumerate(clip.video)}
    members["tracks.npy"] = _encode_array(clip.tracks)
    members["visible.npy"] = _encode_array(clip.visible)
    members["metadata.json"] = json.dumps(clip.metadata, sort_keys=True, allow_nan=False).encode()
    return members


def encode_png(image: np.ndarray) -> bytes:
    """An image (H, W, 3) or (H, W), uint8 or uint16, as PNG."""
    return iio.imwrite("<bytes>", image, extension=".png", plugin="pillow", compress_level=PNG_LEVEL)


def decode_png(content: bytes) -> np.ndarray:
    """An image from PNG or JPEG bytes."""
    return iio.imread(content, plugin="pillow")


def _encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def decode_array(content: bytes) -> np.ndarray:
    """An array from npy bytes; never unpickles."""
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
