"""Frames come back as they were packed, in any codec; strange images come back as Pillow sees them, or are refused."""

import dataclasses
import io
import json
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from shards import ClipStore, pack_clips, stream, write_index
from shards.__main__ import main
from shards.codecs import CODECS, codec_named, decode_codes, decode_rgb, encode_png
from tests.conftest import make_clip

HEIGHT, WIDTH = 24, 40


def smooth_image(seed=0):
    """A picture (H, W, 3) uint8 with slopes and a little noise, as a camera's."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slopes = np.stack([5 * x, 9 * y, 2 * (x + y)], -1)
    return (slopes + np.random.default_rng(seed).integers(0, 9, slopes.shape)).astype(np.uint8)


def saved(image, kind, **settings):
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def pillow_sees(content):
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


PLAIN = {
    "png": lambda image: saved(image, "png"),
    "webp": lambda image: saved(image, "webp", lossless=True),
    "jpeg": lambda image: saved(image, "jpeg", quality=95, subsampling=0),
    "jpeg 4:2:0": lambda image: saved(image, "jpeg", quality=90),
}
STRANGE = {
    "grey": lambda image: saved(image.convert("L"), "png"),
    "grey, 16 bits": lambda image: saved(Image.fromarray(np.asarray(image)[..., 0].astype(np.uint16) * 257), "png"),
    "rgb, 16 bits": lambda image: cv2.imencode(".png", np.asarray(image)[..., ::-1].astype(np.uint16) * 257)[
        1
    ].tobytes(),
    "grey and alpha": lambda image: saved(image.convert("LA"), "png"),
    "palette": lambda image: saved(image.quantize(16), "png"),
    "one bit": lambda image: saved(image.convert("1"), "png"),
    "alpha": lambda image: saved(half_transparent(image), "png"),
    "a transparent colour": lambda image: saved(image, "png", transparency=(0, 0, 0)),
    "a colour profile": lambda image: saved(image, "png", icc_profile=b"\0" * 128),
    "animated png": lambda image: saved(image, "png", save_all=True, append_images=[Image.new("RGB", image.size)]),
    "turned by exif": lambda image: saved(image, "png", exif=turned()),
    "jpeg turned by exif": lambda image: saved(image, "jpeg", exif=turned()),
    "grey jpeg": lambda image: saved(image.convert("L"), "jpeg"),
    "progressive jpeg": lambda image: saved(image, "jpeg", progressive=True),
    "cmyk jpeg": lambda image: saved(image.convert("CMYK"), "jpeg"),
    "lossy webp": lambda image: saved(image, "webp", quality=80),
    "webp with alpha": lambda image: saved(half_transparent(image), "webp", lossless=True, exact=True),
    "animated webp": lambda image: saved(
        image, "webp", lossless=True, save_all=True, append_images=[Image.new("RGB", image.size)]
    ),
    "bytes after the end": lambda image: saved(image, "png") + b"more",
    "jpeg with bytes after the end": lambda image: saved(image, "jpeg") + b"more",
}


def half_transparent(image):
    return Image.merge("RGBA", (*image.split(), Image.linear_gradient("L").resize(image.size)))


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize("kind", [*PLAIN, *STRANGE])
def test_images_are_what_pillow_sees(kind):
    content = (PLAIN | STRANGE)[kind](Image.fromarray(smooth_image()))
    image = decode_rgb(content)
    assert (image.dtype, image.shape) == (np.uint8, (HEIGHT, WIDTH, 3))
    np.testing.assert_array_equal(image, pillow_sees(content))


@pytest.mark.parametrize("kind", PLAIN)
def test_usual_images_are_not_left_to_pillow(kind, monkeypatch):
    content = PLAIN[kind](Image.fromarray(smooth_image()))
    expected = pillow_sees(content)
    monkeypatch.setattr("shards.codecs._decode_with_pillow", None)
    np.testing.assert_array_equal(decode_rgb(content), expected)


@pytest.mark.parametrize("kind", PLAIN)
def test_cut_images_are_refused_at_any_length(kind):
    content = PLAIN[kind](Image.fromarray(smooth_image()))
    end = len(content) - (24 if kind == "png" else 2)  # Pillow asks for neither PNG's checksums nor its last chunk
    for length in range(end):
        with pytest.raises(ValueError, match="cannot be decoded"):
            decode_rgb(content[:length])


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_flipped_byte_gives_no_error_but_ours(kind):
    content = PLAIN[kind](Image.fromarray(smooth_image()))
    for at in range(len(content)):
        damaged = bytearray(content)
        damaged[at] ^= 0x11
        try:
            image = decode_rgb(bytes(damaged))
        except ValueError:
            continue
        np.testing.assert_array_equal(image, pillow_sees(bytes(damaged)))


def test_a_very_wide_image_is_read_too():
    """OpenCV stops at 2^20 pixels a side."""
    image = np.zeros((1, 2**20 + 1, 3), np.uint8)
    image[0, -1] = 9
    np.testing.assert_array_equal(decode_rgb(saved(Image.fromarray(image), "png")), image)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8L", b"GIF89a"])
def test_what_is_no_image_is_refused(content):
    with pytest.raises(ValueError, match="cannot be decoded"):
        decode_rgb(content)


@pytest.mark.parametrize("name", CODECS)
def test_codecs_give_back_what_they_promise(name, monkeypatch):
    monkeypatch.setattr("shards.codecs._decode_with_pillow", None)  # what we write is read the fast way
    image = smooth_image()
    decoded = decode_rgb(CODECS[name].encode(image))
    error = np.abs(decoded.astype(int) - image).max()
    assert (error == 0) == CODECS[name].is_lossless
    assert error < 16


def test_png_has_the_filter_that_is_fast_to_undo():
    """OpenCV drops settings that come in another order, without a word."""
    content, rows = encode_png(smooth_image()), b""
    at = 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4])
        if content[at + 4 : at + 8] == b"IDAT":
            rows += content[at + 8 : at + 8 + size]
        at += 12 + size
    assert set(zlib.decompress(rows)[:: 1 + 3 * WIDTH]) == {3}, "3 is the average filter of RFC 2083, section 6"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_images_become_png_too(dtype):
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH), dtype)
    with Image.open(io.BytesIO(encode_png(image))) as read:
        np.testing.assert_array_equal(np.asarray(read), image)
    if dtype == np.uint16:
        np.testing.assert_array_equal(decode_codes(encode_png(image)), image)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (7, 13)])
@pytest.mark.parametrize("name", ["png", "webp"])
def test_small_and_odd_frames_are_lossless(name, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    np.testing.assert_array_equal(decode_rgb(CODECS[name].encode(image)), image)


def test_jpeg_keeps_the_colours_of_edges():
    """Halved chroma spreads a red pixel's colour over its neighbours by far more."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2, 0] = 255
    error = np.abs(decode_rgb(CODECS["jpeg95"].encode(image)).astype(int) - image).max()
    halved = np.abs(decode_rgb(saved(Image.fromarray(image), "jpeg", quality=95, subsampling=2)).astype(int) - image)
    assert error < 20 < 80 < halved.max()


def test_other_codecs_are_refused_by_name(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"no codec 'jpeg95-4:2:0': it moves colours .*; use one of png, webp, jpeg95"):
        codec_named("jpeg95-4:2:0")
    with pytest.raises(ValueError, match="no codec 'qoi': use one of"):
        pack_clips([make_clip("a")], tmp_path / "s", codec="qoi")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SystemExit):
        main(["pack", "x", "--codec", "qoi", "--out", str(tmp_path / "s")])


@pytest.mark.parametrize(("codec", "height"), [("webp", 16384), ("jpeg95", 65501)])
def test_frames_too_large_for_a_codec_are_named(tmp_path, codec, height):
    clip = make_clip("a", num_frames=1, depth=False)
    large = dataclasses.replace(clip, video=np.zeros((1, height, 1, 3), np.uint8))
    with pytest.raises(ValueError, match=rf"clip a is 1x{height}, .* use --codec png"):
        pack_clips([large], tmp_path / "s", codec)


@pytest.mark.parametrize("codec", CODECS)
def test_a_packed_codec_is_read_without_being_named(tmp_path, codec, capsys):
    video = np.stack([smooth_image(t)[:, :HEIGHT] for t in range(6)])
    clips = [dataclasses.replace(make_clip(key, size=HEIGHT), video=video) for key in "ab"]
    for prefix in (tmp_path / "s", tmp_path / "again" / "s"):
        pack_clips(clips, prefix, codec)
    assert (tmp_path / "s.tar").read_bytes() == (tmp_path / "again" / "s.tar").read_bytes()
    index = tmp_path / "index.json"
    write_index([tmp_path / "s.json"], "x", index)
    entry = json.loads(index.read_text())["shards"][0]
    assert entry["codec"] == codec
    assert next(iter(entry["clips"][0]["members"])) == f"frame000.{CODECS[codec].suffix}"
    read = ClipStore(index).read(1, frames=slice(1, 4), with_depth=True)
    assert np.abs(read.video.astype(int) - clips[1].video[1:4]).max() <= (0 if CODECS[codec].is_lossless else 16)
    for number, streamed in enumerate(stream(index)):
        np.testing.assert_array_equal(streamed.video, ClipStore(index)[number].video)
    assert main(["verify", "--deep", str(index)]) == 0
    assert main(["ls", str(index)]) == 0
    assert f" {codec} " in capsys.readouterr().out
