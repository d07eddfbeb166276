"""Download an archive of sequences and unpack it: resumed, checked, and put in place whole or not at all."""

import argparse
import hashlib
import json
import shutil
import stat
import sys
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from workflow.addresses import check_address
from workflow.fetch import Wanted, by_hand, check, check_growth, download_patiently

NOTE = ".archive.json"
"""Inside an unpacked folder: which archive it is from. Readers leave hidden names out."""


def fetch_folder(wanted: Wanted, marker: Path, *, attempts: int = 4, pause_seconds: float = 2.0) -> None:
    """Make the folder `wanted.path` from the archive (tar or zip) behind the url, and then the file `marker` about it.

    The folder appears whole, and the archive is deleted then. A killed download goes on where it ended, a killed
    unpacking begins again without a download. Another archive takes the place of the former. Raises ValueError with one
    line for what cannot be had, and where there is a folder that is not from here: that one is never touched.
    """
    note = wanted.path / NOTE
    about = json.dumps({"url": wanted.url, "sha256": wanted.sha256}, indent=1) + "\n"
    if wanted.path.exists() and not note.is_file():
        raise ValueError(f"{wanted.path}: was put there by hand; move it away, or remove the url in the configuration")
    if not note.is_file() or note.read_text() != about:
        of_url = hashlib.sha256(str(wanted.url).encode()).hexdigest()[:8]
        archive = wanted.path.with_name(f".{wanted.path.name}.{of_url}.archive")
        if not archive.is_file():
            download_patiently(wanted, attempts=attempts, pause_seconds=pause_seconds).replace(archive)
            archive.with_name(f".{wanted.path.name}.part.etag").unlink(missing_ok=True)
        try:
            check(wanted, archive)
            unpack(wanted, archive, about)
        except ValueError:
            archive.unlink()  # damaged: the next run downloads it again
            raise
        archive.unlink()
    temporary = marker.with_name(f".{marker.name}.tmp")
    temporary.write_text(about)
    temporary.replace(marker)


def unpack(wanted: Wanted, archive: Path, about: str) -> None:
    """Unpack a tar or zip to `wanted.path`, without the folders that only wrap the sequences.

    Raises ValueError for another kind of file, a damaged one, and one with a member that `Admission` refuses; OSError
    where the disk is too small.
    """
    folder = wanted.path
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        extract(archive, temporary)
    except (ValueError, tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        shutil.rmtree(temporary)
        reason = str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"{folder}: {wanted.url} is not the archive expected ({reason}); {by_hand(wanted)}") from None
    sequences = innermost(temporary)
    (sequences / NOTE).write_text(about)
    if folder.exists():
        shutil.rmtree(folder)
    sequences.rename(folder)
    shutil.rmtree(temporary, ignore_errors=True)


class Admission:
    """Which members of an archive may be unpacked, asked one by one: a compressed tar does not say what will come.

    Refused are names outside of the folder, links, devices, a name a second time (also in other capitals, which some
    disks cannot tell apart), and more bytes than an archive of this size has to hold or the disk can.
    """

    def __init__(self, archive: Path, folder: Path):
        self.archive, self.folder = archive, folder
        self.num_bytes = 0
        self.files: set[str] = set()

    def check(self, name: str, size: int, *, is_folder: bool, is_file: bool) -> None:
        """Raise ValueError for a member that may not be unpacked, OSError where the disk is too small for it."""
        shown = name if name.isprintable() and len(name) < 200 else repr(name[:200])
        path = PurePosixPath(name)
        is_inside = not path.is_absolute() and ".." not in path.parts and (path.parts or is_folder)
        if not is_inside or "\\" in name or not name.isprintable():
            raise ValueError(f"{shown} is no name inside of a folder")
        if not (is_folder or is_file):
            raise ValueError(f"{shown} is a link, a device or the like")
        plain = unicodedata.normalize("NFC", str(path)).casefold()
        parents = (str(parent) for parent in PurePosixPath(plain).parents)
        if plain in self.files or any(parent in self.files for parent in parents):
            raise ValueError(f"{shown} comes twice, or in other capitals")
        if is_file:
            self.files.add(plain)
        self.num_bytes += size
        check_growth(self.num_bytes, self.archive, self.folder, size)


def extract(archive: Path, folder: Path) -> None:
    """Unpack the files and folders of a tar or zip into a folder; raises what `Admission` and the two formats raise."""
    admission = Admission(archive, folder)
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():  # all are asked about before the first is unpacked
                kind = stat.S_IFMT(member.external_attr >> 16)
                is_file = not member.is_dir() and kind in (0, stat.S_IFREG)
                admission.check(member.filename, member.file_size, is_folder=member.is_dir(), is_file=is_file)
            members.extractall(folder)
    else:
        with tarfile.open(archive) as members:
            for member in _forget_members(members):
                admission.check(member.name, member.size, is_folder=member.isdir(), is_file=member.isreg())
                members.extract(member, folder, filter="data")


def _forget_members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar as they come; tarfile itself keeps all of them in memory, gigabytes for a million files."""
    while member := archive.next():
        yield member
        archive.members.clear()


def innermost(folder: Path) -> Path:
    """The folder that holds the sequences (<sequence>/frames): `folder`, or the only one inside it, and so on."""
    inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    is_wrapper = len(inside) == 1 and inside[0].is_dir() and not (inside[0] / "frames").exists()
    return innermost(inside[0]) if is_wrapper else folder


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 not to be had."""
    parser = argparse.ArgumentParser(prog="python -m workflow.archive", description=__doc__)
    parser.add_argument("--url", required=True, help="a tar (also compressed) or zip")
    parser.add_argument("--sha256", default="", help="of the archive")
    parser.add_argument("--attempts", type=int, default=4)
    parser.add_argument("--folder", type=Path, required=True, help="where the sequences go")
    parser.add_argument("--out", type=Path, required=True, help="JSON that is written last: which archive it was")
    options = parser.parse_args(arguments)
    wanted = Wanted(path=options.folder, url=options.url, sha256=options.sha256 or None, is_archive=True)
    try:
        check_address("--url", options.url)
        fetch_folder(wanted, options.out, attempts=options.attempts)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}: there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
