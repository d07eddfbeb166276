"""Clips that `python -m generation` rendered and annotated."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.depth import metres
from shards.index import read_json
from shards.layouts.files import in_order, naming
from shards.members import decode_codes, decode_rgb, stack_frames

TRACKS_FORMAT = "frameline-tracks/1"


def read_clip_folders(path: Path) -> Iterator[Clip]:
    """Clips that `python -m generation` rendered and annotated: the list that `annotate --done` wrote.

    Every file is held against the clip's manifest, and manifest and tracks against the list.
    """
    rows = read_json(path, TRACKS_FORMAT).get("clips")
    with naming(path):
        rows = [(path.parent / row["path"], path.parent / row["tracks"], row) for row in rows]
    for folder, tracks, row in rows:
        with naming(folder):
            clip = _read_clip_folder(folder, tracks, row)
        yield clip


def _read_clip_folder(folder: Path, tracks: Path, row: dict[str, Any]) -> Clip:
    contents, metadata = read_listed(folder, row["manifest_sha256"], ("frames/", "depths/"))
    arrays = _read_arrays(_read_checked(tracks, row["tracks_sha256"], f"delete {tracks} and annotate again"))
    codes = [decode_codes(contents[name]) for name in in_order(contents, "depths/")]
    return Clip(
        key=row["key"],
        video=stack_frames([decode_rgb(contents[name]) for name in in_order(contents, "frames/")]),
        **{name: arrays[name] for name in ("tracks", "visible", "object_id", "query_frame", "world_m")},
        depth_m=metres(stack_frames(codes), *metadata["depth_range"]) if codes else None,
        metadata=metadata,
    )


def read_listed(folder: Path, manifest_sha256: str, starts: tuple[str, ...]) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of a clip folder whose names begin so, by name, and its metadata; each held against the manifest.

    Raises ValueError for a folder that is not complete, not the one that was listed, or damaged.
    """
    again = f"delete the folder {folder} and render it again"
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"{folder}: not complete, it has no manifest.json; {again}")
    manifest = (folder / "manifest.json").read_bytes()
    if hashlib.sha256(manifest).hexdigest() != manifest_sha256:
        raise ValueError(f"{folder / 'manifest.json'}: is not the one that was listed; render or annotate it again")
    contents = {
        name: _read_checked(folder / name, sha256, again)
        for name, sha256 in json.loads(manifest)["files"].items()
        if name == "metadata.json" or name.startswith(starts)
    }
    return contents, json.loads(contents["metadata.json"])


def _read_checked(path: Path, sha256: str, again: str) -> bytes:
    content = path.read_bytes() if path.is_file() else None
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"{path}: missing or damaged; {again}")
    return content


def _read_arrays(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
