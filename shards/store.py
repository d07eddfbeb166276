"""Random access to packed clips through the index's own offsets: every byte that is used is checked."""

import hashlib
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.depth import read_depth
from shards.members import decode_array, decode_png, frame_name
from shards.pack import INDEX_FORMAT, read_json


class ClipStore:
    """The clips of one index.json: `len(store)`, `store.keys`, `store[i]`, `store.read(i, frames=..., with_depth=...)`.

    Files are opened when first read and again in each process, so a store may be handed to forked loader workers.
    Raises ValueError that names tar, member and next command for bytes that differ from what was packed.
    """

    def __init__(self, index: str | Path):
        self.path = Path(index)
        content = read_json(self.path, INDEX_FORMAT)
        self.dataset: str = content["dataset"]
        self.shards: list[dict[str, Any]] = content["shards"]
        self.sha256 = hashlib.sha256(self.path.read_bytes()).hexdigest()
        self._rows = [(shard, clip) for shard in self.shards for clip in shard["clips"]]
        if len(self._rows) != content["num_clips"]:
            raise ValueError(f"{self.path}: says {content['num_clips']} clips and lists {len(self._rows)}")
        self.keys: list[str] = [clip["key"] for _, clip in self._rows]
        self._files: dict[tuple[int, str], int] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> Clip:
        return self.read(number)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": {}}

    def read(self, number: int, frames: slice | None = None, with_depth: bool = False) -> Clip:
        """Read clip `number`; `frames` decodes only those, and cuts tracks, visibility and depth alike."""
        shard, row = self._rows[number]
        chosen = range(row["num_frames"])[frames or slice(None)]
        frames = slice(chosen.start, chosen.stop, chosen.step)
        wanted = {frame_name(t) for t in range(row["num_frames"])} | {"tracks.npy", "visible.npy", "metadata.json"}
        if set(row["members"]) != wanted:
            raise ValueError(f"{self.path}: clip {row['key']} lacks members; delete the index and run `snakemake data`")

        def member(name: str) -> bytes:
            return self._member(shard, row, name)

        depth_m = None
        if with_depth:
            if not shard["depth"]:
                raise ValueError(f"{self.path}: clip {row['key']} was packed without depth")
            depth_m = read_depth(self.path.parent / shard["depth"], row["key"], frames)
        return Clip(
            key=row["key"],
            video=np.stack([decode_png(member(frame_name(t))) for t in chosen]),
            tracks=decode_array(member("tracks.npy"))[frames],
            visible=decode_array(member("visible.npy"))[frames],
            depth_m=depth_m,
            metadata=json.loads(member("metadata.json")),
        )

    def read_annotations(self, number: int) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Tracks (T, N, 2), visible (T, N) and frame size (H, W) of clip `number` without decoding its frames."""
        shard, row = self._rows[number]
        tracks, visible = (decode_array(self._member(shard, row, f"{name}.npy")) for name in ("tracks", "visible"))
        return tracks, visible, (row["height"], row["width"])

    def _member(self, shard: dict[str, Any], row: dict[str, Any], name: str) -> bytes:
        place = row["members"][name]
        tar = self.path.parent / shard["tar"]
        content = os.pread(self._open(tar), place["size"], place["offset"])
        if len(content) != place["size"] or zlib.crc32(content) != place["crc32"]:
            what = "is cut short" if len(content) != place["size"] else "has flipped bytes"
            raise ValueError(
                f"{tar}: member {row['key']}.{name} {what}; see `python -m shards verify {self.path}`, "
                f"then delete the tar and run `snakemake {tar}`"
            )
        return content

    def _open(self, tar: Path) -> int:
        # Keyed by process: a forked worker must not share the parent's descriptors.
        key = (os.getpid(), tar.name)
        if key not in self._files:
            try:
                self._files[key] = os.open(tar, os.O_RDONLY)
            except FileNotFoundError:
                raise ValueError(f"{tar}: the shard is missing; run `snakemake {tar}`") from None
        return self._files[key]

    def close(self) -> None:
        """Close the files of this process."""
        for (pid, _), descriptor in self._files.items():
            if pid == os.getpid():
                os.close(descriptor)
        self._files.clear()
