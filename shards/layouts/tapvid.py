"""TAP-Vid pickles: video, points as fractions of the frame, occluded."""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.files import appearing
from shards.layouts.files import clean_name, naming
from shards.members import decode_rgb, stack_frames
from shards.unpickle import load_pickle


def read_tapvid(path: Path) -> Iterator[Clip]:
    """A TAP-Vid pickle: a dict of videos by name (DAVIS) or a list of them (RGB-Stacking, Kinetics, RoboTAP).

    Per video: video (T, H, W, 3) uint8 or a list of JPEG bytes, points (N, T, 2) as fractions of the frame in raster
    convention, occluded (N, T); other keys are left. Positions become pixels of the stored frames.
    """
    content = load_pickle(path)
    if isinstance(content, list):
        content = {f"{path.stem}-{number:04d}": video for number, video in enumerate(content)}
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected a dictionary or list of videos, got {type(content).__name__}")
    for name, video in content.items():
        if not isinstance(video, dict) or not {"video", "points", "occluded"} <= video.keys():
            raise ValueError(f"{path}: video {name!r} lacks video, points or occluded")
        with naming(path, f"video {name!r}"):
            clip = _read_video(clean_name(str(name)), video)
        yield clip


def _read_video(key: str, content: dict[str, Any]) -> Clip:
    frames = content["video"]
    if not isinstance(frames, np.ndarray) or frames.dtype == object:
        frames = stack_frames([decode_rgb(frame) for frame in frames])
    num_frames, height, width = frames.shape[:3]
    points, is_hidden = np.asarray(content["points"]), np.asarray(content["occluded"])
    if points.ndim != 3 or points.shape[1:] != (num_frames, 2) or is_hidden.shape != points.shape[:2]:
        raise ValueError(
            f"points {points.shape} and occluded {is_hidden.shape}, "
            f"expected (N, {num_frames}, 2) and (N, {num_frames}) for the {num_frames} frames"
        )
    if not len(points):
        raise ValueError("has 0 tracks")
    pixels = points.astype(np.float64) * (width, height)  # (N, T, 2)
    return Clip(
        key=key,
        video=frames,
        tracks=np.ascontiguousarray(pixels.transpose(1, 0, 2), np.float32),
        visible=~np.ascontiguousarray(is_hidden.T, bool),
        metadata={"source": "tapvid"},
    )


def write_tapvid(clips: Iterable[Clip], out: Path) -> int:
    """Write one pickle of a dict by name, as DAVIS has it; returns the number of clips.

    video (T, H, W, 3) uint8, points (N, T, 2) float32 as fractions of the frame (outside [0, 1] where a hidden point is
    outside), occluded (N, T) bool. A pickle is written in one go: all clips are in memory. Depth has no place in it.
    """
    videos: dict[str, dict[str, np.ndarray]] = {}
    for clip in clips:
        height, width = clip.video.shape[1:3]
        fractions = clip.tracks.astype(np.float64) / (width, height)  # (T, N, 2)
        videos[clip.key] = {
            "video": np.ascontiguousarray(clip.video),
            "points": np.ascontiguousarray(fractions.transpose(1, 0, 2), np.float32),
            "occluded": np.ascontiguousarray(~clip.visible.T),
        }
    with appearing(out) as temporary, temporary.open("wb") as file:
        pickle.dump(videos, file, protocol=4)
    return len(videos)
