"""Hold packed files against their index."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from shards.driving.latents import LatentStore
from shards.files import sha256_of
from shards.index import SHARD_FORMAT, read_json
from shards.members import OPTIONAL
from shards.shelf import Shelf
from shards.store import ClipStore


def find_problems(index: str | Path, *, deep: bool = False, latents: str | Path | None = None) -> Iterator[str]:
    """Yield one line for each thing that differs from the index; `deep` also decodes every clip and its depth.

    `latents` is a folder of latents (`shards.driving.latents`), which are then held against it, too.

    Checked of each shard: sha256 of tar and depth store, names, places and sizes of the tar's members, and that the
    index was written after the shard. Of shards behind a URL those in the cache are checked, fetched where they are
    not in it. Raises ValueError for an index that cannot be read.
    """
    store = ClipStore(index)
    for shard in store.shards:
        try:
            with store.shelf.tar(shard) as tar:
                yield from _check_tar(tar, shard, store.shelf)
            if shard["depth"]:
                with store.shelf.depth(shard) as depth:
                    yield from _check_depth(depth, shard, store.shelf)
        except ValueError as error:  # it could not be fetched
            yield str(error)
        if store.shelf.url is None:
            yield from _check_entry(store.path, shard)
    if latents is not None:
        try:
            yield from LatentStore(latents, store).find_problems()
        except ValueError as error:
            yield str(error)
    if deep:
        world = OPTIONAL["world_m"]
        has = [(bool(shard["depth"]), world in shard["optional"]) for shard in store.shards for _ in shard["clips"]]
        for number, (has_depth, has_world) in enumerate(has):
            try:
                store.read(number, with_depth=has_depth, with_world=has_world)
            except (ValueError, OSError) as error:
                yield str(error)


def _check_tar(tar: Path, shard: dict[str, Any], shelf: Shelf) -> Iterator[str]:
    if not tar.is_file():
        yield f"{tar}: missing; run `snakemake {tar}`"
        return
    damage = _find_damage(tar, shard)
    if sha256_of(tar) != shard["sha256"]:
        yield f"{tar}: sha256 differs ({damage or 'bytes of a member'}); {shelf.remedy('it', tar)}"
    elif damage:
        yield f"{tar}: {damage}, though its sha256 is right; write the index again (python -m shards index)"


def _check_depth(depth: Path, shard: dict[str, Any], shelf: Shelf) -> Iterator[str]:
    if not depth.is_dir():
        yield f"{depth}: missing; pack again (python -m shards pack)"
    elif sha256_of(depth) != shard["depth_sha256"]:
        again = "pack again (python -m shards pack)" if shelf.url is None else "read it again: it is fetched anew"
        yield f"{depth}: sha256 differs; delete it and {again}"


def _check_entry(index: Path, shard: dict[str, Any]) -> Iterator[str]:
    """A shard that was packed anew beside an old index has another sha256 in its own JSON."""
    entry = (index.parent / shard["tar"]).with_suffix(".json")
    if not entry.is_file():
        return  # the index alone is enough to read
    try:
        content = read_json(entry, SHARD_FORMAT)
    except ValueError as error:
        yield str(error)
        return
    if content.get("sha256") != shard["sha256"] or content.get("depth_sha256") != shard["depth_sha256"]:
        yield f"{index}: older than {entry.name}; write it again (python -m shards index)"


def _find_damage(tar: Path, shard: dict[str, Any]) -> str | None:
    """What differs in size or members of a tar; None when they are as in the index."""
    if tar.stat().st_size != shard["bytes"]:
        return f"{tar.stat().st_size} bytes instead of {shard['bytes']}"
    try:
        with tarfile.open(tar, "r:") as archive:
            found = {member.name: (member.offset_data, member.size) for member in archive}
    except (tarfile.TarError, OSError, EOFError) as error:
        return f"not a tar: {error}"
    wanted = {
        f"{clip['key']}.{name}": (offset, size)
        for clip in shard["clips"]
        for name, (offset, size, _) in clip["members"].items()
    }
    for name, place in wanted.items():
        if name not in found:
            return f"member {name} is missing"
        if found.pop(name) != place:
            return f"member {name} lies elsewhere"
    return f"member {next(iter(found))} is in no clip of the index" if found else None
