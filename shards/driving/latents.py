"""What a world model's frozen networks say of every frame of a shard: a zarr v3 store, and a JSON that says of what.

Legend: T frames of a clip, C h w channels and cells of a latent, D width of a token.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec

from shards.files import beside, remove, replace, sha256_of
from shards.index import read_json, write_json
from shards.store import ClipStore

LATENTS_FORMAT = "frameline-latents/1"
DTYPES = ("float16", "float32")
MOMENTS, TOKEN = "moments", "token"
"""Arrays of a clip: (T, 2, C, h, w), mean and logarithm of the variance, and (T, D)."""
FIELDS = {
    "shard", "shard_sha256", "height", "width", "encoders_sha256", "dtype", "latent", "token", "bytes", "sha256",
    "clips",
}  # fmt: skip
COMMAND = "python -m trainer.encode_latents"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What latents are of: a shard's name and the sha256 of its tar, the size to which frames were fitted, pixels, and
    the sha256 of the networks' weights (`trainer.models.vista.encoders`)."""

    shard: str
    shard_sha256: str
    height: int
    width: int
    encoders_sha256: str


def write_latents(
    folder: Path, origin: Origin, clips: Iterable[tuple[str, np.ndarray, np.ndarray]], dtype: str = "float16"
) -> dict[str, Any]:
    """Write FOLDER/<shard>.zarr and .json of clips: keys, moments (T, 2, C, h, w), tokens (T, D).

    Returns the JSON's content. One clip is in memory at a time. The JSON, which alone makes latents complete, goes
    first and comes last; equal latents give equal bytes. Raises ValueError for no clips, for clips of several shapes,
    for values that are not finite in that dtype, and for a full disk.
    """
    if dtype not in DTYPES:
        raise ValueError(f"latents of {dtype}: use {' or '.join(DTYPES)}")
    store, entry = (Path(folder) / f"{origin.shard}.{kind}" for kind in ("zarr", "json"))
    rows: list[dict[str, Any]] = []
    shapes: set[tuple[tuple[int, ...], ...]] = set()
    with contextlib.ExitStack() as stack:
        new_store, new_entry = (stack.enter_context(beside(path)) for path in (store, entry))
        for key, moments, token in clips:
            arrays = {MOMENTS: _as_dtype(moments, dtype, key), TOKEN: _as_dtype(token, dtype, key)}
            shapes.add(tuple(array.shape[1:] for array in arrays.values()))
            if len(shapes) > 1 or moments.ndim != 5 or moments.shape[1] != 2 or token.shape[:1] != moments.shape[:1]:
                raise ValueError(f"{store}: clip {key} has moments {moments.shape} and tokens {token.shape}")
            for name, array in arrays.items():
                _write_array(new_store, f"{key}/{name}", array)
            rows.append({"key": key, "num_frames": len(moments)})
        if not rows:
            raise ValueError(f"{store}: there is no clip to encode")
        (latent, token_shape) = shapes.pop()
        content = {
            "format": LATENTS_FORMAT,
            **asdict(origin),
            "dtype": dtype,
            "latent": list(latent[1:]),
            "token": token_shape[0],
            "bytes": sum(path.stat().st_size for path in new_store.rglob("*") if path.is_file()),
            "sha256": sha256_of(new_store),
            "clips": rows,
        }
        write_json(new_entry, content)
        remove(entry)
        replace(new_store, store)
        replace(new_entry, entry)
    return content


def read_entry(path: Path) -> dict[str, Any]:
    """The JSON of a shard's latents; ValueError that names the file and what is wrong with it."""
    if not path.is_file():
        raise ValueError(
            f"{path}: latents are missing; encode them ({COMMAND} --help), or train without data.driving.latents"
        )
    content = read_json(path, LATENTS_FORMAT)
    if not content.keys() >= FIELDS or not isinstance(content["clips"], list):
        raise ValueError(f"{path}: lacks fields of latents; delete it and encode again ({COMMAND})")
    return content


class LatentStore:
    """The latents of all clips of an index, FOLDER/<data set>/<shard>.json and .zarr, of frames of one size (H, W),
    pixels; None: of any.

    `encoders_sha256`, `dtype`, `latent` (C, h, w) and `token` (D) are those of all shards, `sha256` is of all that
    their JSONs say. Raises ValueError for latents that are missing, that are of other shards, of another size, or of
    several networks. It holds no open file, and may be handed to other processes.
    """

    def __init__(self, folder: str | Path, store: ClipStore, size: tuple[int, int] | None = None):
        self.folder, self.index = Path(folder) / store.dataset, store.name
        digest, kinds = hashlib.sha256(), set()
        self._rows: dict[str, tuple[str, dict[str, Any]]] = {}
        for shard in store.shards:
            path = self.folder / f"{shard['name']}.json"
            entry = read_entry(path)
            self._check(path, entry, shard, size)
            digest.update(path.read_bytes())
            kinds.add((entry["encoders_sha256"], entry["dtype"], *entry["latent"], entry["token"]))
            self._rows |= {row["key"]: (shard["name"], row) for row in entry["clips"]}
        if len(kinds) > 1:
            raise ValueError(f"{self.folder}: its shards were encoded by several networks; delete it and encode again")
        self.encoders_sha256, self.dtype, *self.latent, self.token = kinds.pop()
        self.sha256 = digest.hexdigest()

    def _check(self, path: Path, entry: dict[str, Any], shard: dict[str, Any], size: tuple[int, int] | None) -> None:
        if entry["shard_sha256"] != shard["sha256"]:
            raise ValueError(f"{path}: latents of another {shard['name']} than that of {self.index}; encode it again")
        if size and (entry["height"], entry["width"]) != size:
            raise ValueError(
                f"{path}: latents of frames of {entry['height']}x{entry['width']}, asked for are {size[0]}x{size[1]}; "
                "name another folder, and encode into it"
            )
        found = [(row["key"], row["num_frames"]) for row in entry["clips"]]
        if found != [(row["key"], row["num_frames"]) for row in shard["clips"]] or entry["dtype"] not in DTYPES:
            raise ValueError(f"{path}: has other clips than {shard['name']} of {self.index}; encode it again")

    def read(self, key: str, frames: slice) -> tuple[np.ndarray, np.ndarray]:
        """Moments (T, 2, C, h, w) of some frames of a clip, and the token (D,) of the first of them.

        Raises ValueError for a clip or store that cannot be read, and for frames that are not there.
        """
        name, row = self._rows[key]
        store = self.folder / f"{name}.zarr"
        chosen = range(row["num_frames"])[frames]
        if not chosen or chosen.step < 1:
            raise ValueError(f"{store}: {frames} chooses no frames of clip {key}, which has 0..{row['num_frames'] - 1}")
        where = slice(chosen.start, chosen.stop, chosen.step)
        try:
            moments = self._open(store, f"{key}/{MOMENTS}", (row["num_frames"], 2, *self.latent))[where]
            token = self._open(store, f"{key}/{TOKEN}", (row["num_frames"], self.token))[chosen.start]
        except (KeyError, TypeError, OSError, ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"{store}: latents of clip {key} cannot be read ({reason}); delete {name}.json beside it "
                "and encode again"
            ) from None
        return moments, token

    def _open(self, store: Path, name: str, shape: tuple[int, ...]) -> Any:
        array = zarr.open_array(str(store), path=name, mode="r")
        if (array.shape, str(array.dtype)) != (shape, self.dtype):
            raise ValueError(f"{name} is {array.dtype} {array.shape}, its JSON says {self.dtype} {shape}")
        if not _chunk_file(store / name, array.ndim).is_file():  # zarr would fill in zeros, without a word
            raise ValueError("its chunk file is missing")
        return array

    def find_problems(self) -> Iterator[str]:
        """One line for each store that is not what its JSON says: missing, or with another sha256."""
        for name in dict.fromkeys(shard for shard, _ in self._rows.values()):
            store, entry = self.folder / f"{name}.zarr", read_entry(self.folder / f"{name}.json")
            if not store.is_dir() or sha256_of(store) != entry["sha256"]:
                what = "sha256 differs" if store.is_dir() else "missing"
                yield f"{store}: {what}; delete {name}.json beside it and encode again ({COMMAND})"


def _write_array(store: Path, name: str, array: np.ndarray) -> None:
    """Frame chunks, each with a crc32c as in `shards.depth`, one zarr shard file an array."""
    written = zarr.create_array(
        str(store),
        name=name,
        shape=array.shape,
        dtype=array.dtype,
        chunks=(1, *array.shape[1:]),
        shards=array.shape,
        compressors=[
            BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=array.itemsize),
            Crc32cCodec(),
        ],
        config={"write_empty_chunks": True},
    )
    written[:] = array


def _as_dtype(array: np.ndarray, dtype: str, key: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if not np.isfinite(converted).all():
        raise ValueError(
            f"clip {key}: a latent is not finite as {dtype}; check the weights, or encode with --dtype float32"
        )
    return converted


def _chunk_file(array: Path, ndim: int) -> Path:
    return array.joinpath("c", *["0"] * ndim)
