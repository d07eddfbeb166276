"""TFRecords and tf.train.Example: bytes of other writers are read, ours are read back, damage is refused."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shards.tfrecord import (
    decode_example,
    decode_varints,
    encode_example,
    encode_varints,
    masked_crc32c,
    read_records,
    write_record,
)

# One Example {video: [b"ab", b""], r: [0.5, -3], n: [5, 70000, -7], none: no integers} as Google's protobuf runtime
# serialises it, framed by tensorboardX's record writer.
GOLDEN = bytes.fromhex(
    "4d000000000000003d63d4a60a4b0a0a0a046e6f6e6512021a000a170a016e12121a100a0e05f0a204f9ffffffffffffffff010a110a0172"
    "120c120a0a080000003f000040c00a110a05766964656f12080a060a0261620a00352d1acb"
)
RECORDS = st.lists(st.binary(max_size=60), max_size=5)
FEATURES = st.dictionaries(
    st.text(max_size=12),
    st.one_of(
        st.lists(st.binary(max_size=20), min_size=1, max_size=4),
        arrays(np.float32, st.integers(1, 8)),
        arrays(np.int64, st.integers(1, 8)),
    ),
    max_size=5,
)


def framed(records):
    buffer = io.BytesIO()
    for content in records:
        write_record(buffer, content)
    return buffer.getvalue()


def test_bytes_of_another_writer(tmp_path):
    (tmp_path / "golden").write_bytes(GOLDEN)
    (content,) = read_records(tmp_path / "golden")
    features = decode_example(content)
    assert features["video"] == [b"ab", b""]
    assert features["r"].dtype == np.float32 and features["r"].tolist() == [0.5, -3]
    assert features["n"].dtype == np.int64 and features["n"].tolist() == [5, 70000, -7]
    assert len(features["none"]) == 0
    assert framed([content]) == GOLDEN


def test_the_checksum_is_that_of_the_format():
    # crc32c of 32 zero bytes is 8a9136aa (RFC 3720, B.4).
    assert masked_crc32c(bytes(32)) == (((0x8A9136AA >> 15) | (0x8A9136AA << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@given(RECORDS)
def test_records_come_back(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("records") / "r"
    path.write_bytes(framed(records))
    assert list(read_records(path)) == records


@given(RECORDS.filter(len), st.data())
def test_a_cut_file_is_refused(tmp_path_factory, records, data):
    whole = framed(records)
    ends = {len(framed(records[:n])) for n in range(len(records) + 1)}
    length = data.draw(st.integers(1, len(whole) - 1).filter(lambda n: n not in ends))
    path = tmp_path_factory.mktemp("records") / "r"
    path.write_bytes(whole[:length])
    with pytest.raises(ValueError, match=r"r: record \d is cut short"):
        list(read_records(path))


@given(RECORDS.filter(len), st.data())
def test_a_flipped_bit_is_refused(tmp_path_factory, records, data):
    damaged = bytearray(framed(records))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("records") / "r"
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match="checksum is wrong"):
        list(read_records(path))


def test_a_record_longer_than_its_file_is_refused_before_anything_is_allocated(tmp_path):
    length = struct.pack("<Q", 1 << 60)
    (tmp_path / "r").write_bytes(length + struct.pack("<I", masked_crc32c(length)) + bytes(100))
    with pytest.raises(ValueError, match="record 0 is cut short"):
        list(read_records(tmp_path / "r"))


@given(FEATURES)
def test_examples_come_back(features):
    read = decode_example(encode_example(features))
    assert read.keys() == features.keys()
    for name, value in features.items():
        np.testing.assert_array_equal(read[name], value)


@given(arrays(np.int64, st.integers(0, 40)))
def test_varints_come_back_and_agree_with_a_loop(values):
    expected = b""
    for value in values.tolist():
        value %= 1 << 64
        while value >= 0x80:
            expected += bytes([value & 0x7F | 0x80])
            value >>= 7
        expected += bytes([value])
    assert encode_varints(values) == expected
    np.testing.assert_array_equal(decode_varints(expected), values)


def test_lists_that_are_not_packed_are_read_too():
    floats = b"\x0d" + struct.pack("<f", 1.5) + b"\x0d" + struct.pack("<f", -2)
    integers = b"\x08\x05\x08\xac\x02"
    for kind, content, expected in ((0x12, floats, [1.5, -2]), (0x1A, integers, [5, 300])):
        feature = bytes([kind, len(content)]) + content
        entry = b"\x0a\x01x\x12" + bytes([len(feature)]) + feature
        entries = b"\x0a" + bytes([len(entry)]) + entry
        assert decode_example(b"\x0a" + bytes([len(entries)]) + entries)["x"].tolist() == expected


@settings(max_examples=300, deadline=2000)
@given(st.one_of(st.binary(max_size=200), st.tuples(FEATURES, st.integers(0, 400), st.integers(0, 255))))
def test_hostile_examples_are_a_valueerror_or_an_example(content):
    if isinstance(content, tuple):
        features, place, byte = content
        damaged = bytearray(encode_example(features))
        damaged[place % len(damaged)] = byte
        content = bytes(damaged)
    try:
        features = decode_example(content)
    except ValueError:
        return
    size = sum(len(value) if isinstance(value, list) else value.size for value in features.values())
    assert size <= len(content)


def test_unwanted_features_are_passed_over():
    content = encode_example({"a": np.arange(3), "b": [b"x"]})
    assert decode_example(content, lambda name: name == "b") == {"b": [b"x"]}


def test_an_array_that_has_no_place_is_refused():
    with pytest.raises(ValueError, match=r"feature 'x': an array of complex128"):
        encode_example({"x": np.zeros(2, complex)})
