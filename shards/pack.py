"""Write shards: a byte-reproducible tar, a depth store beside it, and a JSON that says where each member lies."""

import io
import json
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.clip import Clip
from shards.depth import write_depth
from shards.files import appearing, remove, replace, sha256_of
from shards.members import encode_clip

SHARD_FORMAT = "frameline-shard/1"
INDEX_FORMAT = "frameline-index/1"


def pack_clips(clips: Iterable[Clip], prefix: Path) -> dict[str, Any]:
    """Write PREFIX.tar, PREFIX.zarr (where clips have depth) and PREFIX.json; returns the JSON's content.

    One clip is in memory at a time. Nothing appears before everything is written; the JSON comes last. Raises
    ValueError for no clips, a key that comes twice, and clips of which only some have depth.
    """
    prefix = Path(prefix)
    tar, depth, entry = (prefix.with_name(f"{prefix.name}.{kind}") for kind in ("tar", "zarr", "json"))
    with appearing(entry) as new_entry, appearing(tar) as new_tar:
        new_depth = depth.with_name(f".{depth.name}.tmp")
        remove(new_depth)
        try:
            rows: list[dict[str, Any]] = []
            with tarfile.open(new_tar, "w", format=tarfile.USTAR_FORMAT) as archive:
                for clip in clips:
                    if any(row["key"] == clip.key for row in rows):
                        raise ValueError(
                            f"{prefix}: clip {clip.key} comes twice; give each clip its own seed or folder"
                        )
                    rows.append(_add(clip, archive, new_depth))
            _check(rows, prefix)
            has_depth = rows[0]["has_depth"]
            content = {
                "format": SHARD_FORMAT,
                "name": prefix.name,
                "tar": tar.name,
                "bytes": new_tar.stat().st_size,
                "sha256": sha256_of(new_tar),
                "depth": depth.name if has_depth else None,
                "depth_sha256": sha256_of(new_depth) if has_depth else None,
                "clips": [{k: v for k, v in row.items() if k != "has_depth"} for row in rows],
            }
            new_entry.write_text(json.dumps(content, indent=1))
            if has_depth:
                replace(new_depth, depth)
        finally:
            remove(new_depth)
    return content


def _add(clip: Clip, archive: tarfile.TarFile, depth: Path) -> dict[str, Any]:
    """Append a clip to the tar and the depth store; returns its row of the shard's JSON."""
    members: dict[str, dict[str, int]] = {}
    for name, content in encode_clip(clip).items():
        # A TarInfo made by hand has time, owner and group 0: the bytes depend on the content only.
        header = tarfile.TarInfo(f"{clip.key}.{name}")
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        members[name] = {
            "offset": archive.offset - padded,
            "size": len(content),
            "crc32": zlib.crc32(content),
        }
    if clip.depth_m is not None:
        write_depth(depth, clip.key, clip.depth_m)
    num_frames, height, width = clip.video.shape[:3]
    return {
        "key": clip.key,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "num_tracks": clip.tracks.shape[1],
        "visible_share": round(float(clip.visible.mean()), 6) if clip.visible.size else 0.0,
        "members": members,
        "has_depth": clip.depth_m is not None,
    }


def _check(rows: list[dict[str, Any]], prefix: Path) -> None:
    if not rows:
        raise ValueError(f"{prefix}: there is no clip to pack")
    without = [row["key"] for row in rows if not row["has_depth"]]
    if without and len(without) < len(rows):
        raise ValueError(f"{prefix}: clip {without[0]} has no depth while others have; pack them apart")


def write_index(shards: Iterable[Path], dataset: str, out: Path) -> dict[str, Any]:
    """Merge the JSONs of a data set's shards into one index file; raises ValueError for a key in two shards."""
    out = Path(out)
    entries = [read_json(Path(path), SHARD_FORMAT) for path in shards]
    if not entries:
        raise ValueError(f"{out}: there is no shard to index")
    seen: dict[str, str] = {}
    for entry in entries:
        for clip in entry["clips"]:
            if clip["key"] in seen:
                raise ValueError(f"{out}: clip {clip['key']} is in {seen[clip['key']]} and in {entry['name']}")
            seen[clip["key"]] = entry["name"]
    content = {"format": INDEX_FORMAT, "dataset": dataset, "num_clips": len(seen), "shards": entries}
    with appearing(out) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
    return content


def read_json(path: Path, expected_format: str) -> dict[str, Any]:
    """Read a JSON file of a known format; raises ValueError that names the file."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{path}: not there; run `snakemake data`") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it and run `snakemake data`") from None
    if not isinstance(content, dict) or content.get("format") != expected_format:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: format {found!r}, expected {expected_format!r}")
    return content
