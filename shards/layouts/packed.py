"""Our own packed data sets as a layout like the others: an index.json, its tars and depth stores."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from shards.clip import Clip
from shards.index import write_index
from shards.layouts.choice import WHOLE, Choice, cut_metadata
from shards.layouts.files import naming
from shards.pack import pack_clips
from shards.store import ClipStore

CLIPS_PER_SHARD = 64


def read_packed(path: Path | str, choice: Choice = WHOLE) -> Iterator[Clip]:
    """A packed data set: its index.json, or the URL of one; only the chosen frames are decoded."""
    store = ClipStore(path)
    rows = ((shard, row) for shard in store.shards for row in shard["clips"])
    for number, (shard, row) in enumerate(rows):
        with naming(path, f"clip {row['key']}"):
            ranges = choice.ranges(row["num_frames"])
        for frames in ranges:
            part = slice(frames.start, frames.stop)
            clip = store.read(number, frames=part, with_depth=choice.with_depth and bool(shard["depth"]))
            metadata = cut_metadata(clip.metadata, frames, row["num_frames"])
            yield replace(clip, key=choice.name(clip.key, frames), metadata=metadata)


def write_packed(clips: Iterable[Clip], out: Path, clips_per_shard: int = CLIPS_PER_SHARD, codec: str = "png") -> int:
    """Pack clips into out/shard-000000.tar, ... and out/index.json; returns the number of clips.

    Raises ValueError for less than one clip a shard and for what `pack_clips` refuses.
    """
    if clips_per_shard < 1:
        raise ValueError(f"{clips_per_shard} clips a shard: give at least 1, such as --clips-per-shard 64")
    remaining = iter(clips)
    shards: list[Path] = []
    for first in remaining:
        prefix = out / f"shard-{len(shards):06d}"
        pack_clips(itertools.chain([first], itertools.islice(remaining, clips_per_shard - 1)), prefix, codec)
        shards.append(prefix.with_name(f"{prefix.name}.json"))
    return write_index(shards, out.name, out / "index.json")["num_clips"]
