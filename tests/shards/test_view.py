"""Pictures, films and pages of clips show the tracks where they are, and play elsewhere."""

import dataclasses
import re
from html.parser import HTMLParser

import av
import numpy as np
import pytest
from PIL import Image

from shards import ClipStore, pack_clips, write_index
from shards.__main__ import main
from shards.film import draw_frames, draw_tracks, frame_rate
from tests.conftest import make_clip

GREY = np.full((40, 60, 3), 128, np.uint8)


def draw(positions, visible, radius=3.0):
    """Draw points over (T, N, 2) positions on grey; returns an int image."""
    return draw_tracks(GREY, np.array(positions, float), np.array(visible), radius=radius).astype(int)


def test_a_visible_point_is_a_disc_and_a_hidden_one_a_ring():
    image = draw([[[10.5, 20.5], [40.5, 20.5]]], [[True, False]])
    first, second = image[20, 10], image[20, 40]
    assert first[0] == 255 and first[0] > first[1] + 100, "the first hue is red"
    assert (second == 128).all(), "the hidden point's middle stays as it is"
    assert image[20, 43, 2] > 200 > image[20, 43, 0], "and has a ring around it, of the hue opposite of red"
    assert (image[:, :5] == 128).all() and (image[:, 20:30] == 128).all()


def test_points_lie_at_raster_positions():
    """The centre of mass of what is painted is the position, 0.5 being the middle of the first pixel."""
    for x, y in ((20.5, 15.5), (30.0, 20.0), (25.3, 10.8)):
        weight = np.abs(draw([[[x, y]]], [[True]]) - 128).sum(-1)
        rows, columns = np.indices(weight.shape) + 0.5
        found = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
        np.testing.assert_allclose(found, (x, y), atol=0.05)


def test_trails_fade_and_are_thin_where_hidden():
    way = [[[float(x), 20.0]] for x in (5, 15, 25, 35, 45, 55)]
    painted = np.abs(draw(way, [[True]] * 6) - 128).sum(-1)
    along = painted[19:21, :].mean(0)
    assert 0 < along[10] < along[20] < along[30] < along[40]
    hidden = np.abs(draw(way, [[False]] * 6) - 128).sum(-1)
    assert (hidden[:, 30] > 20).sum() < (painted[:, 30] > 20).sum()


@pytest.mark.parametrize("far", [1e9, -1e9, 3e38])
def test_points_far_outside_are_no_reason_to_fail(far):
    image = draw([[[30, 20]], [[far, far]]], [[True], [True]])
    assert image.shape == GREY.shape


def test_scaled_frames_are_even_and_tracks_scale_along():
    clip = make_clip("a", num_frames=1, num_points=1)
    clip = dataclasses.replace(
        clip,
        video=np.full((1, 15, 31, 3), 128, np.uint8),
        depth_m=None,
        tracks=np.array([[[15.5, 7.5]]], np.float32),
        visible=np.ones((1, 1), bool),
    )
    (frame,) = draw_frames(clip, side=125)
    assert frame.shape == (60, 124, 3)
    assert tuple(np.argwhere(frame[..., 0] == 255).mean(0).round()) == (30, 62), "the middle stays the middle"


def frames_of(path):
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)]
        return stream.codec_context.name, stream.codec_context.pix_fmt, stream.average_rate, np.stack(frames)


def test_an_mp4_plays_the_clip(dataset, tmp_path):
    index = dataset(size=33)
    assert main(["view", str(index), "toy-002", "--out", str(tmp_path / "a.mp4")]) == 0
    name, pixels, rate, frames = frames_of(tmp_path / "a.mp4")
    assert (name, pixels, rate, frames.shape) == ("h264", "yuv420p", 12, (6, 512, 512, 3))
    drawn = np.stack(list(draw_frames(ClipStore(index)[2], side=512)))
    error = frames.astype(int) - drawn
    assert np.sqrt(np.square(error).mean()) < 30, "the picture is noise, halved in chroma"
    main(["view", str(index), "toy-002", "--out", str(tmp_path / "b.mp4")])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_webp_moves_at_the_recipes_rate(tmp_path):
    clip = dataclasses.replace(make_clip("a"), metadata={"recipe": {"frame_rate": 24}})
    pack_clips([clip], tmp_path / "s")
    write_index([tmp_path / "s.json"], "x", tmp_path / "index.json")
    assert main(["view", str(tmp_path / "index.json"), "--out", str(tmp_path / "a.webp")]) == 0
    with Image.open(tmp_path / "a.webp") as film:
        assert (film.n_frames, film.size, film.info["loop"]) == (6, (512, 512), 0)
        film.load()
        assert film.info["duration"] == 42


@pytest.mark.parametrize("recipe", [None, {}, {"frame_rate": "fast"}, {"frame_rate": 0}, [3]])
def test_strange_frame_rates_are_not_believed(recipe):
    assert frame_rate(dataclasses.replace(make_clip(), metadata={"recipe": recipe})) == 12


class Links(HTMLParser):
    """Everything that a page would load."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.found += [value for name, value in attributes if name in ("src", "href", "srcset")]


def test_a_page_holds_several_clips_and_everything_they_need(dataset, tmp_path):
    index = dataset(points=True)
    assert main(["view", str(index), "toy-001", "toy-004", "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    links = Links()
    links.feed(text)
    assert links.tags.count("article") == 2 and text.index("toy-001") < text.index("toy-004")
    assert len(links.found) == 6 and all(link.startswith("data:image/webp;base64,") for link in links.found)
    assert not re.search(r"url\(|@import|<script|http", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text
    assert "depth: bright is near (2.0 m), dark is far (20.0 m)" in text and "3 objects" in text
    main(["view", str(index), "--out", str(tmp_path / "page.html")])
    assert (tmp_path / "page.html").read_text().count("<article>") == 6


def test_a_page_escapes_what_others_wrote(tmp_path):
    asset = "<script>alert(1)</script>"
    clip = dataclasses.replace(make_clip("a", depth=False), metadata={"instances": [{"asset_id": asset}], "seed": 3})
    pack_clips([clip], tmp_path / "s")
    write_index([tmp_path / "s.json"], "<b>bold</b>", tmp_path / "index.json")
    assert main(["view", str(tmp_path / "index.json"), "--out", str(tmp_path / "page.html")]) == 0
    text = (tmp_path / "page.html").read_text()
    assert "<script" not in text and "<b>" not in text and "&lt;script&gt;alert(1)" in text
    assert "depth" not in text.split("<body>")[1]


@pytest.mark.parametrize("ending", ["png", "mp4", "webp", "html"])
def test_one_frame_without_points_can_be_looked_at(tmp_path, ending):
    clip = make_clip("a", num_frames=1, size=17)
    empty = dataclasses.replace(clip, tracks=clip.tracks[:, :0], visible=clip.visible[:, :0])
    pack_clips([empty], tmp_path / "s")
    write_index([tmp_path / "s.json"], "x", tmp_path / "index.json")
    out = tmp_path / f"view.{ending}"
    assert main(["view", str(tmp_path / "index.json"), "--out", str(out)]) == 0
    assert out.stat().st_size > 300


def test_a_sheet_shows_evenly_spaced_frames(dataset, tmp_path):
    index = dataset(num_frames=11)
    assert main(["view", str(index), "toy-003", "--points", "5", "--out", str(tmp_path / "sheet.png")]) == 0
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (640, 960, 3)
    clip = ClipStore(index)[3]
    *_, last = draw_frames(clip, side=320, num_points=5)
    np.testing.assert_array_equal(sheet[320:, 640:], last)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "X.gif"], "X.gif: name it *.png, *.mp4, *.webp, *.html"),
        (["nobody", "--out", "X.html"], "no clip 'nobody'; see `python -m shards ls"),
        (["toy-000", "toy-001", "--out", "X.mp4"], "X.mp4: shows one clip, 2 are named; name one, or write a page"),
    ],
)
def test_mistakes_are_named(dataset, tmp_path, capsys, arguments, message):
    index = dataset()
    assert main(["view", str(index), *(word.replace("X.", f"{tmp_path}/X.") for word in arguments)]) == 2
    errors = capsys.readouterr().err
    assert message in errors.replace(f"{tmp_path}/", "") and errors.count("\n") == 1
    assert not list(tmp_path.glob("X.*"))
