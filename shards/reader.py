"""Read a data set in order: by random access (`read`), or as a WebDataset stream that counts (`stream`)."""

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shards.ahead import ReadAhead
from shards.clip import Clip
from shards.index import read_index
from shards.members import decode_clip
from shards.order import deal, permutation
from shards.shelf import find_shelf
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
    with_world: bool = False,
) -> Iterator[Clip]:
    """Yield one worker's clips of one epoch; all ranks get equally many (the last clips that do not fill up are left).

    The epoch's order is one permutation for all (without `shuffle` the order of the index), dealt as
    `shards.order.deal` says. `start` is a position in it: after n steps resuming is start + n * world_size, for any
    number of ranks. Raises ValueError at once for a rank, worker or start out of range, and when the index cannot feed
    all ranks and workers.
    """
    store = ClipStore(index)
    _check_supply(store, world_size, num_workers)
    order = permutation(len(store), seed, epoch) if shuffle else range(len(store))
    numbers = deal(order, start=start, rank=rank, world_size=world_size, worker=worker, num_workers=num_workers)
    ahead = ReadAhead(store, numbers, lambda number: (number,), with_depth=with_depth)
    return (store.read(number, frames=frames, with_depth=with_depth, with_world=with_world) for number in ahead)


def _check_supply(store: ClipStore, world_size: int, num_workers: int) -> None:
    num_clips = len(store)
    if num_clips >= world_size * num_workers:
        return
    fits = num_clips // world_size
    use = f"use at most {fits} workers (data.num_workers={fits})" if fits else f"use at most {num_clips} ranks"
    raise ValueError(
        f"{store.name}: {num_clips} clips cannot feed {world_size} ranks x {num_workers} workers; {use}, or pack "
        f"{world_size * num_workers} clips or more (python -m shards pack, then python -m shards index)"
    )


def stream(index: str | Path) -> Iterator[Clip]:
    """Yield all clips, with what their tars hold (so without depth), in the order of the tars through WebDataset.

    webdataset ends a damaged tar silently and hands on clips with missing members, so keys, members and their crc32 are
    held against the index: ValueError names the tar and what is wrong. (Its import brings torch where that is
    installed; nothing else in this package does.)
    """
    shelf = find_shelf(index)
    for shard in read_index(shelf.path)["shards"]:
        with shelf.tar(shard) as tar:
            try:
                yield from _stream_shard(tar, shard)
            except FileNotFoundError:
                raise ValueError(f"{tar}: the shard is missing; run `snakemake {tar}`") from None
            except (OSError, EOFError, ValueError, IndexError, tarfile.TarError) as error:
                reason = error.args[0] if error.args else type(error).__name__
                raise ValueError(f"{tar}: {reason}; {shelf.remedy('the tar', tar)}") from None


def _stream_shard(tar: Path, shard: dict[str, Any]) -> Iterator[Clip]:
    import webdataset  # only here: it takes four times as long to import as all else in this package

    expected = {row["key"]: row for row in shard["clips"]}
    # A pipeline made by hand has no splitter: which tars a process reads is the caller's business.
    for sample in webdataset.DataPipeline(webdataset.SimpleShardList([str(tar)]), webdataset.tarfile_to_samples()):
        key = sample["__key__"]
        row = expected.pop(key, None)
        if row is None:
            raise ValueError(f"clip {key} is not in the index, or comes twice")
        members = {name: content for name, content in sample.items() if not name.startswith("__")}
        if members.keys() != row["members"].keys():
            missing = sorted(row["members"].keys() ^ members.keys())
            raise ValueError(f"damaged: clip {key} has other members than the index says ({missing[0]})")
        for name, content in members.items():
            if zlib.crc32(content) != row["members"][name][2]:
                raise ValueError(f"member {key}.{name} has flipped bytes")
        optional = shard["optional"]
        yield decode_clip(key, row["num_frames"], members.__getitem__, codec=shard["codec"], optional=optional)
    if expected:
        raise ValueError(f"damaged: it ends early, clips {', '.join(expected)} did not come")
