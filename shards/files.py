"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it takes the place of `path` (file or folder).

    On an error the temporary goes and what was at `path` stays. A full disk is a ValueError that says so.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        replace(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(f"{path}: no space left on the device; free some and run the same command again") from None
        raise
    finally:
        remove(temporary)


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder over an old one; a folder's old content goes only after it was moved aside."""
    if target.is_dir():
        aside = target.with_name(f".{target.name}.{os.getpid()}.old")
        target.rename(aside)
        source.rename(target)
        remove(aside)
    else:
        source.replace(target)


def remove(path: Path) -> None:
    """Delete a file or folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """sha256 of a file, or of a folder's relative file names and contents in sorted order."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{sha256_of(inner)}\n".encode())
    return digest.hexdigest()
