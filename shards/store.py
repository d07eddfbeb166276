"""Random access to packed clips through the index's own offsets: every byte that is used is checked."""

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.depth import read_depth
from shards.driving.drive import Drive, decode_drive
from shards.index import parse_index, read_existing
from shards.members import OPTIONAL, decode_array, decode_clip
from shards.people.person import Person, decode_person
from shards.shelf import find_shelf


class ClipStore:
    """The clips of one index.json: `len(store)`, `store.keys`, `store[i]`, `store.read(i, frames=..., with_depth=...)`.

    The index is a path or a URL; shards behind a URL are fetched into the cache when they are first read.

    `summary` is what the index says of the whole: num_clips, num_frames, bytes, depth_bytes, recipe, assets; `row(i)`
    what it says of one clip.

    It holds no open file: a tar is opened for each clip that is read (20 microseconds), so a store may be handed to
    forked or spawned loader workers and threads. Raises ValueError that names tar, member and next command for bytes
    that differ from what was packed.
    """

    def __init__(self, index: str | Path):
        self.shelf = find_shelf(index)
        self.path, self.name = self.shelf.path, self.shelf.name
        content_bytes = read_existing(self.path)
        content = parse_index(content_bytes, self.name)
        self.dataset: str = content["dataset"]
        self.shards: list[dict[str, Any]] = content["shards"]
        self.summary: dict[str, Any] = {name: value for name, value in content.items() if name != "shards"}
        self.sha256 = hashlib.sha256(content_bytes).hexdigest()
        self._rows = [(shard, clip) for shard in self.shards for clip in shard["clips"]]
        self.keys: list[str] = [clip["key"] for _, clip in self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Clip:
        return self.read(number)

    def row(self, number: int) -> dict[str, Any]:
        """What the index says of clip `number`: frames, size, tracks, codec, shard; seed and assets where known."""
        shard, row = self._rows[number]
        return {"shard": shard["name"], "codec": shard["codec"]} | {k: v for k, v in row.items() if k != "members"}

    def number_of(self, key: str) -> int:
        """The number of the clip of that key; raises ValueError that says how to list them."""
        if key not in self.keys:
            raise ValueError(f"{self.name}: no clip {key!r}; see `python -m shards ls {self.name}`")
        return self.keys.index(key)

    def read(
        self, number: int, frames: slice | None = None, with_depth: bool = False, with_world: bool = False
    ) -> Clip:
        """Read clip `number`; `frames` decodes only those, and cuts tracks, visibility, depth and world_m alike.

        `object_id` and `query_frame` come where they were packed (the latter as the place among the chosen frames, -1
        where the frame is not one of them); `world_m` is large and comes with `with_world` only. Raises ValueError for
        a slice that is empty or runs backwards, for depth or world positions where none were packed, and for damage.
        """
        shard, row = self._rows[number]
        key, num_frames = row["key"], row["num_frames"]
        chosen = range(num_frames)[frames or slice(None)]
        if not chosen or chosen.step < 1:
            raise ValueError(f"{self.name}: {frames} chooses no frames of clip {key}, which has 0..{num_frames - 1}")
        depth_m = None
        if with_depth:
            if not shard["depth"]:
                raise ValueError(f"{self.name}: clip {key} was packed without depth; read it with with_depth=False")
            where = slice(chosen.start, chosen.stop, chosen.step)
            with self.shelf.depth(shard) as depth:
                depth_m = read_depth(depth, key, where, row["depth_range_m"])
        world = OPTIONAL["world_m"]
        if with_world and world not in shard["optional"]:
            raise ValueError(f"{self.name}: clip {key} was packed without world_m; read it with with_world=False")
        optional = [name for name in shard["optional"] if name != world or with_world]
        with self._members(shard, row) as member:
            clip = decode_clip(
                key, num_frames, member, codec=shard["codec"], optional=optional, frames=chosen, depth_m=depth_m
            )
        _check_size(clip, row, self.name)
        return clip

    def read_annotations(self, number: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Tracks (T, N, 2), visible (T, N) and frame size (H, W) of clip `number` without decoding its frames."""
        shard, row = self._rows[number]
        with self._members(shard, row) as member:
            tracks, visible = (decode_array(member(name)) for name in ("tracks.npy", "visible.npy"))
        return tracks, visible, (row["height"], row["width"])

    def read_person(self, number: int) -> tuple[Person, tuple[int, int]]:
        """The person of clip `number` and the frame size (H, W), without decoding frames; ValueError for no people."""
        shard, row = self._rows[number]
        if OPTIONAL["person"] not in shard["optional"]:
            raise ValueError(f"{self.name}: clip {row['key']} has no person; it is no data set of people")
        with self._members(shard, row) as member:
            person = decode_person(member(OPTIONAL["person"]))
        if len(person.focal_px) != row["num_frames"]:
            raise ValueError(f"{self.name}: clip {row['key']} has a person of {len(person.focal_px)} frames")
        return person, (row["height"], row["width"])

    def read_drive(self, number: int) -> Drive:
        """The drive of clip `number` without decoding its frames; ValueError where none was packed."""
        shard, row = self._rows[number]
        if OPTIONAL["drive"] not in shard["optional"]:
            raise ValueError(f"{self.name}: clip {row['key']} has no drive; it is no data set of driving")
        with self._members(shard, row) as member:
            drive = decode_drive(member(OPTIONAL["drive"]))
        if len(drive.times_s) != row["num_frames"]:
            raise ValueError(f"{self.name}: clip {row['key']} has a drive of {len(drive.times_s)} frames")
        return drive

    @contextmanager
    def _members(self, shard: dict[str, Any], row: dict[str, Any]) -> Iterator[Callable[[str], bytes]]:
        """A function that reads members of a clip by name; every complaint names the tar and the next command."""
        with self.shelf.tar(shard) as tar:
            try:
                descriptor = os.open(tar, os.O_RDONLY)  # what is open may be read even where its name goes
            except FileNotFoundError:
                raise ValueError(f"{tar}: the shard is missing; run `snakemake {tar}`") from None
        try:
            yield lambda name: _read_member(descriptor, row, name)
        except (ValueError, IndexError) as error:  # an array may be shorter than its clip
            raise ValueError(
                f"{tar}: {error}; see `python -m shards verify {self.name}`, then {self.shelf.remedy('the tar', tar)}"
            ) from None
        finally:
            os.close(descriptor)


def _read_member(descriptor: int, row: dict[str, Any], name: str) -> bytes:
    offset, size, crc32 = row["members"][name]
    content = os.pread(descriptor, size, offset)
    if len(content) != size:
        raise ValueError(f"member {row['key']}.{name} is cut short")
    if zlib.crc32(content) != crc32:
        raise ValueError(f"member {row['key']}.{name} has flipped bytes")
    return content


def _check_size(clip: Clip, row: dict[str, Any], index: str) -> None:
    height, width = clip.video.shape[1:3]
    found = (height, width, clip.tracks.shape[1])
    if found != (row["height"], row["width"], row["num_tracks"]):
        raise ValueError(
            f"{index}: clip {clip.key} is {width}x{height} with {found[2]} tracks, which is not what the index says; "
            "write it again (python -m shards index)"
        )
