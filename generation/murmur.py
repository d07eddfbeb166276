"""MurmurHash3 for 32 bits, with which Cryptomatte names objects (Austin Appleby's public-domain algorithm)."""

MASK = 0xFFFFFFFF


def murmurhash3_32(text: str, seed: int = 0, positive: bool = True) -> int:
    """The hash of a text's UTF-8 bytes as an unsigned number (`positive` is what kubric passes, and must be true)."""
    assert positive
    data = text.encode()
    state = seed
    whole = len(data) - len(data) % 4
    for start in range(0, whole, 4):
        state ^= _scramble(int.from_bytes(data[start : start + 4], "little"))
        state = (_rotate(state, 13) * 5 + 0xE6546B64) & MASK
    state ^= _scramble(int.from_bytes(data[whole:], "little"))
    state ^= len(data)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        state = ((state ^ (state >> shift)) * factor) & MASK
    return state ^ (state >> 16)


def _scramble(block: int) -> int:
    return (_rotate((block * 0xCC9E2D51) & MASK, 15) * 0x1B873593) & MASK


def _rotate(value: int, by: int) -> int:
    return ((value << by) | (value >> (32 - by))) & MASK
