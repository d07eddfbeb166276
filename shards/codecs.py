"""Frames as bytes and back: the codecs that shards are packed with, and a strict decoder of PNG, JPEG and WebP."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

cv2.setNumThreads(0)  # one loader process a core decodes; OpenCV's own threads would only wait for each other

PNG_SETTINGS = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,  # must be first: it resets the other two
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG,
]  # fmt: skip
"""One filter for all rows, and no search for repeats, of which rendered noise has none. Held against Pillow's choice
(benchmarks/codecs.py): half the time to read, a tenth to pack, 0.95 to 1.05 of the size (1.2 for video out of JPEG)."""
PNG_LEVEL = 6
"""zlib level of grey images."""
WEBP_METHOD = 2
"""Effort 0..6 of lossless WebP: 0 is a tenth larger, 4 takes four times as long for 5 % less."""
JPEG_QUALITY = 95

FORMATS = ("PNG", "JPEG", "WEBP")
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_PLAIN = bytes((8, 2, 0, 0, 0))
"""Bit depth 8, colour type RGB, the only compression and filter methods, not interlaced."""
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
JPEG_BASELINE = (0xC0, 0xC1)
MAX_FAST_PIXELS = 1 << 26
"""Images above 64 megapixels are left to Pillow, which has its own guard against bombs."""


@dataclass(frozen=True, kw_only=True)
class Codec:
    """How frames are packed: `encode` takes (H, W, 3) uint8; members are named by `suffix`."""

    suffix: str
    encode: Callable[[np.ndarray], bytes]
    is_lossless: bool
    about: str


def encode_png(image: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8 or (H, W) uint8 or uint16 as PNG."""
    if image.ndim == 2:
        return _encode(image, "png", compress_level=PNG_LEVEL)
    return cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), PNG_SETTINGS)[1].tobytes()


def encode_webp(image: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8 as lossless WebP; raises ValueError above 16383 pixels a side."""
    if max(image.shape) > 16383:
        raise ValueError(f"is {image.shape[1]}x{image.shape[0]}, WebP ends at 16383 pixels a side; use --codec png")
    return _encode(image, "webp", lossless=True, quality=75, method=WEBP_METHOD)


def encode_jpeg(image: np.ndarray) -> bytes:
    """An image (H, W, 3) uint8 as JPEG of quality 95 with full chroma; raises ValueError above 65500 pixels a side.

    Halved chroma (4:2:0) is not on offer: it moves colours at the edges of objects, which is what trackers match.
    """
    if max(image.shape) > 65500:
        raise ValueError(f"is {image.shape[1]}x{image.shape[0]}, JPEG ends at 65500 pixels a side; use --codec png")
    return _encode(image, "jpeg", quality=JPEG_QUALITY, subsampling=0)


CODECS = {
    "png": Codec(suffix="png", encode=encode_png, is_lossless=True, about="lossless, for everyone"),
    "webp": Codec(
        suffix="webp",
        encode=encode_webp,
        is_lossless=True,
        about="lossless, smaller, slow to pack",
    ),
    "jpeg95": Codec(suffix="jpg", encode=encode_jpeg, is_lossless=False, about="lossy: quality 95, chroma 4:4:4"),
}


def codec_named(name: str) -> Codec:
    """The row of CODECS; raises ValueError that lists them."""
    if name not in CODECS:
        reason = "it moves colours at the edges of objects; " if "420" in name.replace(":", "") else ""
        raise ValueError(f"no codec {name!r}: {reason}use one of {', '.join(CODECS)}")
    return CODECS[name]


def decode_rgb(content: bytes) -> np.ndarray:
    """PNG, JPEG or WebP bytes as an image (H, W, 3) uint8; ValueError for anything that is not one whole image.

    What frames usually are (8-bit RGB PNG, baseline colour JPEG, lossless WebP without alpha) goes through OpenCV,
    which is faster; grey, palette, 16-bit, alpha and all else through Pillow's convert("RGB"). Which of the two depends
    on the header alone, so that a JPEG, where decoders may differ by a level, is always decoded by the same one.
    """
    if _is_plain_png(content) or _is_plain_jpeg(content) or _is_plain_webp(content):
        # Pillow does not turn pictures by their EXIF either.
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:  # a side above its limit
            image = None
        if image is not None:
            return image
    return _decode_with_pillow(content, lambda image: image if image.mode == "RGB" else image.convert("RGB"))


def decode_codes(content: bytes) -> np.ndarray:
    """The uint16 codes (H, W) of a 16-bit grey PNG, such as a depth map; raises ValueError for another image."""
    codes = _decode_with_pillow(content, lambda image: image)
    if codes.ndim != 2 or codes.dtype != np.uint16:
        raise ValueError(f"is a {codes.ndim}-d image of {codes.dtype}, expected 16-bit grey")
    return codes


def _encode(image: np.ndarray, kind: str, **settings: int | bool) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **settings)
    return buffer.getvalue()


def _decode_with_pillow(content: bytes, convert: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            return np.asarray(convert(image))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = "neither PNG, JPEG nor WebP" if isinstance(error, Image.UnidentifiedImageError) else error
        raise ValueError(f"cannot be decoded ({reason})") from None


def _is_plain_png(content: bytes) -> bool:
    """8-bit RGB, data right after the header (no animation, transparency or colour profile), and an end."""
    if content[:16] != PNG_START or content[24:29] != PNG_PLAIN or content[37:41] != b"IDAT":
        return False
    width, height = struct.unpack(">II", content[16:24])
    return width * height <= MAX_FAST_PIXELS and content.endswith(PNG_END)


def _is_plain_webp(content: bytes) -> bool:
    """A lossless still without alpha (WebP Lossless Bitstream Specification, section 3), as long as its header says."""
    if content[:4] != b"RIFF" or content[8:16] != b"WEBPVP8L" or len(content) < 25 or content[20] != 0x2F:
        return False
    whole, data = (int.from_bytes(content[at : at + 4], "little") for at in (4, 16))
    has_alpha = content[24] & 0x10
    return not has_alpha and len(content) == whole + 8 == data + data % 2 + 20


def _is_plain_jpeg(content: bytes) -> bool:
    """Baseline, 8 bits, three components, and an end after the picture's data (ITU-T T.81, annex B).

    OpenCV fills up what a cut file lacks with grey; inside of the data FF D9 is nothing but the end.
    """
    if content[:2] != b"\xff\xd8":
        return False
    at, is_colour = 2, False
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width, num_components = struct.unpack(">BHHB", content[at + 4 : at + 10].ljust(6, b"\0"))
            is_colour = marker in JPEG_BASELINE and (bits, num_components) == (8, 3)
            if not is_colour or height * width > MAX_FAST_PIXELS:
                return False
        if marker == 0xDA:
            return is_colour and content.rfind(b"\xff\xd9", at) > 0
        at += 2 + size
    return False
