"""Download one file: resumed, retried, checked, taken out of its zip, and put in place whole or not at all."""

import argparse
import hashlib
import shutil
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from shards.transfer import CHUNK, GivenUpError, Patience, get, shown
from workflow.addresses import check_address

MOST_TIMES = 200
"""An archive that unpacks to more times its size is refused: pictures and arrays shrink to a tenth at best."""
ALWAYS_FINE = 1 << 30
"""Bytes that any archive may unpack to."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to download and where to put it."""

    path: Path
    url: str | None
    member: str | None = None
    """File inside the zip behind the url; None when the url is the file itself."""
    sha256: str | None = None
    """Of the file at `path`, or of the archive."""
    is_archive: bool = False
    """The url is an archive, and `path` the folder that it is unpacked to."""


class GrowthError(ValueError):
    """An archive would unpack to far more than archives of its size do."""


def fetch(wanted: Wanted, *, attempts: int = 4, pause_seconds: float = 2.0) -> None:
    """Make `wanted.path`; raises ValueError with one line that says how to do it by hand."""
    if wanted.path.exists():
        check(wanted, wanted.path)
        return
    _put_in_place(wanted, download_patiently(wanted, attempts=attempts, pause_seconds=pause_seconds))


def download_patiently(wanted: Wanted, *, attempts: int, pause_seconds: float) -> Path:
    """Download what is behind `wanted.url`, with several attempts, to a hidden file beside `wanted.path`.

    Raises ValueError with one line that says how to do it by hand.
    """
    if not wanted.url:
        raise ValueError(f"{wanted.path}: missing, and no url is configured; {by_hand(wanted)}")
    wanted.path.parent.mkdir(parents=True, exist_ok=True)
    part = wanted.path.with_name(f".{wanted.path.name}.part")
    try:
        get(wanted.url, part, patience=Patience(attempts=attempts, pause_seconds=pause_seconds))
    except GivenUpError as error:
        raise ValueError(
            f"{wanted.path}: missing, and {shown(wanted.url)} could not be downloaded ({error}); {by_hand(wanted)}"
        ) from None
    return part


def _put_in_place(wanted: Wanted, part: Path) -> None:
    """Check what was downloaded and rename it; a damaged download is deleted so that the next run starts afresh."""
    whole = part
    try:
        if wanted.member:
            whole = part.with_name(f".{wanted.path.name}.tmp")
            with zipfile.ZipFile(part) as archive, archive.open(wanted.member) as inside, whole.open("wb") as file:
                check_growth(archive.getinfo(wanted.member).file_size, part, part.parent)
                shutil.copyfileobj(inside, file, CHUNK)
        check(wanted, whole)
        whole.replace(wanted.path)
    except (zipfile.BadZipFile, zlib.error, KeyError, RuntimeError, GrowthError) as error:
        raise ValueError(f"{wanted.path}: {wanted.url} is not the zip expected ({error}); {by_hand(wanted)}") from None
    finally:
        for leftover in {whole, part, part.with_name(f"{part.name}.etag")}:
            leftover.unlink(missing_ok=True)


def check_growth(num_bytes: int, archive: Path, folder: Path, size: int | None = None) -> None:
    """Hold what an archive unpacks to against its own size, and what is to be written now against the disk.

    `size` is the part of `num_bytes` that is not yet on the disk; None: all. Raises GrowthError and OSError.
    """
    most = max(MOST_TIMES * archive.stat().st_size, ALWAYS_FINE)
    if num_bytes > most:
        raise GrowthError(f"it unpacks to more than {most:,} bytes, {MOST_TIMES} times its size")
    size, free = num_bytes if size is None else size, shutil.disk_usage(folder).free
    if size > free:
        raise OSError(
            f"{folder}: {size:,} bytes do not fit on the disk ({free:,} are free); free some and run it again"
        )


def check(wanted: Wanted, path: Path) -> None:
    """Raise ValueError where a file at `path` has not the sha256 that is wanted; say its sha256 where none is."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if wanted.sha256 and found != wanted.sha256:
        raise ValueError(f"{wanted.path}: sha256 is {found}, expected {wanted.sha256}; {by_hand(wanted)}")
    if not wanted.sha256:
        print(
            f"{wanted.path}: taken as it came, no sha256 is configured; to hold later ones against it: sha256: {found}"
        )


def by_hand(wanted: Wanted) -> str:
    """What a person can do where the download does not work."""
    what = wanted.path.name
    if wanted.url:
        what = f"{wanted.member} of {wanted.url.rpartition('/')[2]}" if wanted.member else wanted.url.rpartition("/")[2]
    put = f"unpack {what} to" if wanted.is_archive else f"put {what} at"
    return f"either {put} {wanted.path} by hand, or run the same command where the network allows the download"


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 not to be had."""
    parser = argparse.ArgumentParser(prog="python -m workflow.fetch", description=__doc__)
    parser.add_argument("--url", default="", help="where it is; without one the file has to be there already")
    parser.add_argument("--member", default="", help="the file inside the zip behind the url")
    parser.add_argument("--sha256", default="", help="of the finished file")
    parser.add_argument("--attempts", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    wanted = Wanted(
        path=options.out, url=options.url or None, member=options.member or None, sha256=options.sha256 or None
    )
    try:
        if options.url:
            check_address("--url", options.url)
        fetch(wanted, attempts=options.attempts)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
