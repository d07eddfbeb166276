"""Where clips come from: an explicit table of functions that read a layout on disk and yield Clips.

Every function raises ValueError that names the file or folder, and what is wrong with it.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from shards.clip import Clip
from shards.depth import metres
from shards.index import read_json
from shards.layouts.dynamic_replica import read_dynamic_replica
from shards.layouts.files import in_order as _in_order
from shards.layouts.files import naming as _naming
from shards.layouts.movi import read_movi
from shards.layouts.npy_folder import read_cotracker3_kubric, read_lbm_folders
from shards.layouts.packed import read_packed
from shards.layouts.point_odyssey import read_point_odyssey
from shards.layouts.tapvid import read_tapvid
from shards.members import decode_codes, decode_rgb, stack_frames

CLIPS_FORMAT = "frameline-clips/1"


def read_clip_folders(path: Path) -> Iterator[Clip]:
    """Clips that `python -m generation` made: its shard-NNNNNN.json, or a folder of clip folders.

    Every file is held against the folder's manifest, and the manifest against the shard-NNNNNN.json.
    """
    folders = _list_clip_folders(path) if path.is_dir() else _read_clip_list(path)
    for folder, manifest_sha256 in folders:
        with _naming(folder):
            clip = _read_clip_folder(folder, manifest_sha256)
        yield clip


def _list_clip_folders(path: Path) -> list[tuple[Path, None]]:
    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise ValueError(f"{path}: no clip folder in it; make some with `python -m generation`")
    return [(folder, None) for folder in folders]


def _read_clip_list(path: Path) -> list[tuple[Path, str]]:
    rows = read_json(path, CLIPS_FORMAT).get("clips")
    with _naming(path):
        return [(path.parent / row["path"], row["manifest_sha256"]) for row in rows]


def _read_clip_folder(folder: Path, manifest_sha256: str | None) -> Clip:
    again = f"delete the folder {folder} and render it again"
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"{folder}: not complete, it has no manifest.json; {again}")
    manifest = (folder / "manifest.json").read_bytes()
    if manifest_sha256 not in (None, hashlib.sha256(manifest).hexdigest()):
        raise ValueError(f"{folder / 'manifest.json'}: is not the one that the shard's JSON lists; {again}")
    contents: dict[str, bytes] = {}
    for name, sha256 in json.loads(manifest)["files"].items():
        content = (folder / name).read_bytes() if (folder / name).is_file() else None
        if content is None or hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{folder / name}: missing or damaged; {again}")
        if name in ("metadata.json", "tracks.npz") or name.startswith(("frames/", "depths/")):
            contents[name] = content
    metadata = json.loads(contents["metadata.json"])
    with np.load(io.BytesIO(contents["tracks.npz"]), allow_pickle=False) as arrays:
        tracks, visible = arrays["tracks"], arrays["visible"]
    codes = [decode_codes(contents[name]) for name in _in_order(contents, "depths/")]
    return Clip(
        key=folder.name,
        video=stack_frames([decode_rgb(contents[name]) for name in _in_order(contents, "frames/")]),
        tracks=tracks,
        visible=visible,
        depth_m=metres(stack_frames(codes), *metadata["depth_range"]) if codes else None,
        metadata=metadata,
    )


SOURCES: dict[str, Callable[..., Iterator[Clip]]] = {
    "clip_folder": read_clip_folders,
    "cotracker3_kubric": read_cotracker3_kubric,
    "dynamic_replica": read_dynamic_replica,
    "index": read_packed,
    "lbm_folder": read_lbm_folders,
    "movi_tfrecord": read_movi,
    "point_odyssey": read_point_odyssey,
    "tapvid": read_tapvid,
}
