"""Read pickles of others without running their code: arrays, containers, strings, bytes and numbers only.

A pickle asks for functions by name and calls them. Here the few names that plain arrays need lead to stand-ins that
only take notes; the arrays are made afterwards from checked notes. numpy's own hooks are never handed a stranger's
state: a forged dtype could make it take bytes of the file for pointers. Long byte strings stay in the file until they
are wanted, so that a file of gigabytes is read one video at a time.
"""

import math
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np

DTYPE = re.compile(r"[biufcSU]\d{1,9}|O8?|\?")
"""Kinds of plain arrays. Structured ones (V) are not among them."""
LONG_BYTES = 4096
"""Longer byte strings are left in the file."""
PLAIN = (bool, int, float, complex, str, bytes, bytearray, type(None))


class _Later(NamedTuple):
    """Bytes that are still in the file. A tuple: a pickle cannot change where it leads."""

    offset: int
    length: int


class _Dtype:
    """Notes of a dtype: its code, and the byte order that its state gives."""

    __slots__ = ("code", "order")

    def __init__(self, code: str):
        if not isinstance(code, str) or not DTYPE.fullmatch(code.lstrip("<>|=")):
            raise ValueError(f"holds an array of type {code!r}; only numbers, booleans and text are read")
        self.code, self.order = code.lstrip("<>|="), code[0] if code[0] in "<>" else "="

    def __setstate__(self, state: tuple) -> None:
        _, order, *structure = state
        if order not in ("<", ">", "|", "=") or structure[:3] != [None, None, None]:
            raise ValueError("holds a structured array; only numbers, booleans and text are read")
        self.order = "=" if order == "|" else order

    def make(self) -> np.dtype:
        return np.dtype(self.code).newbyteorder(self.order)


class Note:
    """What is taken down of an object in a pickle; it is made when all of the pickle is read."""

    __slots__ = ()

    def make(self, resolve: Any) -> Any:
        """The object; `resolve` does the same for what is inside of it. Raises ValueError where it is damaged."""
        raise NotImplementedError


class _Array(Note):
    """Notes of an array: shape, dtype, order and content."""

    __slots__ = ("content", "dtype", "is_fortran", "is_scalar", "shape")

    def __init__(self, shape: Any = None, dtype: Any = None, is_fortran: Any = False, content: Any = None):
        self.shape, self.dtype, self.is_fortran, self.content = shape, dtype, is_fortran, content
        self.is_scalar = False

    def __setstate__(self, state: tuple) -> None:
        self.shape, self.dtype, self.is_fortran, self.content = state[-4:]

    def make(self, resolve: Any) -> Any:
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.shape, tuple):
            raise ValueError("holds a damaged array")
        if any(type(length) is not int or length < 0 for length in self.shape):
            raise ValueError(f"holds an array of shape {self.shape}")
        dtype, size, order = self.dtype.make(), math.prod(self.shape), "F" if self.is_fortran else "C"
        if dtype.hasobject:
            if not isinstance(self.content, list) or len(self.content) != size:
                raise ValueError("holds a damaged array of objects")
            flat = np.empty(size, object)
            for place, value in enumerate(self.content):
                flat[place] = resolve(value)
        else:
            content = resolve(self.content)
            if not isinstance(content, bytes | bytearray) or len(content) != size * dtype.itemsize:
                raise ValueError(f"holds an array {self.shape} of {dtype} whose bytes do not fit it")
            flat = np.frombuffer(content, dtype) if len(content) else np.empty(size, dtype)
        array = flat.reshape(self.shape, order=order)
        return array[()] if self.is_scalar else array


class _DtypeCall:
    __slots__ = ()  # nothing of a stand-in can be set from a pickle

    def __call__(self, code: str, align: Any = False, copy: Any = True) -> _Dtype:
        return _Dtype(code)


class _ReconstructCall:
    __slots__ = ()

    def __call__(self, *arguments: Any) -> _Array:
        return _Array()


class _FromBufferCall:
    __slots__ = ()

    def __call__(self, content: Any, dtype: Any, shape: Any, order: Any) -> _Array:
        return _Array(shape, dtype, order == "F", content)


class _ScalarCall:
    __slots__ = ()

    def __call__(self, dtype: Any, content: Any) -> _Array:
        array = _Array((), dtype, False, content)
        array.is_scalar = True
        return array


class _EncodeCall:
    """Pickle protocol 2 writes bytes as encode(text, "latin1")."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if not isinstance(text, str) or encoding != "latin1":
            raise ValueError("holds damaged bytes")
        return text.encode("latin1")


class _EmptyBytesCall:
    """Pickle protocol 2 writes empty bytes as bytes()."""

    __slots__ = ()

    def __call__(self) -> bytes:
        return b""


STAND_INS: dict[str, Any] = {
    "numpy.ndarray": "numpy.ndarray",  # only ever an argument of _reconstruct
    "numpy.dtype": _DtypeCall(),
    "numpy.core.multiarray._reconstruct": _ReconstructCall(),
    "numpy.core.multiarray.scalar": _ScalarCall(),
    "numpy.core.numeric._frombuffer": _FromBufferCall(),
    "_codecs.encode": _EncodeCall(),
    "builtins.bytes": _EmptyBytesCall(),
    "__builtin__.bytes": _EmptyBytesCall(),
}


class PickleReader(pickle._Unpickler):
    """Python's own unpickler in Python (as joblib uses it): its table of operations can be changed.

    Frames are a promise of how much to read at once. Without them every byte has its place in the file. `load` gives
    notes, and `resolve_notes` what they describe.
    """

    stand_ins: ClassVar[dict[str, Any]] = STAND_INS

    def __init__(self, file: IO[bytes]):
        super().__init__(file)
        self.file = file
        place = file.tell()
        self.end = file.seek(0, 2)
        file.seek(place)

    def find_class(self, module: str, name: str) -> Any:
        asked = f"{module}.{name}"
        # numpy._core is the name that numpy 2 writes for numpy.core.
        stand_in = self.stand_ins.get(asked.replace("numpy._core.", "numpy.core.", 1))
        if stand_in is None:
            raise ValueError(f"asks for {asked}; only arrays, containers, strings, bytes and numbers are read")
        return stand_in

    def persistent_load(self, pid: Any) -> Any:
        raise ValueError("asks for an object outside the file")

    def _ignore_frame(self) -> None:
        self.read(8)

    def _take_bytes(self, width: int, kind: type) -> None:
        length = int.from_bytes(self.read(width), "little")
        place = self.file.tell()
        if length > self.end - place:
            raise ValueError(f"is cut short: {length} bytes are announced, {self.end - place} are left")
        if length > LONG_BYTES:
            self.file.seek(length, 1)
            self.append(_Later(place, length))
        else:
            self.append(kind(self.read(length)))

    dispatch: ClassVar = {
        **pickle._Unpickler.dispatch,
        pickle.FRAME[0]: _ignore_frame,
        pickle.BINBYTES[0]: lambda self: self._take_bytes(4, bytes),
        pickle.BINBYTES8[0]: lambda self: self._take_bytes(8, bytes),
        pickle.BYTEARRAY8[0]: lambda self: self._take_bytes(8, bytearray),
    }


class _Resolver:
    """Replaces the notes inside lists, tuples and dictionaries by what they describe."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.made: dict[int, Any] = {}
        self.open: set[int] = set()

    def __call__(self, value: Any) -> Any:
        if type(value) in PLAIN:
            return value
        if not isinstance(value, _Later | Note | _Dtype | dict | list | tuple):
            raise ValueError(f"holds a {type(value).__name__}; only arrays, containers, strings, bytes and numbers do")
        if id(value) in self.open:
            raise ValueError("holds a container inside itself")
        if id(value) not in self.made:
            self.open.add(id(value))
            self.made[id(value)] = self._make(value)
            self.open.discard(id(value))
        return self.made[id(value)]

    def _make(self, value: Any) -> Any:
        if isinstance(value, _Later):
            self.file.seek(value.offset)
            return self.file.read(value.length)
        if isinstance(value, Note):
            return value.make(self)
        if isinstance(value, _Dtype):
            return value.make()
        if isinstance(value, dict):
            return {check_key(key): self(inner) for key, inner in value.items()}
        return type(value)(self(inner) for inner in value)


def resolve_notes(content: Any, file: IO[bytes]) -> Any:
    """What a PickleReader's notes describe; raises ValueError for what is damaged or of another kind."""
    return _Resolver(file)(content)


def check_key(key: Any) -> Any:
    """A key of a dictionary as it is; raises ValueError unless it is plain."""
    if type(key) not in PLAIN:
        raise ValueError(f"holds a dictionary with a key of type {type(key).__name__}")
    return key


def load_pickle(path: Path) -> Any:
    """The content of a pickle file; raises ValueError for anything but plain data, and executes none of it.

    Arrays come back read-only: they are views of the bytes that were read.
    """
    with Path(path).open("rb") as file:
        return _load(file, path)


def iterate_pickle(path: Path) -> Iterator[tuple[Any, Any]]:
    """The (key, value) of a pickled dictionary or (number, value) of a list; one value at a time is in memory.

    Otherwise as `load_pickle`. What is wrong with a value is found when it comes; raises ValueError at once for another
    kind of content.
    """
    with Path(path).open("rb") as file:
        try:
            content = PickleReader(file).load()
            if not isinstance(content, dict | list):
                _Resolver(file)(content)
        except Exception as error:  # damaged pickles raise anything
            raise _refusal(path, error) from None
        if not isinstance(content, dict | list):
            raise ValueError(f"{path}: expected a dictionary or list, got one value ({type(content).__name__})")
        items = content.items() if isinstance(content, dict) else enumerate(content)
        for key, value in items:
            try:
                item = check_key(key), _Resolver(file)(value)
            except Exception as error:
                raise _refusal(path, error) from None
            yield item
            del item  # or two of them would be in memory while the next is made


def load_npy_object(path: Path) -> Any:
    """The single object inside an npy file (as `np.save(path, {...})` writes it), read as `load_pickle` reads."""
    with Path(path).open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            is_first = version == (1, 0)
            read_header = np.lib.format.read_array_header_1_0 if is_first else np.lib.format.read_array_header_2_0
            shape, _, dtype = read_header(file)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path}: not an npy file ({error})") from None
        if shape != () or not dtype.hasobject:
            raise ValueError(f"{path}: holds an array {shape} of {dtype}, expected one pickled dictionary")
        content = _load(file, path)
    return content.item() if isinstance(content, np.ndarray) and content.shape == () else content


def _load(file: IO[bytes], path: Path) -> Any:
    try:
        return _Resolver(file)(PickleReader(file).load())
    except Exception as error:  # damaged pickles raise anything
        raise _refusal(path, error) from None


def _refusal(path: Path, error: Exception) -> ValueError:
    return ValueError(f"{path}: refused or damaged pickle: {error}")
