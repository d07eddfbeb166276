"""Videos in and out: files, folders of pictures, cameras and pipes as frames (H, W, 3) uint8 RGB, one at a time."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from shards.film import FRAMES_PER_SECOND, write_mp4
from shards.video import Video, open_container, open_folder

CAMERA = "camera:"


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
        opened = open_container(sys.stdin.buffer, "standard input")
    elif Path(source).is_dir():
        opened = contextlib.nullcontext(open_folder(Path(source)))
    elif Path(source).exists():
        opened = open_container(source, source)
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
