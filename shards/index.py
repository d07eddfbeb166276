"""The JSON beside each shard and the index of a data set: what was packed, where it lies, and its sha256."""

import collections
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shards.codecs import CODECS
from shards.files import appearing
from shards.members import ANNOTATIONS, OPTIONAL, member_names

SHARD_FORMAT = "frameline-shard/2"
INDEX_FORMAT = "frameline-index/2"
SHARD_FIELDS = {"name", "codec", "optional", "tar", "bytes", "sha256", "depth", "depth_bytes", "depth_sha256", "clips"}
CLIP_FIELDS = {"key", "num_frames", "height", "width", "num_tracks", "visible_share", "members"}
DEPTH_FIELDS = {"depth_range_m", "depth_crc32"}
TOTALS = {"dataset", "num_clips", "num_frames", "bytes", "depth_bytes", "recipe", "assets", "shards"}


class Members(Mapping[str, tuple[int, int, int]]):
    """Offset, size and crc32 of a clip's members by name, at 24 bytes a member: an index of millions fits in memory."""

    __slots__ = ("_numbers", "_places")

    def __init__(self, numbers: dict[str, int], places: np.ndarray):
        self._numbers, self._places = numbers, places  # shared by all clips of equal names; (M, 3) int64

    def __getitem__(self, name: str) -> tuple[int, int, int]:
        offset, size, crc32 = self._places[self._numbers[name]].tolist()
        return offset, size, crc32

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def write_index(shards: Iterable[Path], dataset: str, out: Path) -> dict[str, Any]:
    """Merge the JSONs of a data set's shards into one index file, in the order given.

    Paths in the index are relative to its folder. What trainings ask of a data set is summed up: the recipe that all
    clips share (or the list of the distinct ones), and the number of clips that each asset is in. Raises ValueError for
    a key in two shards, and for a tar or depth store that is not there or a tar of another size than its JSON says.
    """
    out = Path(out)
    entries = [_locate(read_shard(Path(path)), Path(path).parent, out.parent) for path in shards]
    if not entries:
        raise ValueError(f"{out}: there is no shard to index")
    _check_keys(entries, out)
    found = [entry.pop("recipe", None) for entry in entries]
    recipes = [one for recipe in found for one in (recipe if isinstance(recipe, list) else [recipe])]
    rows = [row for entry in entries for row in entry["clips"]]
    assets = collections.Counter(name for row in rows for name in row.get("assets", ()))
    content = {
        "format": INDEX_FORMAT,
        "dataset": dataset,
        "num_clips": len(rows),
        "num_frames": sum(row["num_frames"] for row in rows),
        "bytes": sum(entry["bytes"] for entry in entries),
        "depth_bytes": sum(entry["depth_bytes"] for entry in entries),
        "recipe": common_recipe(
            one for recipe in recipes for one in (recipe if isinstance(recipe, list) else [recipe])
        ),
        "assets": dict(sorted(assets.items())),
        "shards": entries,
    }
    with appearing(out) as temporary:
        write_json(temporary, content)
    return content


def common_recipe(recipes: Iterable[Any]) -> Any:
    """The recipe when all are the same, else the list of the distinct ones in the order of their JSON."""
    distinct = {json.dumps(recipe, sort_keys=True): recipe for recipe in recipes}
    return next(iter(distinct.values())) if len(distinct) == 1 else [distinct[text] for text in sorted(distinct)]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON without a space between its parts: an index of 11,000 clips is a third of its indented size."""
    path.write_text(json.dumps(content, separators=(",", ":"), allow_nan=False))


def read_index(path: Path) -> dict[str, Any]:
    """Read an index.json; raises ValueError that names the file and what is wrong with it."""
    return parse_index(read_existing(path), path)


def parse_index(content_bytes: bytes, path: Path | str) -> dict[str, Any]:
    """The content of an index.json whose bytes came from `path` or a URL; the clips' `members` are of class Members."""
    content = _parse(content_bytes, path, INDEX_FORMAT, _RowHook())
    if not content.keys() >= TOTALS or not isinstance(content["shards"], list):
        raise ValueError(f"{path}: not an index; write it with `python -m shards index`")
    for entry in content["shards"]:
        _check_shard(entry, path)
    rows = [row for entry in content["shards"] for row in entry["clips"]]
    for name, listed in (("clips", len(rows)), ("frames", sum(row["num_frames"] for row in rows))):
        if content[f"num_{name}"] != listed:
            raise ValueError(f"{path}: says {content[f'num_{name}']} {name} and lists {listed}; write it again")
    _check_keys(content["shards"], path)
    return content


def read_shard(path: Path) -> dict[str, Any]:
    """Read the JSON of a shard; raises ValueError that names the file and what is wrong with it."""
    tar = path.with_suffix(".tar")
    if not path.is_file() and tar.is_file():
        raise ValueError(f"{path}: not there, though {tar.name} is: packing did not end; pack it again")
    content = read_json(path, SHARD_FORMAT)
    _check_shard(content, path)
    return content


def read_json(path: Path, expected_format: str) -> dict[str, Any]:
    """Read a JSON file of a known format; raises ValueError that names the file."""
    return _parse(read_existing(path), path, expected_format)


def read_existing(path: Path) -> bytes:
    """The bytes of a file that the graph makes; ValueError says how where it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: not there; run `snakemake data`") from None


def _parse(content_bytes: bytes, path: Path, expected_format: str, hook: Any = None) -> dict[str, Any]:
    try:
        content = json.loads(content_bytes, object_hook=hook)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON ({error}); delete it and run `snakemake data`") from None
    found = content.get("format") if isinstance(content, dict) else type(content).__name__
    if found != expected_format:
        name = expected_format.split("/")[0]
        is_ours = isinstance(found, str) and found.startswith(f"{name}/") and name in SHARD_FORMAT + INDEX_FORMAT
        again = "; it is of another version: pack again (python -m shards pack, then index)" if is_ours else ""
        raise ValueError(f"{path}: format {found!r}, expected {expected_format!r}{again}")
    return content


class _RowHook:
    """Turns each clip's members into `Members` while JSON is parsed: the parsed lists would take five times as much."""

    def __init__(self) -> None:
        self.numbers: dict[tuple[str, ...], dict[str, int]] = {}

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        if not row.keys() >= CLIP_FIELDS:
            return row
        members = row["members"]
        if isinstance(members, dict):
            names, places = tuple(members), _as_places(members)
            numbers = self.numbers.setdefault(names, {name: number for number, name in enumerate(names)})
            row["members"] = None if places is None else Members(numbers, places)  # None is refused later
        assets = row.get("assets")
        if isinstance(assets, list) and all(isinstance(name, str) for name in assets):
            row["assets"] = tuple(map(sys.intern, assets))
        return row


def _as_places(members: dict[str, Any]) -> np.ndarray | None:
    """The members' triples as (M, 3) int64; None when they are something else."""
    try:
        places = np.array(list(members.values()))
    except (ValueError, OverflowError):
        return None
    is_right = places.ndim == 2 and places.shape[1] == 3 and places.dtype == np.int64
    return places if is_right and places.min() >= 0 else None


def _check_shard(entry: Any, path: Path) -> None:
    """Hold fields and member sets against what the format promises."""
    if not isinstance(entry, dict) or not entry.keys() >= SHARD_FIELDS:
        raise ValueError(f"{path}: an entry lacks fields of a shard; pack again (python -m shards pack)")
    name, codec, optional = entry["name"], entry["codec"], entry["optional"]
    if not isinstance(optional, list) or not isinstance(entry["clips"], list):
        raise ValueError(f"{path}: {name} lacks a list; pack again (python -m shards pack)")
    if codec not in list(CODECS):
        raise ValueError(f"{path}: {name} has frames of codec {codec!r}, known are {', '.join(CODECS)}")
    if optional != [member for member in OPTIONAL.values() if member in optional]:
        raise ValueError(f"{path}: {name} has optional members {optional}, known are {list(OPTIONAL.values())}")
    fields = CLIP_FIELDS | (DEPTH_FIELDS if entry["depth"] else set())
    expected: dict[Any, list[str]] = {}
    for row in entry["clips"]:
        if not isinstance(row, dict) or not row.keys() >= fields:
            raise ValueError(f"{path}: a clip of {name} lacks fields; pack again (python -m shards pack)")
        num_frames, members = row["num_frames"], row["members"]
        is_right = isinstance(members, Mapping) and num_frames == len(members) - len(ANNOTATIONS) - len(optional)
        if is_right and num_frames not in expected:
            expected[num_frames] = list(member_names(num_frames, codec, tuple(optional)))
        if not is_right or list(members) != expected[num_frames]:
            raise ValueError(
                f"{path}: the members of clip {row['key']} in {name} are not those of "
                f"{num_frames} frames; pack again (python -m shards pack)"
            )


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
    if entry["depth"] and not (source / entry["depth"]).is_dir():
        raise ValueError(f"{source / entry['depth']}: is missing; pack it again (python -m shards pack)")
    prefix = Path(os.path.relpath(source, target))
    depth = (prefix / entry["depth"]).as_posix() if entry["depth"] else None
    located = {name: value for name, value in entry.items() if name != "format"}
    return located | {"tar": (prefix / entry["tar"]).as_posix(), "depth": depth}
