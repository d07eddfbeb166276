"""Where clips come from: an explicit table of functions that read a layout on disk and yield Clips.

Every function raises ValueError that names the file or folder, and what is wrong with it.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.depth import metres
from shards.index import read_json
from shards.members import decode_codes, decode_rgb, stack_frames
from shards.unpickle import load_npy_object, load_pickle

TRACKS_FORMAT = "frameline-tracks/1"


def read_clip_folders(path: Path) -> Iterator[Clip]:
    """Clips that `python -m generation` rendered and annotated: the list that `annotate --done` wrote.

    Every file is held against the clip's manifest, and manifest and tracks against the list.
    """
    rows = read_json(path, TRACKS_FORMAT).get("clips")
    with _naming(path):
        rows = [(path.parent / row["path"], path.parent / row["tracks"], row) for row in rows]
    for folder, tracks, row in rows:
        with _naming(folder):
            clip = _read_clip_folder(folder, tracks, row)
        yield clip


def _read_clip_folder(folder: Path, tracks: Path, row: dict[str, Any]) -> Clip:
    again = f"delete the folder {folder} and render it again"
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"{folder}: not complete, it has no manifest.json; {again}")
    manifest = (folder / "manifest.json").read_bytes()
    if hashlib.sha256(manifest).hexdigest() != row["manifest_sha256"]:
        raise ValueError(f"{folder / 'manifest.json'}: is not the one that was annotated; annotate it again")
    contents: dict[str, bytes] = {}
    for name, sha256 in json.loads(manifest)["files"].items():
        if name == "metadata.json" or name.startswith(("frames/", "depths/")):
            contents[name] = _read_checked(folder / name, sha256, again)
    metadata = json.loads(contents["metadata.json"])
    arrays = _read_arrays(_read_checked(tracks, row["tracks_sha256"], f"delete {tracks} and annotate again"))
    codes = [decode_codes(contents[name]) for name in _in_order(contents, "depths/")]
    return Clip(
        key=row["key"],
        video=stack_frames([decode_rgb(contents[name]) for name in _in_order(contents, "frames/")]),
        tracks=arrays["tracks"],
        visible=arrays["visible"],
        depth_m=metres(stack_frames(codes), *metadata["depth_range"]) if codes else None,
        metadata=metadata,
    )


def _read_checked(path: Path, sha256: str, again: str) -> bytes:
    content = path.read_bytes() if path.is_file() else None
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path}: missing or damaged; {again}")
    return content


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _in_order(names: Any, start: str = "") -> list[str]:
    """Names of image files that begin with `start`, by the number in them: 999 comes before 1000."""
    numbers = {
        name: re.fullmatch(r"(\d+)\.(png|jpe?g)", name[len(start) :]) for name in names if name.startswith(start)
    }
    return sorted((name for name, match in numbers.items() if match), key=lambda name: int(numbers[name][1]))


def read_lbm_folders(path: Path) -> Iterator[Clip]:
    """LBM's and CoTracker's training layout: <path>/<seq>/frames/*.png and <seq>/<seq>.npy; depths/ are not read.

    The npy is a pickled dict: coords (N, T, 2) pixels and `visibility` (N, T), which holds OCCLUSION (true is hidden).
    """
    if not path.is_dir():
        raise ValueError(f"{path}: not a folder; give the one that holds <sequence>/frames")
    folders = sorted(folder for folder in path.iterdir() if (folder / "frames").is_dir())
    if not folders:
        raise ValueError(f"{path}: no <sequence>/frames in it; give the folder that holds the sequences")
    for folder in folders:
        with _naming(folder):
            clip = _read_lbm_folder(folder)
        yield clip


def _read_lbm_folder(folder: Path) -> Clip:
    annotation = load_npy_object(folder / f"{folder.name}.npy")
    if not isinstance(annotation, dict) or not {"coords", "visibility"} <= annotation.keys():
        raise ValueError(f"{folder / folder.name}.npy: expected a dictionary with coords and visibility")
    coords, is_hidden = np.asarray(annotation["coords"]), np.asarray(annotation["visibility"])
    frames = _in_order(p.name for p in (folder / "frames").iterdir())
    if coords.ndim != 3 or coords.shape[1:] != (len(frames), 2) or is_hidden.shape != coords.shape[:2]:
        raise ValueError(
            f"{folder / folder.name}.npy: coords {coords.shape} and visibility {is_hidden.shape}, "
            f"expected (N, {len(frames)}, 2) and (N, {len(frames)}) for the {len(frames)} frames"
        )
    return Clip(
        key=_clean(folder.name),
        video=stack_frames([decode_rgb((folder / "frames" / name).read_bytes()) for name in frames]),
        tracks=np.ascontiguousarray(coords.transpose(1, 0, 2), np.float32),
        visible=~np.ascontiguousarray(is_hidden.T, bool),
        metadata={"source": "lbm_folder"},
    )


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
        with _naming(path, f"video {name!r}"):
            clip = _read_tapvid_video(_clean(str(name)), video)
        yield clip


def _read_tapvid_video(key: str, content: dict[str, Any]) -> Clip:
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
    pixels = points.astype(np.float64) * (width, height)  # (N, T, 2)
    return Clip(
        key=key,
        video=frames,
        tracks=np.ascontiguousarray(pixels.transpose(1, 0, 2), np.float32),
        visible=~np.ascontiguousarray(is_hidden.T, bool),
        metadata={"source": "tapvid"},
    )


def _clean(name: str) -> str:
    """A name in the grammar of keys: every other character becomes '-'."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


@contextmanager
def _naming(path: Path, what: str = "") -> Iterator[None]:
    """Let every complaint about strange content name the file and be a ValueError."""
    where = f"{path}: {what}: " if what else f"{path}: "
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{where}{error}") from None
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{where}not as expected ({reason})") from None


SOURCES: dict[str, Callable[[Path], Iterator[Clip]]] = {
    "clip_folder": read_clip_folders,
    "lbm_folder": read_lbm_folders,
    "tapvid": read_tapvid,
}
