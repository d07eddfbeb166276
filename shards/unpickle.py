"""Read pickles of others without running their code: arrays, containers, strings, bytes and numbers only."""

import pickle
from pathlib import Path
from typing import IO, Any

import numpy as np

ADMITTED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),  # protocol 2 writes bytes as encode(text, "latin1")
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise ValueError(f"asks for {module}.{name}; only arrays, containers, strings, bytes and numbers are read")
        # numpy.core is the old name of numpy._core; asking for it would warn.
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def load_pickle(path: Path) -> Any:
    """The content of a pickle file; raises ValueError for anything but plain data, and executes none of it."""
    with Path(path).open("rb") as file:
        return _load(file, path)


def load_npy_object(path: Path) -> Any:
    """The single object inside an npy file (as `np.save(path, {...})` writes it), read as `load_pickle` reads."""
    with Path(path).open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = (
                np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            )
            shape, _, dtype = read_header(file)
        except ValueError as error:
            raise ValueError(f"{path}: not an npy file ({error})") from None
        if shape != () or not dtype.hasobject:
            raise ValueError(f"{path}: holds an array {shape} of {dtype}, expected one pickled dictionary")
        content = _load(file, path)
    return content.item() if isinstance(content, np.ndarray) else content


def _load(file: IO[bytes], path: Path) -> Any:
    try:
        return _Unpickler(file).load()
    except Exception as error:  # damaged pickles raise anything
        raise ValueError(f"{path}: refused or damaged pickle: {error}") from None
