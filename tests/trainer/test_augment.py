"""Augmentations move points exactly with the picture: a bright blob stays under its track."""

import numpy as np
import pytest

from trainer.augment import erase, flip, is_inside, jitter, zoom
from trainer.config import DataConfig

HEIGHT, WIDTH = 48, 64


def blob_window(num_frames: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One smooth blob that moves over black frames; its centre is the only track."""
    centres = np.stack([np.linspace(20, 40, num_frames), np.linspace(18, 28, num_frames)], 1)  # (T, 2) x, y
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    frames = [255 * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * 3.0**2)) for cx, cy in centres]
    video = np.repeat(np.stack(frames)[..., None], 3, -1).astype(np.uint8)
    return video, centres[:, None].astype(np.float32), np.ones((num_frames, 1), bool)


def centroid(frame: np.ndarray, floor: int) -> np.ndarray:
    """Centre of mass (x, y) of what is brighter than `floor` (150 leaves out the grey border of a zoom)."""
    weight = np.where(frame[..., 0] > floor, frame[..., 0].astype(float), 0)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


@pytest.mark.parametrize("seed", range(6))
def test_zoom_moves_points_with_the_picture(seed):
    video, tracks, visible = zoom(blob_window(), (0.75, 1.25), np.random.default_rng(seed))
    assert video.shape == (4, HEIGHT, WIDTH, 3)
    checked = 0
    for t in range(4):
        if is_inside(tracks[t, 0] - 8, WIDTH - 16, HEIGHT - 16):  # the whole blob is in the frame
            np.testing.assert_allclose(centroid(video[t], 150), tracks[t, 0], atol=0.15)
            assert visible[t, 0]
            checked += 1
    assert checked or not is_inside(tracks[:, 0] - 8, WIDTH - 16, HEIGHT - 16).any()


def test_zoom_hides_points_that_leave():
    seen = np.concatenate([zoom(blob_window(), (3.0, 3.0), np.random.default_rng(s))[2] for s in range(8)])
    assert seen.any() and not seen.all()


@pytest.mark.parametrize("seed", range(4))
def test_flip_moves_points_with_the_picture(seed):
    video, tracks, _ = flip(blob_window(), np.random.default_rng(seed))
    for t in range(4):
        np.testing.assert_allclose(centroid(video[t], 0), tracks[t, 0], atol=0.03)


def test_erase_hides_points_under_rectangles_and_never_touches_the_first_frame():
    window = blob_window(40)
    video, _, visible = erase(window, 1.0, np.random.default_rng(0), largest=0.8)
    np.testing.assert_array_equal(video[0], window[0][0])
    assert visible[0, 0]
    hidden = ~visible[:, 0]
    assert 0 < hidden.sum() < 40
    assert window[2].all(), "the input must not change"


def test_jitter_changes_colours_within_bounds_and_nothing_at_zero():
    video = blob_window()[0]
    still = DataConfig(dataset="x", brightness=0.0, contrast=0.0, saturation=0.0)
    np.testing.assert_array_equal(jitter(video, still, np.random.default_rng(0)), video)
    moved = jitter(video, DataConfig(dataset="x"), np.random.default_rng(0))
    assert moved.dtype == np.uint8
    assert 0 < np.abs(moved.astype(int) - video).max() < 110
