"""What readers and writers of folders share: names, numbered images, errors that name the file."""

import contextlib
import itertools
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from shards.files import appearing
from shards.members import decode_codes, decode_rgb, stack_frames

IMAGE = r"(\d+)\.(png|jpe?g)"


def clean_name(name: str) -> str:
    """A name in the grammar of keys: every other character becomes '-'."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


@contextmanager
def naming(path: Path, what: str = "") -> Iterator[None]:
    """Let every complaint about strange content name the file and be a ValueError."""
    where = f"{path}: {what}: " if what else f"{path}: "
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{where}{error}") from None
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{where}not as expected ({reason})") from None


def in_order(names: Iterable[str], start: str = "") -> list[str]:
    """Names of image files that begin with `start`, by the number in them: 999 comes before 1000."""
    numbers = _numbers(names, start)
    return sorted(numbers, key=numbers.__getitem__)


def _numbers(names: Iterable[str], start: str) -> dict[str, int]:
    matches = {name: re.fullmatch(IMAGE, name[len(start) :]) for name in names if name.startswith(start)}
    return {name: int(match[1]) for name, match in matches.items() if match}


def list_images(folder: Path, start: str = "") -> list[Path]:
    """Images of a folder in the order of their numbers; ValueError for none, one number twice, and a gap."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: the folder is not there")
    numbers = _numbers((path.name for path in folder.iterdir()), start)
    names = sorted(numbers, key=numbers.__getitem__)
    if not names:
        raise ValueError(f"{folder}: there is no frame, such as {start}000.png, in it")
    for name, after in itertools.pairwise(names):
        if numbers[after] == numbers[name]:
            raise ValueError(f"{folder}: {name} and {after} are the same frame; delete one")
        if numbers[after] != numbers[name] + 1:
            raise ValueError(f"{folder}: frame {numbers[name] + 1} is missing: {name} is followed by {after}")
    return [folder / name for name in names]


def list_sequences(path: Path, mark: str) -> list[Path]:
    """Folders that hold `mark`: those inside `path`, in order of name, or `path` itself; hidden ones are left out."""
    if not path.is_dir():
        raise ValueError(f"{path}: not a folder; give the one that holds <sequence>/{mark}")
    if (path / mark).exists():
        return [path if path.name else path.resolve()]
    folders = sorted(p for p in path.iterdir() if (p / mark).exists() and not p.name.startswith("."))
    if not folders:
        raise ValueError(f"{path}: no <sequence>/{mark} in it; give the folder that holds the sequences")
    return folders


def read_frames(paths: Sequence[Path]) -> np.ndarray:
    """RGB files as (T, H, W, 3) uint8; ValueError names the file that is damaged or has another size."""
    return _read_stack(paths, decode_rgb)


def read_codes(paths: Sequence[Path]) -> np.ndarray:
    """16-bit grey files as (T, H, W) uint16; ValueError names the file that is damaged or has another size."""
    return _read_stack(paths, decode_codes)


def _read_stack(paths: Sequence[Path], decode: Any) -> np.ndarray:
    images = []
    for path in paths:
        with naming(path):
            images.append(decode(path.read_bytes()))
    with naming(paths[0].parent if paths else Path()):
        return stack_frames(images)


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Arrays of an npz file, never unpickled; ValueError names the file, and what it lacks or where it is damaged."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays.files]
            if missing:
                raise ValueError(f"lacks {', '.join(missing)}; it holds {', '.join(arrays.files)}")
            return {name: arrays[name] for name in names}
    except FileNotFoundError:
        raise ValueError(f"{path}: not there") from None
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, AttributeError, TypeError) as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None


def refuse_occupied(out: Path) -> None:
    """ValueError when a file, or a folder with something in it, is already at `out`."""
    with contextlib.suppress(FileNotFoundError):
        if out.is_file() or (out.is_dir() and any(out.iterdir())):
            raise ValueError(f"{out}: exists and is not empty; delete it or give another --out")


@contextmanager
def new_sequence(out: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder that becomes out/name when the block ends well; ValueError when that is there already."""
    if (out / name).exists():
        raise ValueError(f"{out / name}: a sequence of that name is already there; give each clip its own key")
    with appearing(out / name) as temporary:
        temporary.mkdir()
        yield temporary
