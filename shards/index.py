"""The JSON beside each shard and the index of a data set: what was packed, where it lies, and its sha256."""

import functools
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.files import appearing
from shards.members import member_names

SHARD_FORMAT = "frameline-shard/1"
INDEX_FORMAT = "frameline-index/1"
SHARD_FIELDS = {"name", "tar", "bytes", "sha256", "depth", "depth_sha256", "clips"}
CLIP_FIELDS = {"key", "num_frames", "height", "width", "num_tracks", "members"}


def write_index(shards: Iterable[Path], dataset: str, out: Path) -> dict[str, Any]:
    """Merge the JSONs of a data set's shards into one index file, in the order given.

    Paths in the index are relative to its folder. Raises ValueError for a key in two shards and for a tar that is not
    there or has another size than its JSON says.
    """
    out = Path(out)
    entries = [_locate(read_shard(Path(path)), Path(path).parent, out.parent) for path in shards]
    if not entries:
        raise ValueError(f"{out}: there is no shard to index")
    num_clips = sum(len(entry["clips"]) for entry in entries)
    _check_keys(entries, out)
    content = {"format": INDEX_FORMAT, "dataset": dataset, "num_clips": num_clips, "shards": entries}
    with appearing(out) as temporary:
        temporary.write_text(json.dumps(content, indent=1))
    return content


def read_index(path: Path) -> dict[str, Any]:
    """Read an index.json; raises ValueError that names the file and what is wrong with it."""
    content = read_json(path, INDEX_FORMAT)
    if not {"dataset", "num_clips", "shards"} <= content.keys() or not isinstance(content["shards"], list):
        raise ValueError(f"{path}: not an index; write it with `python -m shards index`")
    for entry in content["shards"]:
        _check_shard(entry, path)
    num_listed = sum(len(entry["clips"]) for entry in content["shards"])
    if num_listed != content["num_clips"]:
        raise ValueError(f"{path}: says {content['num_clips']} clips and lists {num_listed}; write it again")
    _check_keys(content["shards"], path)
    return content


def read_shard(path: Path) -> dict[str, Any]:
    """Read the JSON of a shard; raises ValueError that names the file and what is wrong with it."""
    content = read_json(path, SHARD_FORMAT)
    _check_shard(content, path)
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


def _check_shard(entry: Any, path: Path) -> None:
    """Hold fields and member sets against what the format promises."""
    if not isinstance(entry, dict) or not entry.keys() >= SHARD_FIELDS:
        raise ValueError(f"{path}: an entry lacks fields of a shard; pack again (python -m shards pack)")
    for row in entry["clips"]:
        if not isinstance(row, dict) or not row.keys() >= CLIP_FIELDS:
            raise ValueError(f"{path}: a clip of {entry['name']} lacks fields; pack again (python -m shards pack)")
        if row["members"].keys() != _member_set(row["num_frames"]):
            raise ValueError(
                f"{path}: the members of clip {row['key']} in {entry['name']} are not those of "
                f"{row['num_frames']} frames; pack again (python -m shards pack)"
            )


@functools.cache
def _member_set(num_frames: int) -> frozenset[str]:
    return frozenset(member_names(num_frames))


def _check_keys(entries: list[dict[str, Any]], path: Path) -> None:
    seen: dict[str, str] = {}
    for entry in entries:
        for clip in entry["clips"]:
            if clip["key"] in seen:
                raise ValueError(f"{path}: clip {clip['key']} is in {seen[clip['key']]} and in {entry['name']}")
            seen[clip["key"]] = entry["name"]


def _locate(entry: dict[str, Any], source: Path, target: Path) -> dict[str, Any]:
    """The entry with its file names relative to another folder; checks that the tar is there and whole."""
    tar = source / entry["tar"]
    size = tar.stat().st_size if tar.is_file() else None
    if size != entry["bytes"]:
        what = "is missing" if size is None else f"has {size} bytes instead of {entry['bytes']}"
        raise ValueError(f"{tar}: {what}; pack it again (python -m shards pack)")
    prefix = Path(os.path.relpath(source, target))
    depth = (prefix / entry["depth"]).as_posix() if entry["depth"] else None
    return entry | {"tar": (prefix / entry["tar"]).as_posix(), "depth": depth}
