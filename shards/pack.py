"""Write shards: a byte-reproducible tar, a depth store beside it, and a JSON that says where each member lies."""

import contextlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.clip import Clip
from shards.depth import write_depth
from shards.files import beside, remove, replace, sha256_of
from shards.index import SHARD_FORMAT
from shards.members import encode_clip


def pack_clips(clips: Iterable[Clip], prefix: Path) -> dict[str, Any]:
    """Write PREFIX.tar, PREFIX.zarr (where clips have depth) and PREFIX.json; returns the JSON's content.

    One clip is in memory at a time. An older shard of that name stays until everything new is written; then the JSON,
    which alone makes a shard complete, goes first and comes last. Raises ValueError for no clips, a key that comes
    twice, clips of which only some have depth, and a full disk.
    """
    prefix = Path(prefix)
    tar, depth, entry = (prefix.with_name(f"{prefix.name}.{kind}") for kind in ("tar", "zarr", "json"))
    with contextlib.ExitStack() as stack:
        new_tar, new_depth, new_entry = (stack.enter_context(beside(path)) for path in (tar, depth, entry))
        rows = _write_members(clips, new_tar, new_depth, prefix)
        has_depth = new_depth.exists()
        content = {
            "format": SHARD_FORMAT,
            "name": prefix.name,
            "tar": tar.name,
            "bytes": new_tar.stat().st_size,
            "sha256": sha256_of(new_tar),
            "depth": depth.name if has_depth else None,
            "depth_sha256": sha256_of(new_depth) if has_depth else None,
            "clips": rows,
        }
        new_entry.write_text(json.dumps(content, indent=1))
        remove(entry)
        replace(new_tar, tar)
        if has_depth:
            replace(new_depth, depth)
        else:
            remove(depth)
        replace(new_entry, entry)
    return content


def _write_members(clips: Iterable[Clip], tar: Path, depth: Path, prefix: Path) -> list[dict[str, Any]]:
    """Write tar and depth store of all clips; returns their rows of the shard's JSON."""
    rows: dict[str, dict[str, Any]] = {}
    without_depth: list[str] = []
    with tarfile.open(tar, "w", format=tarfile.USTAR_FORMAT) as archive:
        for clip in clips:
            if clip.key in rows:
                raise ValueError(f"{prefix}: clip {clip.key} comes twice; give each clip its own seed or folder")
            rows[clip.key] = _add(clip, archive)
            if clip.depth_m is None:
                without_depth.append(clip.key)
            else:
                write_depth(depth, clip.key, clip.depth_m)
    if not rows:
        raise ValueError(f"{prefix}: there is no clip to pack")
    if without_depth and len(without_depth) < len(rows):
        raise ValueError(f"{prefix}: clip {without_depth[0]} has no depth while others have; pack them apart")
    return list(rows.values())


def _add(clip: Clip, archive: tarfile.TarFile) -> dict[str, Any]:
    """Append a clip to the tar; returns its row of the shard's JSON."""
    members: dict[str, dict[str, int]] = {}
    for name, content in encode_clip(clip).items():
        # A TarInfo made by hand has time, owner and group 0: the bytes depend on the content only.
        header = tarfile.TarInfo(f"{clip.key}.{name}")
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        members[name] = {"offset": archive.offset - padded, "size": len(content), "crc32": zlib.crc32(content)}
    num_frames, height, width = clip.video.shape[:3]
    return {
        "key": clip.key,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "num_tracks": clip.tracks.shape[1],
        "visible_share": round(float(clip.visible.mean()), 6) if clip.visible.size else 0.0,
        "members": members,
    }
