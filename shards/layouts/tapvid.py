"""TAP-Vid pickles: video, points as fractions of the frame, occluded."""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.files import appearing
from shards.layouts.files import clean_name, naming
from shards.members import decode_frames, decode_rgb
from shards.unpickle import iterate_pickle


def read_tapvid(path: Path) -> Iterator[Clip]:
    """TAP-Vid pickles: DAVIS, RGB-Stacking, one of Kinetics or RoboTAP; or a folder of *.pkl, as the latter have.

    A pickle is a dictionary of videos by name or a list of them. Per video: video (T, H, W, 3) uint8, or (T,) JPEGs as
    bytes in a list or an array; points (N, T, 2) as fractions of the frame in raster convention, occluded (N, T); other
    keys are left. Positions become pixels of the stored frames. One video is in memory at a time.
    """
    for file in _list_pickles(path):
        for name, video in iterate_videos(file):
            with naming(file, f"video {name!r}"):
                clip = make_tapvid_clip(name, video)
            del video  # the clip replaces it
            yield clip
            del clip


def _list_pickles(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.glob("*.pkl") if not file.name.startswith("."))
    if not files:
        raise ValueError(f"{path}: no *.pkl in it; give a TAP-Vid pickle, or the folder that holds them")
    return files


def iterate_videos(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The (key, content) of each video of a TAP-Vid pickle; one is in memory at a time.

    Raises ValueError for another content, and for a video that lacks video, points or occluded.
    """
    is_empty = True
    for name, video in iterate_pickle(path):
        is_empty = False
        if not isinstance(video, dict) or not {"video", "points", "occluded"} <= video.keys():
            raise ValueError(f"{path}: video {name!r} lacks video, points or occluded")
        yield clean_name(f"{path.stem}-{name:04d}" if isinstance(name, int) else str(name)), video
        del video
    if is_empty:
        raise ValueError(f"{path}: expected a dictionary or list of videos, got an empty one")


def make_tapvid_clip(key: str, content: dict[str, Any], metadata: dict[str, Any] | None = None) -> Clip:
    """A clip of a video's content as `read_tapvid` describes it; raises ValueError where its arrays do not fit."""
    frames = content["video"]
    if not isinstance(frames, np.ndarray) or frames.ndim != 4:
        frames = decode_frames(frames, decode_rgb)
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
        metadata={"source": "tapvid"} | (metadata or {}),
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
