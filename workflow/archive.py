"""Download an archive of sequences and unpack it: resumed, checked, and put in place whole or not at all."""

import argparse
import hashlib
import json
import shutil
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

from workflow.fetch import Wanted, by_hand, check, download_patiently

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

    Raises ValueError for another kind of file, a damaged one, and one that would write outside of the folder.
    """
    folder = wanted.path
    temporary = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as members:
                members.extractall(temporary)
        else:
            with tarfile.open(archive) as members:
                members.extractall(temporary, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        reason = str(error).splitlines()[0].rstrip(":")
        raise ValueError(f"{folder}: {wanted.url} is not the archive expected ({reason}); {by_hand(wanted)}") from None
    sequences = innermost(temporary)
    (sequences / NOTE).write_text(about)
    if folder.exists():
        shutil.rmtree(folder)
    sequences.rename(folder)
    shutil.rmtree(temporary, ignore_errors=True)


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
        fetch_folder(wanted, options.out, attempts=options.attempts)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.folder}: there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
