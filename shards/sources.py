"""Where clips come from: an explicit table of functions that read a layout on disk and yield Clips."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.depth import metres
from shards.members import decode_png
from shards.pack import read_json
from shards.unpickle import load_npy_object, load_pickle

CLIPS_FORMAT = "frameline-clips/1"


def read_clip_folders(path: Path) -> Iterator[Clip]:
    """Clips that `python -m generation` made: its shard-NNNNNN.json, or a folder of clip folders.

    Every file is held against the folder's manifest; raises ValueError that names the one that differs.
    """
    if path.is_dir():
        folders = sorted(folder.parent for folder in path.glob("*/manifest.json"))
    else:
        folders = []
        for row in read_json(path, CLIPS_FORMAT)["clips"]:
            folder = path.parent / row["path"]
            manifest = folder / "manifest.json"
            if not manifest.is_file() or hashlib.sha256(manifest.read_bytes()).hexdigest() != row["manifest_sha256"]:
                raise ValueError(f"{folder}: missing or not as {path.name} lists it; delete both and run again")
            folders.append(folder)
    if not folders:
        raise ValueError(f"{path}: no clip folder with a manifest.json in it")
    for folder in folders:
        yield _read_clip_folder(folder)


def _read_clip_folder(folder: Path) -> Clip:
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for name, sha256 in manifest["files"].items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
            raise ValueError(f"{file}: missing or damaged; delete the folder {folder} and render it again")
    metadata = json.loads((folder / "metadata.json").read_bytes())
    with np.load(folder / "tracks.npz", allow_pickle=False) as arrays:
        tracks, visible = arrays["tracks"], arrays["visible"]
    codes = np.stack([decode_png(p.read_bytes()) for p in sorted((folder / "depths").glob("*.png"))])
    return Clip(
        key=folder.name,
        video=read_frames(sorted((folder / "frames").glob("*.png"))),
        tracks=tracks,
        visible=visible,
        depth_m=metres(codes, *metadata["depth_range"]),
        metadata=metadata,
    )


def read_frames(paths: list[Path]) -> np.ndarray:
    """Image files of one size as video (T, H, W, 3) uint8."""
    return np.stack([decode_png(path.read_bytes())[..., :3] for path in paths])


def read_lbm_folders(path: Path) -> Iterator[Clip]:
    """LBM's and CoTracker's training layout: <path>/<seq>/frames/*.png and <seq>/<seq>.npy.

    The npy is a pickled dict: coords (N, T, 2) pixels and `visibility` (N, T), which holds OCCLUSION (true is hidden).
    """
    folders = sorted(folder for folder in path.iterdir() if (folder / "frames").is_dir())
    if not folders:
        raise ValueError(f"{path}: no <sequence>/frames in it; see docs/reference/formats.md for the layout")
    for folder in folders:
        annotation = load_npy_object(folder / f"{folder.name}.npy")
        frames = sorted(p for p in (folder / "frames").iterdir() if p.suffix in (".png", ".jpg"))
        if not isinstance(annotation, dict) or not {"coords", "visibility"} <= annotation.keys():
            raise ValueError(f"{folder}/{folder.name}.npy: expected a dictionary with coords and visibility")
        yield Clip(
            key=folder.name,
            video=read_frames(frames),
            tracks=np.ascontiguousarray(annotation["coords"].transpose(1, 0, 2), np.float32),
            visible=~np.ascontiguousarray(annotation["visibility"].T, bool),
            metadata={"source": "lbm_folder"},
        )


def read_tapvid(path: Path) -> Iterator[Clip]:
    """A TAP-Vid pickle: a dict of videos by name (DAVIS) or a list of them (RGB-Stacking, Kinetics, RoboTAP).

    Per video: video (T, H, W, 3) uint8 or a list of JPEG bytes, points (N, T, 2) as fractions of the frame in raster
    convention, occluded (N, T). Positions become pixels of the stored frames.
    """
    content = load_pickle(path)
    if isinstance(content, list):
        content = {f"{path.stem}-{number:04d}": video for number, video in enumerate(content)}
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected a dictionary or list of videos, got {type(content).__name__}")
    for name, video in content.items():
        if not isinstance(video, dict) or not {"video", "points", "occluded"} <= video.keys():
            raise ValueError(f"{path}: video {name!r} lacks video, points or occluded")
        yield _tapvid_clip(re.sub(r"[^A-Za-z0-9_-]", "-", str(name)), video)


def _tapvid_clip(key: str, content: dict[str, Any]) -> Clip:
    frames = content["video"]
    if not isinstance(frames, np.ndarray) or frames.dtype == object:
        frames = np.stack([decode_png(frame)[..., :3] for frame in frames])
    height, width = frames.shape[1:3]
    points = np.asarray(content["points"], np.float64) * (width, height)
    return Clip(
        key=key,
        video=frames,
        tracks=points.transpose(1, 0, 2).astype(np.float32),
        visible=~np.asarray(content["occluded"], bool).T,
        metadata={"source": "tapvid"},
    )


SOURCES: dict[str, Callable[[Path], Iterator[Clip]]] = {
    "clip_folder": read_clip_folders,
    "lbm_folder": read_lbm_folders,
    "tapvid": read_tapvid,
}
