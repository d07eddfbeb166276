"""Write shards: a byte-reproducible tar, a depth store beside it, and a JSON that says where each member lies."""

import contextlib
import io
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from shards.clip import Clip
from shards.codecs import codec_named
from shards.depth import write_depth
from shards.files import beside, remove, replace, sha256_of
from shards.index import SHARD_FORMAT, common_recipe, write_json
from shards.members import encode_clip, optional_members


def pack_clips(clips: Iterable[Clip], prefix: Path, codec: str = "png") -> dict[str, Any]:
    """Write PREFIX.tar, PREFIX.zarr (where clips have depth) and PREFIX.json; returns the JSON's content.

    `codec` is a row of shards.codecs.CODECS. One clip is in memory at a time. An older shard of that name stays until
    everything new is written; then the JSON, which alone makes a shard complete, goes first and comes last. Raises
    ValueError for no clips, a key that comes twice, clips of which only some have depth or another optional field, an
    unknown codec, and a full disk.
    """
    codec_named(codec)
    prefix = Path(prefix)
    tar, depth, entry = (prefix.with_name(f"{prefix.name}.{kind}") for kind in ("tar", "zarr", "json"))
    with contextlib.ExitStack() as stack:
        new_tar, new_depth, new_entry = (stack.enter_context(beside(path)) for path in (tar, depth, entry))
        shard = _Shard(prefix, codec, new_depth)
        with tarfile.open(new_tar, "w", format=tarfile.USTAR_FORMAT) as archive:
            for clip in clips:
                shard.add(clip, archive)
                del clip  # or it would be in memory while the next one is read
        has_depth = new_depth.exists()
        content = {
            "format": SHARD_FORMAT,
            "name": prefix.name,
            **shard.describe(),
            "tar": tar.name,
            "bytes": new_tar.stat().st_size,
            "sha256": sha256_of(new_tar),
            "depth": depth.name if has_depth else None,
            "depth_bytes": sum(path.stat().st_size for path in new_depth.rglob("*") if path.is_file()),
            "depth_sha256": sha256_of(new_depth) if has_depth else None,
            "clips": list(shard.rows.values()),
        }
        write_json(new_entry, content)
        remove(entry)
        replace(new_tar, tar)
        if has_depth:
            replace(new_depth, depth)
        else:
            remove(depth)
        replace(new_entry, entry)
    return content


class _Shard:
    """What a shard's JSON says, gathered while its clips are written."""

    def __init__(self, prefix: Path, codec: str, depth: Path):
        self.prefix, self.codec, self.depth = prefix, codec, depth
        self.rows: dict[str, dict[str, Any]] = {}
        self.recipes: list[Any] = []
        self.optional: tuple[str, ...] = ()
        self.has_depth = False

    def add(self, clip: Clip, archive: tarfile.TarFile) -> None:
        """Append a clip to the tar and its depth to the store."""
        if clip.key in self.rows:
            raise ValueError(f"{self.prefix}: clip {clip.key} comes twice; give each clip its own seed or folder")
        self._check_kinds(clip)
        row = _describe(clip)
        if clip.depth_m is not None:
            row |= write_depth(self.depth, clip.key, clip.depth_m)
        try:
            row["members"] = _add_members(clip.key, encode_clip(clip, self.codec), archive)
        except ValueError as error:
            raise ValueError(f"{self.prefix}: clip {clip.key} {error}") from None
        recipe = clip.metadata.get("recipe")
        if recipe not in self.recipes:
            self.recipes.append(recipe)
        self.rows[clip.key] = row

    def _check_kinds(self, clip: Clip) -> None:
        """All clips have a kind of field, or none has it: a reader may count on what the first clip shows."""
        optional, has_depth = optional_members(clip), clip.depth_m is not None
        if not self.rows:
            self.optional, self.has_depth = optional, has_depth
        if has_depth != self.has_depth:
            self._refuse_mixture(clip, "depth", has_depth)
        for name in sorted({*optional} ^ {*self.optional}):
            self._refuse_mixture(clip, name.split(".")[0], name in optional)

    def _refuse_mixture(self, clip: Clip, kind: str, is_there: bool) -> None:
        having, lacking = (clip.key, next(iter(self.rows))) if is_there else (next(iter(self.rows)), clip.key)
        raise ValueError(f"{self.prefix}: clip {lacking} has no {kind} while clip {having} has; pack them apart")

    def describe(self) -> dict[str, Any]:
        """Codec, optional members and recipe; raises ValueError when there was no clip."""
        if not self.rows:
            raise ValueError(f"{self.prefix}: there is no clip to pack")
        return {"codec": self.codec, "optional": list(self.optional), "recipe": common_recipe(self.recipes)}


def _add_members(key: str, members: dict[str, bytes], archive: tarfile.TarFile) -> dict[str, list[int]]:
    """Append members to the tar; returns offset, size and crc32 of each."""
    places: dict[str, list[int]] = {}
    for name, content in members.items():
        # A TarInfo made by hand has time, owner and group 0: the bytes depend on the content only.
        header = tarfile.TarInfo(f"{key}.{name}")
        header.size = len(content)
        archive.addfile(header, io.BytesIO(content))
        padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        places[name] = [archive.offset - padded, len(content), zlib.crc32(content)]
    return places


def _describe(clip: Clip) -> dict[str, Any]:
    """A clip's row of the shard's JSON, but for where its members lie."""
    num_frames, height, width = clip.video.shape[:3]
    row = {
        "key": clip.key,
        "num_frames": num_frames,
        "height": height,
        "width": width,
        "num_tracks": clip.tracks.shape[1],
        "visible_share": round(float(clip.visible.mean()), 6) if clip.visible.size else 0.0,
    }
    row |= {name: clip.metadata[name] for name in ("seed", "attempt") if isinstance(clip.metadata.get(name), int)}
    row |= {"labels": clip.metadata["labels"]} if "labels" in clip.metadata else {}
    assets = _assets_of(clip.metadata)
    return row | ({"assets": assets} if assets else {})


def _assets_of(metadata: dict[str, Any]) -> list[str]:
    """Sorted ids of the objects and the surroundings that metadata of `python -m generation` names."""
    scene, instances = metadata.get("scene"), metadata.get("instances")
    found = [scene.get("hdri")] if isinstance(scene, dict) else []
    found += [one.get("asset_id") for one in instances if isinstance(one, dict)] if isinstance(instances, list) else []
    return sorted({name for name in found if isinstance(name, str)})
