"""Samples of videos without tracks: keypoints, windows, and where their pixels come from."""

import dataclasses

import numpy as np
import pytest

from shards import ClipStore
from tests.trainer.toy_videos import pack_videos, sliding_video, texture
from trainer.batch import ClipBatches, sample_rng
from trainer.config import DataConfig
from trainer.pseudo.keypoints import choose_keypoints, find_keypoints, spread_points
from trainer.pseudo.samples import make_video_sample

CONFIG = DataConfig(dataset="videos", num_frames=6, max_frame_stride=2, num_points=16, augment=False)
PLAIN = {"replace_probability": 0.0, "eraser_probability": 0.0, "jitter_probability": 0.0, "blur_probability": 0.0}
DRAWN = dataclasses.replace(
    CONFIG, augment=True, crop_size=(40, 48), max_padding=3, crop_margin=2, crop_drift=2, **PLAIN
)


def spot(x, y, size=64, sigma=3.0):
    """A bright spot whose centre is at raster (x, y)."""
    columns = np.arange(size) + 0.5
    height = np.exp(-((columns - x) ** 2 + (columns[:, None] - y) ** 2) / (2 * sigma**2))
    return np.repeat(np.uint8(255 * height)[..., None], 3, -1)


@pytest.mark.parametrize("centre", [(32.0, 32.0), (30.5, 25.5), (40.25, 20.75)])
def test_a_keypoint_lies_in_raster_coordinates(centre):
    found = find_keypoints(spot(*centre))
    nearest = found[np.linalg.norm(found - centre, axis=1).argmin()]
    np.testing.assert_allclose(nearest, centre, atol=0.1)


def test_keypoints_come_from_the_first_quarter_evenly_and_once():
    video = sliding_video(40, (96, 96), (1, 0), 0)
    queries = choose_keypoints(video, 40, np.random.default_rng(0))
    frames, counts = np.unique(queries[:, 0], return_counts=True)
    assert queries.shape == (40, 3) and queries.dtype == np.float32
    assert len(frames) == 8 and frames.max() < 10 and (counts == 5).all()
    for t, x, y in queries:
        assert np.abs(find_keypoints(video[int(t)]) - (x, y)).sum(1).min() < 1e-4
    other = choose_keypoints(video, 40, np.random.default_rng(1))
    assert set(other[:, 0]) != set(frames), "the frames are drawn"
    np.testing.assert_array_equal(queries, choose_keypoints(video, 40, np.random.default_rng(0)))


def test_a_short_quarter_is_drawn_from_again_and_a_number_that_8_does_not_divide_is_kept():
    video = sliding_video(8, (96, 96), (1, 0), 0)  # a quarter of two frames
    queries = choose_keypoints(video, 21, np.random.default_rng(0))
    assert queries.shape == (21, 3) and queries[:, 0].max() <= 1
    assert len(np.unique(queries, axis=0)) == 21


def test_too_few_keypoints_are_none():
    flat = np.full((8, 64, 64, 3), 90, np.uint8)
    assert choose_keypoints(flat, 8, np.random.default_rng(0)) is None
    assert choose_keypoints(sliding_video(8, (64, 64), (1, 0), 0), 4000, np.random.default_rng(0)) is None


def test_spread_points_cover_frames_and_area():
    points = spread_points(2000, 10, (30, 50), np.random.default_rng(0))
    assert (points.min(0) >= 0).all() and (points < (10, 50, 30)).all()
    np.testing.assert_allclose(points.mean(0), (4.5, 25, 15), rtol=0.05)
    assert set(points[:, 0]) == set(range(10))


def test_a_sample_is_a_function_of_its_generator(tmp_path):
    index = pack_videos(tmp_path)
    store = ClipStore(index)
    batches = ClipBatches(index, CONFIG, 3, make_video_sample)
    sample = make_video_sample(store, 1, CONFIG, sample_rng(3, 5, store.keys[1]))
    assert sample["video"].shape == (6, 64, 64, 3) and sample["queries"].shape == (16, 3)
    assert sample["has_keypoints"] and sample["clip"] == 1
    for name, value in batches.sample(5, 1, 6).items():
        np.testing.assert_array_equal(value, sample[name])
    first, stride = sample["frames"]
    np.testing.assert_array_equal(sample["video"], store.read(1).video[first : first + 6 * stride : stride])


@pytest.mark.parametrize("config", [CONFIG, DRAWN], ids=["middle", "drawn"])
def test_placing_leads_from_pixels_of_the_clip_to_those_of_the_sample(tmp_path, config):
    store = ClipStore(pack_videos(tmp_path, num_videos=1))
    y, x = np.mgrid[:64, :64] + 0.5
    ramp = np.repeat(np.stack([2 * x, 2 * y, 0 * x], -1)[None], 12, 0).astype(np.uint8)
    store.read = lambda number, frames: type("Clip", (), {"video": ramp[frames].copy()})
    mirrored = set()
    for seed in range(8):
        sample = make_video_sample(store, 0, config, np.random.default_rng(seed))
        factor, offset = sample["placing"][:, 0], sample["placing"][:, 1]
        mirrored.add(tuple(np.sign(factor[0])))
        for t, frame in enumerate(sample["video"]):
            inner = frame[8:-8, 8:-8]
            rows, columns = np.mgrid[8 : frame.shape[0] - 8, 8 : frame.shape[1] - 8] + 0.5
            from_x, from_y = (columns - offset[t, 0]) / factor[t, 0], (rows - offset[t, 1]) / factor[t, 1]
            is_picture = (np.minimum(from_x, from_y) > 2) & (np.maximum(from_x, from_y) < 62)
            assert np.abs(inner[..., 0] - 2 * from_x)[is_picture].max() < 2.5
            assert np.abs(inner[..., 1] - 2 * from_y)[is_picture].max() < 2.5
    assert len(mirrored) == (1 if config is CONFIG else 4)


def test_a_video_without_keypoints_gets_spread_points_and_says_so(tmp_path):
    store = ClipStore(pack_videos(tmp_path, num_videos=1))
    many = dataclasses.replace(CONFIG, num_points=3000)
    sample = make_video_sample(store, 0, many, np.random.default_rng(0))
    assert not sample["has_keypoints"] and sample["queries"].shape == (3000, 3)
    assert sample["queries"][:, 0].max() == 5, "over all frames, not the first quarter"


def test_a_clip_that_is_too_short_is_refused(tmp_path):
    store = ClipStore(pack_videos(tmp_path, num_videos=1))
    with pytest.raises(ValueError, match=r"clip v0-00000 has 12 frames.*--window 20"):
        make_video_sample(store, 0, dataclasses.replace(CONFIG, num_frames=20), np.random.default_rng(0))


def test_the_texture_has_keypoints():
    assert len(find_keypoints(texture(64, 0))) > 50
