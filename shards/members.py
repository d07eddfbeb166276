"""A clip as named byte strings (the members of a tar) and back."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from shards.clip import Clip

PNG_LEVEL = 6
"""zlib level of frames: 9 takes far longer for a few percent (measured, lossless either way)."""
ANNOTATIONS = ("tracks.npy", "visible.npy", "metadata.json")


def frame_name(frame: int) -> str:
    """Member name of a frame, after the key and a dot."""
    return f"frame{frame:03d}.png"


def member_names(num_frames: int) -> list[str]:
    """Names of all members of a clip, in the order in which they are packed."""
    return [*(frame_name(t) for t in range(num_frames)), *ANNOTATIONS]


def encode_clip(clip: Clip) -> dict[str, bytes]:
    """Members of a clip in fixed order: frames (PNG), tracks, visible, metadata. Equal clips give equal bytes."""
    members = {frame_name(t): encode_png(frame) for t, frame in enumerate(clip.video)}
    members["tracks.npy"] = _encode_array(clip.tracks)
    members["visible.npy"] = _encode_array(clip.visible)
    members["metadata.json"] = json.dumps(clip.metadata, sort_keys=True, allow_nan=False).encode()
    return members


def decode_clip(
    key: str,
    num_frames: int,
    member: Callable[[str], bytes],
    *,
    frames: Sequence[int] | None = None,
    depth_m: np.ndarray | None = None,
) -> Clip:
    """The inverse of `encode_clip`; only the members of the chosen frames (default: all) are asked for."""
    chosen = range(num_frames) if frames is None else frames
    return Clip(
        key=key,
        video=stack_frames([decode_rgb(member(frame_name(t))) for t in chosen]),
        tracks=decode_array(member("tracks.npy"))[list(chosen)],
        visible=decode_array(member("visible.npy"))[list(chosen)],
        depth_m=depth_m,
        metadata=json.loads(member("metadata.json")),
    )


def stack_frames(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, ...) of one size as (T, H, W, ...); raises ValueError where there is none or another size."""
    if not images:
        raise ValueError("there is no frame")
    for number, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(f"frame {number} has shape {image.shape}, frame 0 has {images[0].shape}")
    return np.stack(images)


def encode_png(image: np.ndarray) -> bytes:
    """An image (H, W, 3) or (H, W), uint8 or uint16, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png", compress_level=PNG_LEVEL)
    return buffer.getvalue()


def decode_rgb(content: bytes) -> np.ndarray:
    """PNG or JPEG bytes as an image (H, W, 3) uint8; raises ValueError for anything that is not a whole image."""
    return _decode_image(content, lambda image: image if image.mode == "RGB" else image.convert("RGB"))


def decode_codes(content: bytes) -> np.ndarray:
    """The uint16 codes (H, W) of a 16-bit grey PNG, such as a depth map; raises ValueError for another image."""
    codes = _decode_image(content, lambda image: image)
    if codes.ndim != 2 or codes.dtype != np.uint16:
        raise ValueError(f"is a {codes.ndim}-d image of {codes.dtype}, expected 16-bit grey")
    return codes


def _decode_image(content: bytes, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
            return np.asarray(convert(image))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "neither PNG nor JPEG" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"cannot be decoded ({reason})") from None


def _encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def decode_array(content: bytes) -> Any:
    """An array from npy bytes; never unpickles."""
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
