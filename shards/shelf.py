"""Where the shards of an index stand: beside it on the disk, or behind a URL, from where they are fetched once."""

import collections
import errno
import hashlib
import json
import os
import posixpath
import re
import tempfile
import urllib.parse
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shards.cache import FOLDER_VARIABLE, LIMIT_VARIABLE, find_cache
from shards.clip import KEY
from shards.files import remove, sha256_of, write_bytes, write_text
from shards.transfer import GivenUpError, get, is_url, shown

ORIGIN_FORMAT = "frameline-origin/1"
SHA256 = re.compile(r"[0-9a-f]{64}")
NUM_CONNECTIONS = 8
"""At a time, for the many small files of a depth store."""
LARGEST_INDEX = 4 << 30
TRY_AGAIN = "see to that, and run the same command again: what came is kept"


class NotFetchedError(ValueError):
    """A file behind a URL could not be had, which says nothing against the clips in it."""


@dataclass(frozen=True)
class Shelf:
    """An index.json on the disk, and the URL that it is a copy of, if it is one: its shards are beside that."""

    path: Path
    url: str | None = None

    @property
    def name(self) -> str:
        """What messages and commands call the index."""
        return self.url or str(self.path)

    def tar(self, shard: dict[str, Any]) -> AbstractContextManager[Path]:
        """A path at which the tar of an index's entry can be read in the block; one behind a URL is fetched first.

        Size and sha256 of what is fetched are held against the entry. Raises NotFetchedError where it cannot be had.
        """
        if self.url is None:
            return nullcontext(self.path.parent / shard["tar"])
        sha256 = _digest(shard["sha256"], self.name)
        make = partial(_fetch_tar, self._beside(shard["tar"]), shard["bytes"], sha256)
        return find_cache().holding(f"{sha256}.tar", shard["bytes"], make)

    def depth(self, shard: dict[str, Any]) -> AbstractContextManager[Path]:
        """The same for the depth store of an entry that has one."""
        if self.url is None:
            return nullcontext(self.path.parent / shard["depth"])
        sha256 = _digest(shard["depth_sha256"], self.name)
        keys = [row["key"] for row in shard["clips"]]
        for key in keys:  # they become names of files
            if not isinstance(key, str) or not KEY.fullmatch(key):
                raise ValueError(f"{self.name}: {key!r} is no key of a clip; it is not an index of ours")
        make = partial(_fetch_depth, self._beside(shard["depth"]), depth_files(keys), shard["depth_bytes"], sha256)
        return find_cache().holding(f"{sha256}.zarr", shard["depth_bytes"], make)

    def fetch(self, shard: dict[str, Any], *, with_depth: bool = False) -> None:
        """Bring the files of an entry into the cache, if they are behind a URL."""
        with self.tar(shard):
            pass
        if with_depth and shard["depth"]:
            with self.depth(shard):
                pass

    def remedy(self, it: str, path: Path) -> str:
        """How to get a damaged tar again; `it` is what the sentence calls it."""
        again = f"run `snakemake {path}`" if self.url is None else "read it again: it is fetched anew"
        return f"delete {it} and {again}"

    def _beside(self, relative: str) -> str:
        """The URL of a file that the index names by a path relative to itself."""
        start, rest = self.url.split("://", 1)
        quoted = urllib.parse.quote(relative) if start in ("http", "https") else relative
        joined = posixpath.normpath(posixpath.join(posixpath.dirname(rest), quoted))
        if joined.split("/")[0] != rest.split("/")[0]:
            raise ValueError(f"{self.name}: its shard {relative!r} lies elsewhere; it is not an index of ours")
        return f"{start}://{joined}"


def find_shelf(location: str | Path) -> Shelf:
    """The shelf of an index: a path as it is, a URL after the index was copied into the cache.

    `#sha256=...` behind a URL pins the index. Raises ValueError for a URL that cannot be read, for another index than
    the pinned one, and for a copy that was changed.
    """
    if is_url(location):
        return _copy_index(location, None)
    path = Path(location)
    note = _note_of(path)
    if not note.is_file():
        return Shelf(path)
    try:
        origin = json.loads(note.read_bytes())
    except ValueError:
        origin = None
    if not isinstance(origin, dict) or origin.get("format") != ORIGIN_FORMAT or not is_url(origin.get("url")):
        raise ValueError(f"{note}: does not say where {path.name} came from; delete both and link it again")
    if not path.is_file() or sha256_of(path) != origin.get("sha256"):
        raise ValueError(f"{path}: is not what was copied from {shown(origin['url'])}; delete {note} if it is your own")
    return Shelf(path, origin["url"])


def link_index(url: str, out: Path) -> Shelf:
    """Copy an index from a URL to `out`, to be used like one whose shards are there: they are fetched when needed."""
    if not is_url(url):
        raise ValueError(f"{url}: not a URL; give one such as s3://bucket/shards/NAME/index.json")
    if out.is_file() and not _note_of(out).is_file():
        raise ValueError(f"{out}: is there, and not a link; name another file with --out")
    return _copy_index(url, out)


def depth_files(keys: Iterable[str]) -> list[str]:
    """The files of a depth store of these clips, as `shards.depth` writes them: HTTP has no lists of folders."""
    return ["zarr.json", *(f"{key}/{name}" for key in keys for name in ("zarr.json", "c/0/0/0"))]


def _copy_index(url: str, out: Path | None) -> Shelf:
    """Fetch an index to `out`, by default to a place in the cache of its own for each content."""
    url, pin = _split_pin(url)
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "index.json"
        _get(url, part, at_most=LARGEST_INDEX)
        content = part.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if pin is not None and digest != pin:
        raise ValueError(f"{url}: sha256 is {digest}, pinned is {pin}; it was replaced, ask who publishes it")
    place = hashlib.sha256(f"{url} {digest}".encode()).hexdigest()[:16]
    path = out or find_cache().folder / "indexes" / place / "index.json"
    if out is not None:
        path.unlink(missing_ok=True)  # an old copy must not be read with the new note
    if not path.is_file():
        origin = {"format": ORIGIN_FORMAT, "url": url, "sha256": digest}
        write_text(_note_of(path), json.dumps(origin) + "\n")  # first: the copy alone would pass for a local index
        write_bytes(path, content)
    return Shelf(path, url)


def _split_pin(url: str) -> tuple[str, str | None]:
    """A URL without its fragment, and the sha256 that the fragment says."""
    whole, hash_sign, fragment = url.partition("#")
    if urllib.parse.urlsplit(whole).username is not None or "?" in whole or "::" in whole:
        raise ValueError(
            f"{shown(whole)}: give the URL without user, password, query and '::'; see docs on remote data"
        )
    pin = fragment.removeprefix("sha256=") if hash_sign else None
    if pin is not None and not SHA256.fullmatch(pin):
        raise ValueError(f"{shown(whole)}: behind '#' belongs sha256= and 64 hexadecimal digits")
    return whole, pin


def _note_of(index: Path) -> Path:
    return index.with_name(f"{index.name}.origin")


def _digest(text: Any, where: str) -> str:
    """A sha256 of an index, which becomes the name of a file."""
    if not isinstance(text, str) or not SHA256.fullmatch(text):
        raise ValueError(f"{where}: {text!r} is no sha256; write the index again (python -m shards index)")
    return text


def _fetch_tar(url: str, size: int, sha256: str, path: Path, part: Path) -> None:
    _get(url, part, size=size, sha256=sha256)
    with part.open("rb") as file:
        os.fsync(file.fileno())  # it is not checked as a whole again
    part.rename(path)


def _fetch_depth(url: str, files: Iterable[str], size: int, sha256: str, path: Path, part: Path) -> None:
    """Fetch the files of a store that are not in `part` yet, and check the whole."""
    store = part / "store"

    def fetch_file(number_and_name: tuple[int, str]) -> None:
        number, name = number_and_name
        if not (store / name).is_file():
            (store / name).parent.mkdir(parents=True, exist_ok=True)
            _get(f"{url}/{name}", part / f"{number}.part", at_most=size)
            (part / f"{number}.part").rename(store / name)

    store.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(NUM_CONNECTIONS) as pool:
        collections.deque(pool.map(fetch_file, enumerate(files)), maxlen=0)  # raises what a file raised
    found = sha256_of(store)
    if found != sha256:
        remove(part)
        raise NotFetchedError(f"{url}: sha256 of the store is {found}, the index says {sha256}; {TRY_AGAIN}")
    store.rename(path)
    remove(part)


def _get(url: str, part: Path, **known: Any) -> None:
    """Download with patience; raises ValueError that says what happened and what to do."""
    try:
        get(url, part, **known)
    except GivenUpError as error:
        raise NotFetchedError(f"{url}: could not be fetched ({error}); {TRY_AGAIN}") from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise NotFetchedError(
            f"{part}: no space left for {url}; set {LIMIT_VARIABLE} to what may be used, or {FOLDER_VARIABLE} to a "
            "folder on a larger disk"
        ) from None
