"""npz files of others whose members may be pickled: arrays, dictionaries and lists of arrays, torch tensors in them.

Pickles are read as shards.unpickle reads them. A tensor inside such a pickle names a storage, whose content is a file
in torch's format from before version 1.6: four pickles (a number that marks it, a version, the machine, the storage's
type and length), the storage's key, its length again, and its bytes.
"""

import io
import pickle
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from shards.torchfile import STORAGES, as_view
from shards.unpickle import Note, PickleReader, resolve_notes

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001
LARGEST = 1 << 33
"""Bytes that a member may have: keypoints of a million images fit."""


class _StorageNote(Note):
    """A storage: the bytes of its file, or where they are."""

    __slots__ = ("content",)

    def __init__(self, content: Any):
        self.content = content

    def make(self, resolve: Any) -> np.ndarray:
        content = resolve(self.content)
        if not isinstance(content, bytes):
            raise ValueError("holds a damaged tensor")
        return _read_storage(io.BytesIO(content))


class _TensorNote(Note):
    """A tensor: a view of its storage."""

    __slots__ = ("place", "storage")

    def __init__(self, storage: Any, *place: Any):
        self.storage, self.place = storage, place

    def make(self, resolve: Any) -> np.ndarray:
        if not isinstance(self.storage, _StorageNote):
            raise ValueError("holds a damaged tensor")
        return as_view(resolve(self.storage), *self.place)


class _LoadCall:
    __slots__ = ()

    def __call__(self, content: Any) -> _StorageNote:
        return _StorageNote(content)


class _RebuildCall:
    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *others: Any) -> _TensorNote:
        return _TensorNote(storage, offset, size, stride)


class _ParameterCall:
    __slots__ = ()

    def __call__(self, tensor: Any, *others: Any) -> Any:
        return tensor


class _OrderedDictCall:
    __slots__ = ()

    def __call__(self) -> dict:
        return {}


class _NpzPickleReader(PickleReader):
    stand_ins = PickleReader.stand_ins | {
        "torch.storage._load_from_bytes": _LoadCall(),
        "torch._utils._rebuild_tensor_v2": _RebuildCall(),
        "torch._utils._rebuild_parameter": _ParameterCall(),
        "collections.OrderedDict": _OrderedDictCall(),
    }


class _StorageReader(pickle._Unpickler):
    """Reads what is before a storage's bytes; `persistent_load` gives its dtype, key and length."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise ValueError(f"asks for {module}.{name} in a storage")

    def persistent_load(self, pid: Any) -> tuple[str, Any, int]:
        kind, dtype, key, _, length, *_ = pid
        if kind != "storage" or dtype not in STORAGES.values() or type(length) is not int:
            raise ValueError("holds a damaged storage")
        return dtype, key, length


def _read_storage(file: IO[bytes]) -> np.ndarray:
    magic, version, machine, (dtype, key, length), keys = (_StorageReader(file).load() for _ in range(5))
    if magic != MAGIC or version != VERSION or keys != [key]:
        raise ValueError("holds a storage of another version")
    order = "<" if machine["little_endian"] else ">"
    content = file.read()
    if len(content) != 8 + length * np.dtype(dtype).itemsize:
        raise ValueError("holds a storage that is cut short")
    values = np.frombuffer(content, np.dtype(dtype).newbyteorder(order), offset=8)
    return values.astype(dtype, copy=False)


def load_npz(path: Path, names: Iterable[str]) -> dict[str, Any]:
    """Those members of an npz that are in it, by name; a member of one object is that object, tensors are arrays.

    Arrays may be read-only. Raises ValueError that names the file for damage, and for a pickle that asks for anything
    but arrays, tensors, containers, strings and numbers; executes none of it.
    """
    wanted = {f"{name}.npy": name for name in names}
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [entry for entry in archive.infolist() if entry.filename in wanted]
            for entry in entries:
                if entry.file_size > LARGEST:
                    raise ValueError(f"{entry.filename} has {entry.file_size} bytes, too many")
            return {wanted[entry.filename]: _load_member(io.BytesIO(archive.read(entry))) for entry in entries}
    except FileNotFoundError:
        raise ValueError(f"{path}: not there") from None
    except (OSError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not an npz file, or damaged ({error})") from None
    except Exception as error:  # damaged pickles raise anything
        raise ValueError(f"{path}: cannot be read: {error}") from None


def _load_member(file: IO[bytes]) -> Any:
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    if not dtype.hasobject:
        file.seek(0)
        array = np.lib.format.read_array(file, allow_pickle=False)
    else:
        array = resolve_notes(_NpzPickleReader(file).load(), file)
        if not isinstance(array, np.ndarray) or array.shape != shape:
            raise ValueError(f"holds something else than an array {shape} of objects")
    return array.item() if array.shape == () else array
