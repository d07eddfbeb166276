"""Published vectors of MurmurHash3, 32 bits."""

import pytest

from generation.murmur import murmurhash3_32


@pytest.mark.parametrize(
    ("text", "seed", "expected"),
    [
        ("", 0, 0),
        ("", 1, 0x514E28B7),
        ("a", 0, 0x3C2569B2),
        ("aa", 0x9747B28C, 0x5D211726),
        ("abc", 0, 0xB3DD93FA),
        ("test", 0, 0xBA6BD213),
        ("Hello, world!", 0, 0xC0363E43),
        ("The quick brown fox jumps over the lazy dog", 0, 0x2E4FF723),
    ],
)
def test_published_vectors(text, seed, expected):
    assert murmurhash3_32(text, seed) == expected
