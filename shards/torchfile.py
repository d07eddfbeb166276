"""Read and write torch's zip files (.pth, .pt) of plain tensors without torch, and without running what they ask for.

Such a file is a zip, nothing compressed: <name>/data.pkl is a pickle in which every tensor names a storage,
<name>/data/<number> is that storage's content, <name>/byteorder says little or big. As in shards.unpickle, the few
names that tensors need lead to stand-ins that check what they are given; anything else is refused.
"""

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shards.files import appearing

STORAGES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "LongStorage": "i8", "IntStorage": "i4",
    "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip
MAX_PICKLE = 1 << 20
"""Bytes of data.pkl: one with a few tensors has about a thousand."""


class _Storage:
    """The type of a storage, as the pickle names it."""

    __slots__ = ("dtype",)

    def __init__(self, dtype: str):
        self.dtype = dtype


class _Content:
    """A storage's content, 1-d."""

    __slots__ = ("values",)

    def __init__(self, values: np.ndarray):
        self.values = values


def as_view(values: np.ndarray, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """The read-only view of a storage (1-d) that a tensor is; raises ValueError unless it lies inside of it."""
    if not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise ValueError("holds a damaged tensor")
    numbers = (offset, *size, *stride)
    if len(size) != len(stride) or any(type(number) is not int or number < 0 for number in numbers):
        raise ValueError(f"holds a tensor of size {size}, stride {stride} and offset {offset}")
    if 0 in size:
        return np.empty(size, values.dtype)  # numpy refuses sizes that would overflow
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if last >= len(values) or math.prod(size) > len(values):
        raise ValueError(f"holds a tensor of size {size} that its storage of {len(values)} numbers does not hold")
    steps = [step * values.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(values[offset:], size, steps, writeable=False)


class _RebuildCall:
    """torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...)."""

    __slots__ = ()

    def __call__(self, content: Any, offset: Any, size: Any, stride: Any, *others: Any) -> np.ndarray:
        if not isinstance(content, _Content):
            raise ValueError("holds a damaged tensor")
        return as_view(content.values, offset, size, stride)


class _OrderedDictCall:
    """Every tensor carries an empty OrderedDict of hooks; a state dict is one."""

    __slots__ = ()

    def __call__(self) -> dict:
        return {}


# The Python unpickler keeps its memo in a dict: a forged index in the C one's makes it allocate gigabytes.
class _Unpickler(pickle._Unpickler):
    def __init__(self, content: bytes, archive: zipfile.ZipFile, folder: str, order: str):
        super().__init__(io.BytesIO(content))
        self.archive, self.folder, self.order = archive, folder, order

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildCall()
        if (module, name) == ("collections", "OrderedDict"):
            return _OrderedDictCall()
        raise ValueError(f"asks for {module}.{name}; only tensors, containers, strings and numbers are read")

    def persistent_load(self, pid: Any) -> _Content:
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage" or not isinstance(pid[1], _Storage):
            raise ValueError("asks for an object that is not a storage")
        dtype = np.dtype(pid[1].dtype).newbyteorder(self.order)
        content = _member(self.archive, f"{self.folder}/data/{pid[2]}")
        if type(pid[4]) is not int or len(content) != pid[4] * dtype.itemsize:
            raise ValueError(f"storage {pid[2]} has {len(content)} bytes, which are not {pid[4]} of {dtype}")
        values = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
        return _Content(values.astype(dtype.newbyteorder("="), copy=False))


def load_torch(path: Path) -> Any:
    """The content of a .pth that torch.save wrote: tensors as arrays, inside dictionaries, lists, strings and numbers.

    Arrays are read-only views. Raises ValueError that names the file for another format (the one before torch 1.6 is
    not read), for types numpy has not (bfloat16), for a damaged file, and for a pickle that asks for anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (pickled,) = [name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl")]
            folder = pickled.removesuffix("/data.pkl")
            order = "little"
            if f"{folder}/byteorder" in archive.namelist():
                order = _member(archive, f"{folder}/byteorder").decode()
            if order not in ("little", "big"):
                raise ValueError(f"byte order {order!r}")
            if archive.getinfo(pickled).file_size > MAX_PICKLE:
                raise ValueError(f"data.pkl has more than {MAX_PICKLE} bytes")
            content = _member(archive, pickled)
            return _Unpickler(content, archive, folder, "<" if order == "little" else ">").load()
    except FileNotFoundError:
        raise ValueError(f"{path}: not there") from None
    except Exception as error:  # damaged pickles raise anything
        raise ValueError(f"{path}: refused or damaged torch file: {str(error) or type(error).__name__}") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """A member, checked by the zip's crc32; one that is compressed is not torch's, and could be a bomb."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed, which torch never does")
    return archive.read(info)


def save_torch(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a dictionary of arrays as a .pth that torch.load(path, weights_only=True) reads as tensors.

    Equal arrays give equal bytes. Raises ValueError for a type that torch's storages have not.
    """
    names = {np.dtype(dtype): storage for storage, dtype in STORAGES.items()}
    arrays = {}
    for name, value in tensors.items():
        if value.dtype not in names:
            raise ValueError(f"{path}: {name} is of {value.dtype}; torch's plain storages have {', '.join(STORAGES)}")
        arrays[name] = np.asarray(value, order="C")
    parts = [b"\x80\x02}("]  # protocol 2, a dictionary, a mark
    for key, (name, array) in enumerate(arrays.items()):
        parts += [_text(name), _tensor(str(key), array, names[array.dtype])]
    parts.append(b"u.")  # set all items, stop
    members = {"data.pkl": b"".join(parts), "byteorder": b"little", "version": b"3\n"}
    members |= {f"data/{key}": array.tobytes() for key, array in enumerate(arrays.values())}
    with appearing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(f"archive/{name}"), content)


def _tensor(key: str, array: np.ndarray, storage: str) -> bytes:
    """_rebuild_tensor_v2(('storage', type, key, 'cpu', size), 0, shape, strides, False, OrderedDict())"""
    strides = tuple(step // array.itemsize for step in array.strides)
    place = b"(" + _text("storage") + f"ctorch\n{storage}\n".encode() + _text(key) + _text("cpu") + _integer(array.size)
    arguments = b"(" + place + b"tQ" + _integer(0) + _integers(array.shape) + _integers(strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + arguments + b"\x89ccollections\nOrderedDict\n)RtR"


def _text(text: str) -> bytes:
    encoded = text.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def _integer(number: int) -> bytes:
    encoded = number.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def _integers(numbers: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(_integer, numbers)) + b"t"
