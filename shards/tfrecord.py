"""TFRecord files and tf.train.Example messages without TensorFlow.

A record is its length (u64), a masked crc32c of those 8 bytes, the data, and a masked crc32c of the data, all little
endian. An Example is a protobuf map from names to lists of bytes, float32 or int64. Sizes are held against what the
file has before anything is allocated.
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

import google_crc32c
import numpy as np

Feature = list[bytes] | np.ndarray
"""bytes, or a 1-d array of float32 or int64"""
MASK_DELTA = 0xA282EAD8
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
BYTES_LIST, FLOAT_LIST, INT64_LIST = 1, 2, 3
KINDS = {BYTES_LIST: "bytes", FLOAT_LIST: "floats", INT64_LIST: "integers"}


def masked_crc32c(content: bytes) -> int:
    """The checksum of a record: crc32c, rotated right by 15 bits, plus a constant."""
    crc = google_crc32c.value(bytes(content))
    return (((crc >> 15) | (crc << 17)) + MASK_DELTA) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """The data of each record of a file, one in memory at a time; ValueError for damage, named by file and number."""
    with Path(path).open("rb") as file:
        left, number = Path(path).stat().st_size, 0
        while left:
            header = file.read(12)
            if len(header) < 12:
                raise ValueError(f"{path}: record {number} is cut short; fetch the file again")
            length, crc = struct.unpack("<QI", header)
            if crc != masked_crc32c(header[:8]):
                raise ValueError(f"{path}: record {number}: the length's checksum is wrong; not a TFRecord, or damaged")
            left -= 16 + length
            if left < 0:
                raise ValueError(f"{path}: record {number} is cut short; fetch the file again")
            content, crc = file.read(length), file.read(4)
            if struct.pack("<I", masked_crc32c(content)) != crc:
                raise ValueError(f"{path}: record {number}: the checksum is wrong; fetch the file again")
            yield content
            number += 1


def write_record(file: IO[bytes], content: bytes) -> None:
    """Append one record to an open file."""
    length = struct.pack("<Q", len(content))
    file.write(length + struct.pack("<I", masked_crc32c(length)))
    file.write(content)
    file.write(struct.pack("<I", masked_crc32c(content)))


def decode_example(content: bytes, is_wanted: Callable[[str], bool] = lambda name: True) -> dict[str, Feature]:
    """The features of a serialised tf.train.Example; those not wanted are passed over undecoded.

    Raises ValueError for anything that is not a whole message. Time and memory are linear in the content's length.
    """
    features: dict[str, Feature] = {}
    for number, message in _messages(memoryview(content)):
        if number != 1:
            continue
        for inner, entry in _messages(message):
            if inner == 1:
                _read_entry(entry, features, is_wanted)
    return features


def _read_entry(entry: memoryview, features: dict[str, Feature], is_wanted: Callable[[str], bool]) -> None:
    name, value = "", memoryview(b"")
    for number, content in _messages(entry):
        if number == 1:
            name = bytes(content).decode()  # UnicodeDecodeError is a ValueError
        elif number == 2:
            value = content
    if is_wanted(name):
        try:
            features[name] = _read_feature(value)
        except ValueError as error:
            raise ValueError(f"feature {name!r}: {error}") from None


def _read_feature(message: memoryview) -> Feature:
    lists = list(_messages(message))
    kinds = {number for number, _ in lists}
    if not kinds:
        return []
    if len(kinds) > 1 or not kinds <= KINDS.keys():
        raise ValueError(f"has lists of kinds {sorted(kinds)}, expected one of 1 (bytes), 2 (floats), 3 (integers)")
    (kind,) = kinds
    if kind == BYTES_LIST:
        return [bytes(item) for _, items in lists for number, item in _messages(items) if number == 1]
    dtype, read = (np.float32, _read_floats) if kind == FLOAT_LIST else (np.int64, _read_integers)
    return np.concatenate([np.empty(0, dtype), *(read(items) for _, items in lists)])


def _read_floats(items: memoryview) -> np.ndarray:
    parts = []
    for number, wire, content in _fields(items):
        if number != 1 or wire not in (LENGTH, FIXED32):
            raise ValueError("a list of floats holds something else")
        if len(content) % 4:
            raise ValueError("a list of floats is cut short")
        parts.append(bytes(content))
    return np.frombuffer(b"".join(parts), "<f4").astype(np.float32)


def _read_integers(items: memoryview) -> np.ndarray:
    parts = []
    for number, wire, content in _fields(items):
        if number != 1 or wire not in (LENGTH, VARINT):
            raise ValueError("a list of integers holds something else")
        parts.append(bytes(content))
    return decode_varints(b"".join(parts))


def _messages(view: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Fields that carry a length; others are unknown to these messages, and passed over as protobuf does."""
    for number, wire, content in _fields(view):
        if wire == LENGTH:
            yield number, content


def _fields(view: memoryview) -> Iterator[tuple[int, int, memoryview]]:
    """Number, wire type and content of each field; of a varint, the content is its bytes."""
    place = 0
    while place < len(view):
        tag, place = _varint(view, place)
        number, wire, start = tag >> 3, tag & 7, place
        if wire == VARINT:
            _, place = _varint(view, place)
        elif wire in (FIXED64, FIXED32):
            place += 8 if wire == FIXED64 else 4
        elif wire == LENGTH:
            length, start = _varint(view, place)
            place = start + length
        else:
            raise ValueError(f"not a tf.train.Example: wire type {wire}")
        if place > len(view) or number == 0:
            raise ValueError("not a tf.train.Example: a field is cut short")
        yield number, wire, view[start:place]


def _varint(view: memoryview, place: int) -> tuple[int, int]:
    """A varint and the place behind it."""
    value = 0
    for index, byte in enumerate(view[place : place + 10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("not a tf.train.Example: an integer is cut short or too long")


def decode_varints(content: bytes) -> np.ndarray:
    """Varints, one behind the other, as int64 (M,)."""
    data = np.frombuffer(content, np.uint8)
    if not len(data):
        return np.empty(0, np.int64)
    ends = np.flatnonzero(data < 0x80)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lengths = ends - starts + 1
    if not len(ends) or ends[-1] != len(data) - 1 or lengths.max() > 10:
        raise ValueError("a list of integers is cut short or too long")
    values = np.zeros(len(ends), np.uint64)
    for index in range(int(lengths.max())):
        rows = np.flatnonzero(lengths > index)
        values[rows] |= (data[starts[rows] + index].astype(np.uint64) & np.uint64(0x7F)) << np.uint64(7 * index)
    return values.view(np.int64)


def encode_varints(values: np.ndarray) -> bytes:
    """int64 (M,) as varints, one behind the other: the inverse of `decode_varints`."""
    unsigned = np.ascontiguousarray(values, np.int64).view(np.uint64)
    lengths = np.ones(len(unsigned), np.int64)
    for index in range(1, 10):
        lengths += unsigned >= np.uint64(1) << np.uint64(7 * index)
    starts = np.cumsum(lengths) - lengths
    data = np.zeros(int(lengths.sum()), np.uint8)
    for index in range(int(lengths.max(initial=0))):
        rows = np.flatnonzero(lengths > index)
        low = (unsigned[rows] >> np.uint64(7 * index)) & np.uint64(0x7F)
        data[starts[rows] + index] = low.astype(np.uint8) | np.where(lengths[rows] > index + 1, 0x80, 0).astype(
            np.uint8
        )
    return data.tobytes()


def encode_example(features: Mapping[str, Feature]) -> bytes:
    """A serialised tf.train.Example: lists of bytes, floating arrays as float32, integers and booleans as int64.

    Names come in sorted order, so that equal features give equal bytes. Raises ValueError for another type.
    """
    entries = b"".join(
        _field(1, _field(1, name.encode()) + _field(2, _encode_feature(name, features[name])))
        for name in sorted(features)
    )
    return _field(1, entries)


def _encode_feature(name: str, value: Feature) -> bytes:
    if isinstance(value, list):
        return _field(BYTES_LIST, b"".join(_field(1, item) for item in value))
    flat = np.asarray(value).reshape(-1)
    if flat.dtype.kind == "f":
        return _field(FLOAT_LIST, _field(1, flat.astype("<f4").tobytes()))
    if flat.dtype.kind in "iub":
        return _field(INT64_LIST, _field(1, encode_varints(flat.astype(np.int64))))
    raise ValueError(f"feature {name!r}: an array of {flat.dtype} has no place in a tf.train.Example")


def _field(number: int, content: bytes) -> bytes:
    return encode_varints(np.array([number << 3 | LENGTH, len(content)])) + content
