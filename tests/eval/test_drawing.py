"""Tracks over frames: the marks are where the points are."""

import io

import numpy as np
import pytest
from PIL import Image

from eval.drawing import Panel, contact_sheet, draw_film_strip, draw_tracks, encode_webp, identity_color


def make_panel(**changes):
    tracks = np.full((5, 2, 2), 20.0)
    tracks[:, 0, 0] = np.arange(5) * 8 + 8  # moves to the right
    tracks[:, 1] = (30.0, 40.0)
    fields = {"title": "truth", "tracks": tracks, "visible": np.ones((5, 2), bool), "start": np.zeros(2, int)}
    return Panel(**{**fields, **changes})


FRAMES = np.full((5, 48, 64, 3), 90, np.uint8)


def draw(panel, time=4):
    return np.asarray(draw_tracks(FRAMES[time], panel, time, radius=3)).astype(int)


def test_a_dot_is_centred_on_its_point():
    only = make_panel(start=np.array([9, 0]))  # the first point has not started
    changed = np.argwhere((draw(only) != 90).any(-1))
    # Raster convention: the centre of pixel (row, column) is (column + 0.5, row + 0.5).
    np.testing.assert_allclose(changed.mean(0) + 0.5, [40.0, 30.0], atol=0.05)
    assert draw(only)[40, 30] == pytest.approx(identity_color(1), abs=2)


def test_a_hidden_point_is_hollow():
    visible = np.ones((5, 2), bool)
    visible[4, 1] = False
    panel = make_panel(visible=visible, start=np.array([9, 0]))
    picture = draw(panel)
    inside = np.abs(picture[39:41, 29:31] - 90).max()
    ring = np.abs(picture[40, 32:34] - 90).max()
    assert inside < ring / 2


def test_a_trail_shows_where_the_point_came_from():
    picture = draw(make_panel())
    assert (picture[20, 18] != 90).any()  # between its first and its last position
    assert (draw(make_panel(), time=0)[20, 18] == 90).all()


def test_a_prediction_is_joined_with_its_truth_and_nan_is_left_out():
    target = np.full((5, 2, 2), np.nan)
    target[4, 1] = (50.0, 40.0)
    picture = draw(make_panel(target=target))
    assert (picture[40, 42] > 150).all()
    assert (draw(make_panel())[40, 42] == 90).all()
    draw(make_panel(tracks=np.full((5, 2, 2), np.nan)))


def test_sheets_strips_and_animations():
    images = [Image.new("RGB", (10, 6), (shade, 0, 0)) for shade in (0, 80, 160)]
    assert contact_sheet(images, num_columns=2).size == (24, 16)
    strip = draw_film_strip(FRAMES, [make_panel(), make_panel(title="lbm")], [0, 2, 4])
    assert strip.width == 3 * 64 + 2 * 4
    content = encode_webp(images, frame_ms=100)
    assert content == encode_webp(images, frame_ms=100)
    animation = Image.open(io.BytesIO(content))
    assert animation.n_frames == 3 and animation.size == (10, 6)


def test_identities_have_different_colours():
    assert len({identity_color(index) for index in range(64)}) == 64
