"""The local cache of what came from URLs: each file or folder once, whole and checked; the least recently used goes."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shards.files import remove

FOLDER = "data/cache"
FOLDER_VARIABLE, LIMIT_VARIABLE = "FRAMELINE_CACHE", "FRAMELINE_CACHE_GB"


@dataclass(frozen=True)
class Cache:
    """A folder of entries by name (sha256 and ending), and how many bytes they may take together.

    Processes and threads share it: an entry has a lock file, held exclusively while it is made or removed, and shared
    while it is read. The folder must be on a disk whose file locks work (flock), so on one of the machine's own.
    """

    folder: Path
    limit: int | None = None

    @property
    def entries(self) -> Path:
        """The folder of what is there, under its own name, with `.part` while it comes, with `.old` while it goes."""
        return self.folder / "shards"

    @contextmanager
    def holding(self, name: str, size: int, make: Callable[[Path, Path], None]) -> Iterator[Path]:
        """The path of the entry `name`, which stays while the block runs.

        Where it is not there `make(path, part)` makes it, in one process at a time: what was begun in `part` before
        is still there, and has the name `path` in the end. `size` is in bytes. Raises ValueError for an entry larger
        than the cache, and what `make` raises.
        """
        path = self.entries / name
        with self._open_lock(name) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            while not path.exists():
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():  # another process may have been faster
                    self._make_room(size)
                    make(path, self.entries / f"{name}.part")
                # A change of the lock is no single step: what was just made could be removed in between.
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(path)
            yield path

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` bytes fit; what is in use now stays, and may exceed."""
        if self.limit is None:
            return
        if size > self.limit:
            raise ValueError(
                f"{self.folder}: a file of {size / 1e9:.3g} GB does not fit into {self.limit / 1e9:.3g} GB; raise "
                f"{LIMIT_VARIABLE}"
            )
        found = sorted(found for path in self.entries.iterdir() if (found := _use_of(path)))
        too_many = sum(num_bytes for _, num_bytes, _ in found) + size - self.limit
        for _, num_bytes, path in found:
            if too_many <= 0:
                return
            if self._remove(path):
                too_many -= num_bytes

    def _remove(self, path: Path) -> bool:
        """Remove an entry that nobody uses; returns whether it did."""
        with self._open_lock(path.name.removesuffix(".part").removesuffix(".old")) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            aside = path.with_name(f"{path.name.removesuffix('.old')}.old")
            if path.exists() and path != aside:
                remove(aside)
                path.rename(aside)  # a folder goes in steps, and half of one must not be taken for the whole
            remove(aside)
            return True

    def _open_lock(self, name: str):
        locks = self.folder / "locks"
        for folder in (locks, self.entries):
            folder.mkdir(parents=True, exist_ok=True)
        return (locks / name).open("a")


def find_cache() -> Cache:
    """The cache that FRAMELINE_CACHE and FRAMELINE_CACHE_GB name: data/cache and no limit where they are not set."""
    text = os.environ.get(LIMIT_VARIABLE)
    try:
        limit = round(float(text) * 1e9) if text else None
        if limit is not None and limit <= 0:
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{LIMIT_VARIABLE}={text}: give a number of gigabytes, such as 200") from None
    return Cache(folder=Path(os.environ.get(FOLDER_VARIABLE) or FOLDER), limit=limit)


def _use_of(path: Path) -> tuple[float, int, Path] | None:
    """When a file or folder was used, its bytes and its path; None for what another process has just removed."""
    try:
        used = path.stat()
        inner = path.rglob("*") if path.is_dir() else [path]
        return used.st_mtime, sum(one.stat().st_size for one in inner if one.is_file()), path
    except FileNotFoundError:
        return None
