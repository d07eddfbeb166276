"""Annotate rendered clips: tracks beside the clips, so that another annotation renders nothing again.

numpy only, in the main environment. For each clip <out>/<key>.npz (and <key>.dense.npz where dense options ask for it)
with <key>.json, written last, which says what it was made from.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from generation import folder
from generation.annotate import annotate, annotate_densely, flow
from generation.config import TrackConfig, digest_of
from generation.environment import write_json
from generation.fingerprint import fingerprint
from generation.shard import FORMAT as CLIPS_FORMAT
from generation.stored import read_metadata, read_passes

FORMAT = "frameline-tracks/1"
MODULES = ("annotate", "geometry", "stored", "tracks")
"""Whose code decides an annotation's bytes."""


def annotate_clips(clips: Iterable[Path], config: TrackConfig, out: Path) -> list[dict[str, Any]]:
    """Annotate clip folders that are not annotated so yet; returns their rows for the list, paths as given.

    Raises ValueError for a folder that is no complete clip.
    """
    out.mkdir(parents=True, exist_ok=True)
    code, rows = fingerprint(MODULES), []
    for clip in clips:
        digest = digest_of(config, folder.manifest_sha256(clip), {"code": code})
        before = time.process_time()
        row = _complete_row(clip, out, digest)
        if row is None:
            row = _annotate_one(clip, config, out, digest)
            spent = time.process_time() - before
            print(f"{clip.name}: {config.num_tracks} tracks in {spent:.1f} CPU-seconds", flush=True)
        rows.append(row)
    return rows


def _complete_row(clip: Path, out: Path, digest: str) -> dict[str, Any] | None:
    try:
        row = json.loads((out / f"{clip.name}.json").read_bytes())
        is_whole = row["digest"] == digest and all((out / name).is_file() for name in row["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return row if is_whole else None


def _annotate_one(clip: Path, config: TrackConfig, out: Path, digest: str) -> dict[str, Any]:
    metadata, passes = read_metadata(clip), read_passes(clip)
    rng = np.random.default_rng([metadata["recipe"]["base_seed"], metadata["seed"]])
    found = annotate(passes, config, rng)
    assert np.isfinite(found.tracks).all()
    names = ("tracks", "visible", "query_frame", "object_id", "world_m")
    arrays = {name: getattr(found, name) for name in names} | {"is_foreground": found.object_id > 0}
    files = {f"{clip.name}.npz": arrays}
    if config.dense_frames or config.dense_flow:
        files[f"{clip.name}.dense.npz"] = _dense_arrays(passes, config)
    row = {
        "key": clip.name,
        "digest": digest,
        "manifest_sha256": folder.manifest_sha256(clip),
        "files": {name: _write(out / name, content) for name, content in files.items()},
    }
    write_json(out / f"{clip.name}.json", row)
    return row


def _dense_arrays(passes: Any, config: TrackConfig) -> dict[str, np.ndarray]:
    """frames (F,), tracks (F, T, H, W, 2), visible (F, T, H, W); forward_flow and backward_flow (T, H, W, 2)."""
    arrays: dict[str, np.ndarray] = {}
    if config.dense_frames:
        tracks, visible = zip(*(annotate_densely(passes, frame) for frame in config.dense_frames), strict=True)
        frames = np.array(config.dense_frames) % len(passes.depth_m)
        arrays |= {"frames": frames, "tracks": np.stack(tracks), "visible": np.stack(visible)}
    if config.dense_flow:
        arrays |= {"forward_flow": flow(passes, 1), "backward_flow": -flow(passes, -1)}
    return arrays


def _write(path: Path, arrays: dict[str, np.ndarray]) -> str:
    """Write an npz under a temporary name, then rename; returns its sha256."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp.npz")
    try:
        folder.write_arrays(temporary, arrays)
        digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return digest


def list_clips(done: Path) -> tuple[str, list[Path]]:
    """Data set's name and clip folders of a list that rendering wrote; raises ValueError for another file."""
    try:
        content = json.loads(done.read_bytes())
        if content["format"] != CLIPS_FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {CLIPS_FORMAT!r}")
        return content["dataset"], [done.absolute().parent / row["path"] for row in content["clips"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{done}: no list of rendered clips ({error})") from None


def write_done(done: Path, dataset: str, clips: list[Path], rows: list[dict[str, Any]], out: Path) -> None:
    """List annotated clips for `python -m shards pack`: folder, tracks, and the sha256 that each must have."""
    base = done.absolute().parent
    listed = [
        {
            "key": row["key"],
            "path": os.path.relpath(clip.absolute(), base),
            "manifest_sha256": row["manifest_sha256"],
            "tracks": os.path.relpath((out / f"{clip.name}.npz").absolute(), base),
            "tracks_sha256": row["files"][f"{clip.name}.npz"],
        }
        for clip, row in zip(clips, rows, strict=True)
    ]
    write_json(done, {"format": FORMAT, "dataset": dataset, "clips": listed})
