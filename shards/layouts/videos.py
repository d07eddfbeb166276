"""Videos of any kind as clips without tracks: files, and folders of pictures, found anywhere below a folder."""

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from shards.clip import Clip
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import clean_name, naming
from shards.video import PICTURES, open_container, open_folder

VIDEOS = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".y4m")


def read_videos(path: Path, choice: Choice = WHOLE) -> Iterator[Clip]:
    """Videos without tracks: a file, a folder of pictures, or a folder that holds such at any depth.

    A video is cut into clips of choice.window frames, resized to choice.height. Its last clip ends with the video, so
    it may begin within the one before; a shorter video goes forth and back until it is long enough (as CoTracker3's
    fine-tuning does). ValueError for a path without videos, one that cannot be read, and one of a single frame.
    """
    for video in find_videos(path):
        with naming(video):
            yield from _read_video(video, name_of(video, path), choice)


def find_videos(path: Path) -> list[Path]:
    """Video files and folders of pictures at and below `path` in the order of their names; hidden ones are left out."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path}: not there; give a video, or a folder of videos")
    below = [p for p in path.rglob("*") if not any(part.startswith(".") for part in p.relative_to(path).parts)]
    files = {p for p in below if p.suffix.lower() in VIDEOS and p.is_file()}
    folders = {p.parent for p in below if p.suffix.lower() in PICTURES and p.is_file()}
    if not files | folders:
        raise ValueError(f"{path}: no video in it ({', '.join(VIDEOS)}), and no folder of pictures")
    return sorted(files | folders)


def name_of(video: Path, path: Path) -> str:
    """The key of a video that was found at or below `path`: its folders and its name without its suffix."""
    place = (video.resolve().name,) if video == path else video.relative_to(path).parts
    name = "-".join(place)
    return clean_name(name if video.is_dir() else name.removesuffix(video.suffix))


def _read_video(path: Path, key: str, choice: Choice) -> Iterator[Clip]:
    with contextlib.nullcontext(open_folder(path)) if path.is_dir() else open_container(str(path), str(path)) as video:
        frames = (resize(frame, choice.height) for frame in islice(video.frames, choice.start, choice.stop))
        for first, window in cut_windows(frames, choice.window):
            yield Clip(
                key=key if choice.window is None else f"{key}-{choice.start + first:05d}",
                video=window,
                tracks=np.zeros((len(window), 0, 2), np.float32),
                visible=np.zeros((len(window), 0), bool),
                metadata={"source": "videos", "frame_rate": float(video.rate)},
            )


def cut_windows(frames: Iterable[np.ndarray], length: int | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first frame's number and the frames (T, H, W, 3) of each clip; one clip is in memory at a time.

    length None: all in one. Raises ValueError for less than two frames.
    """
    window: deque[np.ndarray] = deque(maxlen=length)
    number, end = 0, 0
    for number, frame in enumerate(frames, 1):
        window.append(frame)
        if length is not None and number - end == length:
            yield end, np.stack(window)
            end = number
    if number < 2:
        raise ValueError(f"{number} frames are no video; leave it out, or choose others by --frames")
    if length is None:
        yield 0, np.stack(window)
    elif number < length:
        yield 0, np.stack(window)[forth_and_back(number, length)]
    elif number > end:
        yield number - length, np.stack(window)


def forth_and_back(num_frames: int, length: int) -> np.ndarray:
    """Numbers (length,) of frames: 0 1 2 1 0 1 ... for 3 of them; where the video turns, no frame comes twice."""
    turn = 2 * (num_frames - 1)
    place = np.arange(length) % turn
    return np.minimum(place, turn - place)


def resize(frame: np.ndarray, height: int | None) -> np.ndarray:
    """A frame (H, W, 3) uint8 at another height, its width in proportion; None leaves it as it is."""
    if height is None or height == len(frame):
        return frame
    width = max(1, round(frame.shape[1] * height / len(frame)))
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if height < len(frame) else cv2.INTER_CUBIC)
