"""Hold packed files against their index."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

from shards.files import sha256_of
from shards.store import ClipStore


def find_problems(index: Path, *, deep: bool = False) -> Iterator[str]:
    """Yield one line for each thing that differs from the index; `deep` also decodes every clip."""
    store = ClipStore(index)
    for shard in store.shards:
        tar = index.parent / shard["tar"]
        if not tar.is_file():
            yield f"{tar}: missing; run `snakemake {tar}`"
        elif sha256_of(tar) != shard["sha256"]:
            yield f"{tar}: sha256 differs ({_first_damage(tar, shard)}); delete it and run `snakemake {tar}`"
        if shard["depth"]:
            depth = index.parent / shard["depth"]
            if not depth.is_dir():
                yield f"{depth}: missing; run `snakemake {tar}`"
            elif sha256_of(depth) != shard["depth_sha256"]:
                yield f"{depth}: sha256 differs; delete it and run `snakemake {tar}`"
    if deep:
        with_depth = {clip["key"] for shard in store.shards if shard["depth"] for clip in shard["clips"]}
        for number, key in enumerate(store.keys):
            try:
                store.read(number, with_depth=key in with_depth)
            except ValueError as error:
                yield str(error)


def _first_damage(tar: Path, shard: dict) -> str:
    """Say what is wrong with a tar: its size, its members, or their bytes."""
    if tar.stat().st_size != shard["bytes"]:
        return f"{tar.stat().st_size} bytes instead of {shard['bytes']}"
    try:
        with tarfile.open(tar) as archive:
            found = {member.name for member in archive}
    except tarfile.TarError as error:
        return f"not a tar: {error}"
    wanted = {f"{clip['key']}.{name}" for clip in shard["clips"] for name in clip["members"]}
    missing = sorted(wanted - found)
    return f"member {missing[0]} is missing" if missing else "bytes of a member"
