"""Videos in and out: files, folders of pictures, cameras and pipes as frames (H, W, 3) uint8 RGB, one at a time."""

import contextlib
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from shards.film import FRAMES_PER_SECOND, write_mp4

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")
CAMERA = "camera:"
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
def open_video(source: str | Path) -> Iterator[Video]:
    """Open a video file, a folder of pictures (in the order of their numbers), `camera:0`, or `-`, a pipe.

    A pipe may carry y4m or any container that plays without seeking. Turned videos (phones) come upright. One frame is
    in memory at a time. Raises ValueError, here or from `frames`, where there is no video or no frame, and where a file
    is cut off or damaged, which a pipe and some containers (y4m, MPEG-TS) cannot tell from their end.
    """
    source = str(source)
    if source.startswith(CAMERA):
        opened = _open_camera(source)
    elif source == "-":
        opened = _open_container(sys.stdin.buffer, "standard input")
    elif Path(source).is_dir():
        opened = contextlib.nullcontext(_open_folder(Path(source)))
    elif Path(source).exists():
        opened = _open_container(source, source)
    else:
        raise ValueError(f"{source}: no such file or folder; cameras are camera:0, camera:1 ..., a pipe is -")
    with opened as video:
        yield video


def write_video(frames: Iterable[np.ndarray], rate: Fraction, out: Path) -> None:
    """Write frames (H, W, 3) uint8 of one size as an MP4 that appears whole or not at all.

    H.264 wants even sizes: an odd one gets its last row or column twice, so positions stay.
    """
    write_mp4((_make_even(frame) for frame in frames), rate, out)


def _make_even(frame: np.ndarray) -> np.ndarray:
    height, width = frame.shape[:2]
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


@contextlib.contextmanager
def _open_container(file: str | BinaryIO, name: str) -> Iterator[Video]:
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


def _open_folder(folder: Path) -> Video:
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


@contextlib.contextmanager
def _open_camera(source: str) -> Iterator[Video]:
    number = source.removeprefix(CAMERA)
    if not number.isdigit():
        raise ValueError(f"{source}: cameras are camera:0, camera:1 ...")
    camera = cv2.VideoCapture(int(number))
    try:
        if not camera.isOpened():
            raise ValueError(f"{source}: no camera can be opened there; is it plugged in, and used by nothing else?")
        rate = Fraction(camera.get(cv2.CAP_PROP_FPS) or FRAMES_PER_SECOND).limit_denominator(1001)
        yield Video(name=source, frames=_read_camera(camera, source), rate=rate, num_frames=None, is_live=True)
    finally:
        camera.release()


def _read_camera(camera: cv2.VideoCapture, source: str) -> Iterator[np.ndarray]:
    is_there, image = camera.read()
    if not is_there:
        raise ValueError(f"{source}: the camera gives no picture")
    while is_there:
        yield cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        is_there, image = camera.read()
