"""Read a data set in order: by random access (`read`), or as a WebDataset stream that counts (`stream`)."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shards.clip import Clip
from shards.members import decode_array, decode_png, frame_name
from shards.order import permutation
from shards.pack import INDEX_FORMAT, read_json
from shards.store import ClipStore


def read(
    index: str | Path,
    *,
    seed: int = 0,
    epoch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    worker: int = 0,
    num_workers: int = 1,
    shuffle: bool = True,
    start: int = 0,
    frames: slice | None = None,
    with_depth: bool = False,
) -> Iterator[Clip]:
    """Yield one reader's clips of one epoch; all ranks get equally many (the last clips that do not fill up are left).

    The epoch's order is one permutation; position p goes to rank p % world_size, and a rank's q-th clip to its worker
    q % num_workers. `start` skips that many global positions: resuming is reading from there. Raises ValueError when
    the index cannot feed all ranks.
    """
    store = ClipStore(index)
    if len(store) < world_size * num_workers:
        fits = max(1, len(store) // max(world_size, 1))
        raise ValueError(
            f"{index}: {len(store)} clips cannot feed {world_size} ranks x {num_workers} workers; "
            f"use at most {fits} workers (data.num_workers={fits}), fewer ranks, or more clips (num_clips in config)"
        )
    order = permutation(len(store), seed, epoch) if shuffle else range(len(store))
    end = len(store) // world_size * world_size
    for position in range(start, end):
        if position % world_size == rank and position // world_size % num_workers == worker:
            yield store.read(order[position], frames=frames, with_depth=with_depth)


def stream(index: str | Path) -> Iterator[Clip]:
    """Yield all clips in the order of the tars through WebDataset; works wherever webdataset opens a tar.

    webdataset ends a damaged tar silently, so keys and member sets are held against the index: ValueError names the
    tar and what is missing.
    """
    import webdataset  # only here: its import costs more than all else in this package

    index = Path(index)
    for shard in read_json(index, INDEX_FORMAT)["shards"]:
        tar = index.parent / shard["tar"]
        expected = {clip["key"]: set(clip["members"]) for clip in shard["clips"]}
        try:
            for sample in webdataset.WebDataset(str(tar), shardshuffle=False, nodesplitter=None):
                members = {name: value for name, value in sample.items() if not name.startswith("__")}
                if expected.pop(sample["__key__"], None) != set(members):
                    raise ValueError(f"{tar}: clip {sample['__key__']} has other members than the index says")
                yield _clip(sample["__key__"], members)
        except (OSError, EOFError, tarfile.TarError) as error:
            reason = error.args[0] if error.args else error
            raise ValueError(f"{tar}: cannot be read ({reason}); delete it and run `snakemake {tar}`") from None
        if expected:
            raise ValueError(f"{tar}: damaged, clips {', '.join(sorted(expected))} did not come; run `snakemake {tar}`")


def _clip(key: str, members: dict[str, bytes]) -> Clip:
    num_frames = sum(name.startswith("frame") for name in members)
    return Clip(
        key=key,
        video=np.stack([decode_png(members[frame_name(t)]) for t in range(num_frames)]),
        tracks=decode_array(members["tracks.npy"]),
        visible=decode_array(members["visible.npy"]),
        metadata=json.loads(members["metadata.json"]),
    )
