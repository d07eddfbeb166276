"""What differs between two packed data sets, by what their indexes say: no tar and no depth store is read."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shards.index import read_index
from shards.shelf import find_shelf


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Keys of clips of the new index that the old one lacks, the reverse, and what differs in those of both."""

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]
    num_same: int

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def as_json(self) -> dict[str, Any]:
        """What JSON can hold of it."""
        return asdict(self) | {"same": not self}


def compare_indexes(old: str | Path, new: str | Path) -> Difference:
    """Hold the clips of two index.json against each other, by key.

    Members differ when their size or crc32 does, depth when its range or the crc32 of its files does; where a clip lies
    makes no difference. Frames of another codec count as changed, though their pixels may be the same. Raises
    ValueError for an index that cannot be read.
    """
    before, after = (_rows_of(path) for path in (old, new))
    both = [key for key in before if key in after]
    changes = {key: _describe_changes(*before[key], *after[key]) for key in both}
    return Difference(
        added=[key for key in after if key not in before],
        removed=[key for key in before if key not in after],
        changed={key: parts for key, parts in changes.items() if parts},
        num_same=sum(not parts for parts in changes.values()),
    )


def format_difference(difference: Difference) -> list[str]:
    """One line a clip, in the order of the old index and then of the new, and a summary."""
    lines = [f"- {key}" for key in difference.removed]
    lines += [f"! {key}: {', '.join(parts)}" for key, parts in difference.changed.items()]
    lines += [f"+ {key}" for key in difference.added]
    counts = (difference.removed, difference.changed, difference.added)
    removed, changed, added = map(len, counts)
    return [*lines, f"{removed} removed, {changed} changed, {added} added, {difference.num_same} the same"]


def _rows_of(index: str | Path) -> dict[str, tuple[dict[str, Any], str]]:
    """Row and codec of each clip, by key."""
    return {
        row["key"]: (row, shard["codec"])
        for shard in read_index(find_shelf(index).path)["shards"]
        for row in shard["clips"]
    }


def _describe_changes(old: dict[str, Any], old_codec: str, new: dict[str, Any], new_codec: str) -> list[str]:
    """Names of the parts of a clip that differ, each with what an index knows of it."""
    before, after = _annotations(old), _annotations(new)
    changes = {name: _describe_pair(before.get(name), after.get(name)) for name in before | after}
    if changes["tracks"] is not None and old["num_tracks"] != new["num_tracks"]:
        changes["tracks"] = f" ({old['num_tracks']} -> {new['num_tracks']})"
    frames = _describe_frames(old, old_codec, new, new_codec)
    return [frames] * bool(frames) + [f"{name}{how}" for name, how in changes.items() if how is not None]


def _annotations(row: dict[str, Any]) -> dict[str, Any]:
    """What stands for the content of each part of a clip but its frames."""
    found = {name.split(".")[0]: place[1:] for name, place in row["members"].items() if _is_annotation(name)}
    return found | ({"depth": (row["depth_range_m"], row["depth_crc32"])} if "depth_crc32" in row else {})


def _describe_frames(old: dict[str, Any], old_codec: str, new: dict[str, Any], new_codec: str) -> str | None:
    shapes = ["{num_frames} of {width}x{height}".format(**row) for row in (old, new)]
    if shapes[0] != shapes[1]:
        return f"frames ({shapes[0]} -> {shapes[1]})"
    if old_codec != new_codec:
        return f"frames ({old_codec} -> {new_codec})"
    pairs = [(place, new["members"][name]) for name, place in old["members"].items() if not _is_annotation(name)]
    num_changed = sum(before[1:] != after[1:] for before, after in pairs)
    return f"frames ({num_changed} of {len(pairs)})" if num_changed else None


def _is_annotation(name: str) -> bool:
    return name.endswith((".npy", ".npz", ".json"))


def _describe_pair(old: Any, new: Any) -> str | None:
    """How two contents differ; None where they do not."""
    if old == new:
        return None
    return " (added)" if old is None else " (removed)" if new is None else ""
