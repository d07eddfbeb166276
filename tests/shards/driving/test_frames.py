"""Frames cut and resized for a network: what stays, what goes, and that nothing is stretched."""

import numpy as np
import pytest

from shards.driving.frames import centre_box, fit_frames


def test_frames_of_the_size_are_left_alone():
    video = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    assert fit_frames(video, 6, 8) is video


def test_the_middle_is_kept_and_the_rest_cut_off():
    video = np.zeros((1, 8, 24, 3), np.uint8)
    video[:, :, 2:22] = 200  # of which a square keeps the middle, and Lanczos looks a little beyond
    assert (fit_frames(video, 4, 4) == 200).all()
    assert (fit_frames(video.swapaxes(1, 2), 4, 4) == 200).all()


@pytest.mark.parametrize(("size", "to"), [((90, 160), (9, 16)), ((100, 160), (9, 16)), ((36, 64), (40, 40))])
def test_the_part_that_is_kept_has_the_ratio_and_lies_in_the_middle(size, to):
    left, top, right, bottom = centre_box(*size, *to)
    assert (right - left) / (bottom - top) == pytest.approx(to[1] / to[0])
    assert left + right == pytest.approx(size[1]) and top + bottom == pytest.approx(size[0])
    assert min(left, top) == pytest.approx(0) and right <= size[1] + 1e-9 and bottom <= size[0] + 1e-9


def test_a_disc_stays_round():
    y, x = np.mgrid[:90, :200]
    disc = (np.hypot(x - 99.5, y - 44.5) < 30).astype(np.uint8) * 255
    found = fit_frames(np.repeat(disc[None, ..., None], 3, -1), 45, 60)[0, ..., 0] > 127
    assert abs(int(found.any(0).sum()) - int(found.any(1).sum())) <= 1
    assert found.sum() == pytest.approx(np.pi * 15**2, rel=0.03)


def test_every_frame_is_made_for_itself():
    video = np.random.default_rng(1).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    together = fit_frames(video, 7, 11)
    assert together.shape == (3, 7, 11, 3) and together.dtype == np.uint8
    assert np.array_equal(together[1:2], fit_frames(video[1:2], 7, 11))


@pytest.mark.parametrize(
    ("video", "size", "told"),
    [
        (np.zeros((1, 4, 4, 3), np.float32), (2, 2), "float32"),
        (np.zeros((4, 4, 3), np.uint8), (2, 2), "shape"),
        (np.zeros((0, 4, 4, 3), np.uint8), (2, 2), "empty"),
        (np.zeros((1, 4, 4, 3), np.uint8), (0, 2), "0x2"),
    ],
)
def test_what_are_no_frames_is_refused(video, size, told):
    with pytest.raises(ValueError, match=told):
        fit_frames(video, *size)
