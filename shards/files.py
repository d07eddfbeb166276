"""Files and folders that appear whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`; it is deleted in the end if it is still there.

    What killed processes of this machine left for the same `path` goes first. A full disk is a ValueError that says so.
    """
    path = Path(path)
    temporary = _own_name(path, "tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        yield temporary
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ValueError(f"{path}: no space left on the device; free some and run the same command again") from None
        raise
    finally:
        remove(temporary)


@contextlib.contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of `path` when the block ends well; on an error the old one stays."""
    with beside(path) as temporary:
        yield temporary
        replace(temporary, Path(path))


def write_bytes(path: Path, content: bytes) -> Path:
    """Write a file that appears whole or not at all, on the disk before it has its name; makes missing folders."""
    path = Path(path)
    with appearing(path) as temporary, temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return path


def write_text(path: Path, content: str) -> Path:
    """Write UTF-8 text that appears whole or not at all."""
    return write_bytes(path, content.encode())


def replace(source: Path, target: Path) -> None:
    """Rename a file or folder over an old one; a folder's old content goes only after it was moved aside."""
    if target.is_dir():
        aside = _own_name(target, "old")
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


def _own_name(path: Path, kind: str) -> Path:
    """A hidden name in the folder of `path` that tells machine and process."""
    return path.with_name(f".{path.name}.{_host()}.{os.getpid()}.{kind}")


def _host() -> str:
    return socket.gethostname().replace(".", "-")


def _remove_leftovers(path: Path) -> None:
    for leftover in path.parent.glob(f".{path.name}.{_host()}.*.*"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and not _is_running(int(pid)):
            remove(leftover)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
