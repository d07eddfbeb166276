"""A clip as named byte strings (the members of a tar) and back."""

import functools
import io
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.codecs import codec_named, decode_rgb
from shards.codecs import decode_codes as decode_codes  # for readers of layouts, as are decode_rgb and encode_png
from shards.codecs import encode_png as encode_png
from shards.driving.drive import decode_drive, encode_drive
from shards.people.person import decode_person, encode_person

ANNOTATIONS = ("tracks.npy", "visible.npy", "metadata.json")
OPTIONAL = {
    "object_id": "object_id.npy", "query_frame": "query_frame.npy", "world_m": "world.npy", "person": "person.npz",
    "drive": "drive.npz",
}  # fmt: skip
"""Fields of a Clip that it may lack, and their members, in the order in which they are packed."""
OF_FRAMES: dict[str, tuple[Callable[[Any], bytes], Callable[[bytes], Any]]] = {
    "person": (encode_person, decode_person), "drive": (encode_drive, decode_drive),
}  # fmt: skip
"""Fields that are more than an array, and know how to choose `frames` of themselves: how each is written and read."""


def frame_name(frame: int, codec: str = "png") -> str:
    """Member name of a frame, after the key and a dot."""
    return f"frame{frame:03d}.{codec_named(codec).suffix}"


@functools.cache
def member_names(num_frames: int, codec: str = "png", optional: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Names of all members of a clip in the order in which they are packed; `optional` are values of OPTIONAL."""
    return (*(frame_name(t, codec) for t in range(num_frames)), *ANNOTATIONS, *optional)


def optional_members(clip: Clip) -> tuple[str, ...]:
    """Names of the optional members that a clip has."""
    return tuple(name for field, name in OPTIONAL.items() if getattr(clip, field) is not None)


def encode_clip(clip: Clip, codec: str = "png") -> dict[str, bytes]:
    """Members of a clip in fixed order: frames, tracks, visible, metadata, optional ones. Equal clips give equal bytes.

    Raises ValueError for an unknown codec, and for frames that are too large for it.
    """
    encode = codec_named(codec).encode
    members = {frame_name(t, codec): encode(frame) for t, frame in enumerate(clip.video)}
    members["tracks.npy"] = _encode_array(clip.tracks)
    members["visible.npy"] = _encode_array(clip.visible)
    members["metadata.json"] = json.dumps(clip.metadata, sort_keys=True, allow_nan=False).encode()
    present = optional_members(clip)
    for field, name in OPTIONAL.items():
        if name in present:
            value = getattr(clip, field)
            members[name] = OF_FRAMES[field][0](value) if field in OF_FRAMES else _encode_array(value)
    return members


def decode_clip(
    key: str,
    num_frames: int,
    member: Callable[[str], bytes],
    *,
    codec: str = "png",
    optional: Iterable[str] = (),
    frames: Sequence[int] | None = None,
    depth_m: np.ndarray | None = None,
) -> Clip:
    """The inverse of `encode_clip`; only the members of the chosen frames (default: all) are asked for.

    Of the optional members those that `optional` names. A query frame becomes its place among the chosen frames, -1
    where it is not one of them.
    """
    chosen = list(range(num_frames) if frames is None else frames)
    arrays = {
        field: OF_FRAMES[field][1](member(name)) if field in OF_FRAMES else decode_array(member(name))
        for field, name in OPTIONAL.items()
        if name in optional
    }
    for field in OF_FRAMES.keys() & arrays.keys():
        arrays[field] = arrays[field].frames(chosen)
    if "world_m" in arrays:
        arrays["world_m"] = arrays["world_m"][chosen]
    if "query_frame" in arrays:
        place = np.full(num_frames + 1, -1, np.int32)  # the last one is for -1
        place[chosen] = np.arange(len(chosen))
        arrays["query_frame"] = place[arrays["query_frame"]]
    return Clip(
        key=key,
        video=_decode_video(member, [frame_name(t, codec) for t in chosen]),
        tracks=decode_array(member("tracks.npy"))[chosen],
        visible=decode_array(member("visible.npy"))[chosen],
        depth_m=depth_m,
        metadata=json.loads(member("metadata.json")),
        **arrays,
    )


def _decode_video(member: Callable[[str], bytes], names: list[str]) -> np.ndarray:
    return decode_frames(names, lambda name: decode_rgb(member(name)))


def decode_frames(names: Sequence[Any], decode: Callable[[Any], np.ndarray]) -> np.ndarray:
    """Frames (T, H, W, 3) uint8, each put in its place as it comes: a list of them would be in memory twice.

    Raises ValueError for no frame, and one of another size than the first.
    """
    if not len(names):
        raise ValueError("there is no frame")
    first = decode(names[0])
    video = np.empty((len(names), *first.shape), np.uint8)
    for number, name in enumerate(names):
        image = decode(name) if number else first
        if image.shape != first.shape:
            named = (name, names[0]) if isinstance(name, str) else (f"frame {number}", "frame 0")
            raise ValueError(f"{named[0]} has shape {image.shape}, {named[1]} has {first.shape}")
        video[number] = image
    return video


def stack_frames(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images (H, W, ...) of one size as (T, H, W, ...); raises ValueError where there is none or another size."""
    if not images:
        raise ValueError("there is no frame")
    for number, image in enumerate(images):
        if image.shape != images[0].shape:
            raise ValueError(f"frame {number} has shape {image.shape}, frame 0 has {images[0].shape}")
    return np.stack(images)


def _encode_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def decode_array(content: bytes) -> Any:
    """An array from npy bytes; never unpickles."""
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
