"""Padding, scale, crop and mirrors: points follow the picture exactly, pixels and draws are the published ones."""

import dataclasses

import numpy as np
import pytest

from benchmarks.published_way import reframe
from trainer.config import DataConfig
from trainer.framing import centre_framing, cut_frame, draw_framing, is_inside, move_points

CONFIG = DataConfig(dataset="x", crop_size=(48, 64))


def crops_of(video, framing):
    width, height = framing.crop
    crops = np.zeros((len(video), height, width, 3), np.uint8)
    for frame, image in enumerate(video):
        cut_frame(image, framing, frame, crops[frame])
    return crops


def blob_window(num_frames=6, height=57, width=75):
    """One smooth blob that moves over black frames; its centre is the only track."""
    centres = np.stack([np.linspace(30, 44, num_frames), np.linspace(24, 33, num_frames)], 1)  # (T, 2) x, y
    y, x = np.mgrid[:height, :width] + 0.5
    frames = [255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2)) for cx, cy in centres]
    video = np.repeat(np.stack(frames)[..., None], 3, -1).astype(np.uint8)
    return video, centres[:, None].astype(np.float32), np.ones((num_frames, 1), bool)


def centroid(frame):
    weight = frame[..., 0].astype(float)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def test_points_move_with_the_picture():
    video, tracks, visible = blob_window()
    checked = 0
    for seed in range(12):
        framing = draw_framing(tracks, visible, video.shape[1:3], CONFIG, np.random.default_rng(seed))
        moved = move_points(tracks, framing)
        for crop, point in zip(crops_of(video, framing), moved[:, 0], strict=True):
            if is_inside(point - 12, 64 - 24, 48 - 24):  # the whole blob is in the crop
                np.testing.assert_allclose(centroid(crop), point, atol=0.06)
                checked += 1
    assert checked > 20


def resize_slowly(image, width, height):
    """Bilinear at pixel centres, edges repeated, in float."""

    def places(new, old):
        x = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        left = np.minimum(x.astype(int), max(old - 2, 0))
        return left, np.minimum(left + 1, old - 1), x - left

    top, bottom, v = places(height, image.shape[0])
    left, right, u = places(width, image.shape[1])
    image, v, u = image.astype(float), v[:, None, None], u[None, :, None]
    upper, lower = (image[rows][:, left] * (1 - u) + image[rows][:, right] * u for rows in (top, bottom))
    return upper * (1 - v) + lower * v


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("size", [(57, 75), (48, 64), (31, 90)])
def test_pixels_are_those_of_pad_then_resize_then_crop_then_mirror(size, padding):
    config = dataclasses.replace(CONFIG, max_padding=padding)
    rng = np.random.default_rng(padding)
    video = rng.integers(0, 256, (4, *size, 3), dtype=np.uint8)
    tracks, visible = rng.uniform(0, 30, (4, 5, 2)), np.ones((4, 5), bool)
    for seed in range(4):
        framing = draw_framing(tracks, visible, size, config, np.random.default_rng(seed))
        left, top, right, bottom = framing.padding
        for t, crop in enumerate(crops_of(video, framing)):
            padded = np.pad(video[t], ((top, bottom), (left, right), (0, 0)))
            x, y = framing.corner[t]
            expected = resize_slowly(padded, *framing.resized[t])[y : y + 48, x : x + 64]
            expected = expected[:: -1 if framing.mirrored[1] else 1, :: -1 if framing.mirrored[0] else 1]
            assert np.abs(expected - crop).max() <= 1.01


def affine_of(tracks):
    """Per frame the (scale, offset) of each axis that took the points (0, 0) and (10, 10) to `tracks` (T, 2, 2)."""
    scale = (tracks[:, 1] - tracks[:, 0]) / 10
    return np.concatenate([scale, tracks[:, 0]], -1)  # (T, 4)


def distance(one, other):
    """Kolmogorov and Smirnov's: the largest difference of two samples' cumulative distributions."""
    places = np.sort(np.concatenate([one, other]))
    ranks = (np.searchsorted(np.sort(x), places, side="right") / len(x) for x in (one, other))
    return np.abs(next(ranks) - next(ranks)).max()


def framings(draw, num_draws=500):
    return np.stack([affine_of(draw(np.random.default_rng(seed))) for seed in range(num_draws)])  # (draws, T, 4)


def statistics_of(affine):
    """What each setting decides, one sample a draw."""
    mirrored = affine[:, 0, 0] < 0
    scale = np.abs(affine[..., :2])
    # Undo the mirror, to see the crop's corner alone.
    corner_x = np.where(mirrored[:, None], 40 - affine[..., 2], affine[..., 2])
    return {
        "first scale": scale[:, 0, 0],
        "first change": scale[:, 1, 0] - scale[:, 0, 0],
        "axes part": scale[:, 1, 0] - scale[:, 1, 1],
        "later change": scale[:, 5, 1] - scale[:, 4, 1],
        "whole change": scale[:, -1, 0] / scale[:, 0, 0],
        "first corner": corner_x[:, 0],
        "first step": corner_x[:, 1] - corner_x[:, 0],
        "later step": corner_x[:, 5] - corner_x[:, 4],
        "mirrored": affine[:, 0, 0] < 0,
        "mirrored vertically": affine[:, 0, 1] < 0,
    }


def test_draws_are_distributed_as_published():
    config = dataclasses.replace(CONFIG, crop_size=(30, 40))
    video = np.zeros((8, 90, 100, 3), np.uint8)
    tracks = np.zeros((8, 3, 2), np.float32)
    tracks[:, 1] = 10
    tracks[:, 2] = (83, 65)
    visible = np.ones((8, 3), bool)

    def ours(rng, config=config):
        return move_points(tracks, draw_framing(tracks, visible, (90, 100), config, rng))[:, :2]

    published = statistics_of(framings(lambda rng: reframe(list(video), tracks, visible, config, rng)[1][:, :2]))
    found = statistics_of(framings(lambda rng: ours(np.random.default_rng(rng.integers(1 << 40)))))
    for name, sample in found.items():
        # 0.123 is exceeded once in a thousand times by equal distributions of 500 draws.
        assert distance(sample, published[name]) < 0.123, name
    wrong = {
        "first scale": {"scale_range": (0.75, 1.4)},
        "first change": {"scale_drift": 0.08},
        "first step": {"crop_drift": 22},
    }
    for name, settings in wrong.items():
        altered = dataclasses.replace(config, **settings)
        sample = statistics_of(framings(lambda rng, altered=altered: ours(rng, altered)))[name]
        assert distance(sample, published[name]) > 0.123, f"{name}: the comparison must notice {settings}"


def test_black_borders_are_as_wide_as_published():
    config = dataclasses.replace(CONFIG, crop_size=(60, 60), flip=False)
    video = np.full((1, 90, 100, 3), 255, np.uint8)
    tracks, visible = np.zeros((1, 1, 2), np.float32), np.ones((1, 1), bool)  # so the crop begins in the corner

    def borders(crop):
        return [(crop[-1, :, 0] < 128).sum(), (crop[:, -1, 0] < 128).sum()]

    def ours(config):
        rngs = [np.random.default_rng(1000 + seed) for seed in range(500)]
        drawn = [draw_framing(tracks, visible, (90, 100), config, rng) for rng in rngs]
        return np.array([borders(crops_of(video, framing)[0]) for framing in drawn])

    published = np.array([
        borders(reframe(list(video), tracks, visible, config, np.random.default_rng(seed))[0][0]) for seed in range(500)
    ])  # fmt: skip
    found, wrong = ours(config), ours(dataclasses.replace(config, max_padding=30))
    for axis in (0, 1):
        assert distance(found[:, axis], published[:, axis]) < 0.123
        assert distance(wrong[:, axis], published[:, axis]) > 0.123
    sides = np.array([
        draw_framing(tracks, visible, (90, 100), config, np.random.default_rng(seed)).padding for seed in range(500)
    ])  # fmt: skip
    assert (sides.min(0) == 0).all() and (sides.max(0) == 24).all()
    np.testing.assert_allclose(sides.mean(0), 12, atol=1.3)


def test_without_augmentation_the_crop_is_in_the_middle():
    video = np.random.default_rng(0).integers(0, 256, (1, 61, 80, 3), dtype=np.uint8)
    framing = centre_framing(1, (61, 80), CONFIG)
    np.testing.assert_array_equal(crops_of(video, framing)[0], video[0, 6:54, 8:72])
    np.testing.assert_array_equal(move_points(np.full((1, 1, 2), 20.0), framing), [[[12, 14]]])


def test_a_crop_larger_than_the_clip_has_a_black_border():
    video = np.full((2, 41, 50, 3), 200, np.uint8)
    framing = centre_framing(2, (41, 50), CONFIG)
    crop = crops_of(video, framing)[1]
    assert (crop[3:44, 7:57] == 200).all()
    assert crop.sum() == video[1].sum()
    np.testing.assert_array_equal(move_points(np.zeros((2, 1, 2)), framing)[1], [[7, 3]])


def test_augmented_clips_smaller_than_the_crop_are_enlarged_as_published():
    tracks, visible = np.full((3, 1, 2), 10, np.float32), np.ones((3, 1), bool)
    framing = draw_framing(tracks, visible, (20, 20), CONFIG, np.random.default_rng(0))
    assert (framing.resized >= (64 + 10, 48 + 10)).all()


def test_one_frame_is_enough():
    video, tracks, visible = blob_window(1)
    framing = draw_framing(tracks, visible, video.shape[1:3], CONFIG, np.random.default_rng(0))
    assert crops_of(video, framing).shape == (1, 48, 64, 3)


def test_still_settings_keep_the_whole_frame():
    still = DataConfig(dataset="x", max_padding=0, scale_range=(1.0, 1.0), scale_drift=0.0, crop_margin=0, flip=False)
    video, tracks, visible = blob_window()
    framing = draw_framing(tracks, visible, video.shape[1:3], still, np.random.default_rng(0))
    np.testing.assert_array_equal(crops_of(video, framing), video)
    np.testing.assert_array_equal(move_points(tracks, framing), tracks)
