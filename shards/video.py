"""Video files and folders of pictures as frames (H, W, 3) uint8 RGB, one in memory at a time."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from shards.film import FRAMES_PER_SECOND

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
MISSING_FRAMES = 3
"""A file that ends this many frames before its stated length was cut off; less is how containers round."""


@dataclass(frozen=True, kw_only=True)
class Video:
    """An opened video: its frames can be gone through once, in order.

    frames: (H, W, 3) uint8 each, upright; rate: frames a second; num_frames: as the container states it, None where it
    does not; is_live: a camera or a pipe, which ends when someone ends it.
    """

    name: str
    frames: Iterator[np.ndarray]
    rate: Fraction
    num_frames: int | None
    is_live: bool


@contextlib.contextmanager
def open_container(file: str | BinaryIO, name: str) -> Iterator[Video]:
    """Open a video file, or a stream that plays without seeking; turned videos (phones) come upright.

    Raises ValueError, here or from `frames`, where there is no video or no frame, and where a file is cut off.
    """
    import av  # only here: importing it takes long, and cameras and folders need none of it

    try:
        container = av.open(file)
    except av.error.FFmpegError as error:
        raise ValueError(f"{name}: not a video that can be read ({error.strerror})") from None
    with container:
        # FFmpeg would show a text file as a film of letters.
        if not container.streams.video or container.format.name == "tty":
            raise ValueError(f"{name}: no video in it")
        stream = container.streams.video[0]
        yield Video(
            name=name,
            frames=_read_frames(container, stream, name),
            rate=Fraction(stream.average_rate or stream.guessed_rate or FRAMES_PER_SECOND).limit_denominator(1001),
            num_frames=stream.frames or None,
            is_live=not isinstance(file, str),
        )


def _read_frames(container, stream, name: str) -> Iterator[np.ndarray]:
    """Yield the frames of a PyAV stream; ValueError for none, and for fewer than the container says."""
    import av

    number, end = 0, Fraction(0)
    try:
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise _damage(name, number, "a part of it is missing")
            if packet.pts is not None:
                end = max(end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            for frame in packet.decode():
                yield _turn_upright(frame.to_ndarray(format="rgb24"), frame.rotation)
                number += 1
    except av.error.FFmpegError as error:
        raise _damage(name, number, error.strerror) from None
    if number == 0:
        raise ValueError(f"{name}: a video without frames")
    stated = _stated_end(container, stream)
    if stated and (stated - end) * (stream.average_rate or FRAMES_PER_SECOND) > MISSING_FRAMES:
        raise _damage(name, number, f"it ends at {float(end):.2f} s of {float(stated):.2f} s")


def _stated_end(container, stream) -> Fraction | None:
    """The end in seconds by the header: the stream's, or the file's where nothing but this stream can have set it."""
    if stream.duration:
        return ((stream.start_time or 0) + stream.duration) * stream.time_base
    if container.duration and len(container.streams) == 1:
        return Fraction((container.start_time or 0) + container.duration, 1_000_000)
    return None


def _damage(name: str, number: int, reason: str) -> ValueError:
    advice = f"or stop before the damage: its first {number} frames can be read (--max-frames)"
    return ValueError(f"{name}: cut off or damaged ({reason}); fetch it again{', ' + advice if number else ''}")


def _turn_upright(frame: np.ndarray, rotation: int) -> np.ndarray:
    """Turn a frame counterclockwise by the degrees of its display matrix."""
    return np.ascontiguousarray(np.rot90(frame, round(rotation / 90)))


def open_folder(folder: Path) -> Video:
    """A folder of pictures as a video, in the order of their numbers; ValueError where there is none."""
    paths = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=_by_numbers)
    if not paths:
        raise ValueError(f"{folder}: no pictures in this folder ({', '.join(PICTURES)})")
    return Video(
        name=str(folder),
        frames=map(_read_picture, paths),
        rate=Fraction(FRAMES_PER_SECOND),
        num_frames=len(paths),
        is_live=False,
    )


def _by_numbers(path: Path) -> list[tuple[int, int, str]]:
    """Sort key that puts 9.png before 10.png."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]


def _read_picture(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a picture that can be read")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
