"""The grids of points that CoTracker3 tracks along."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.small_cotracker3 import ONLINE, make_model, make_points, make_video, track_whole
from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.grids import LOCAL_EXTENT, LOCAL_SIDE, SUPPORT_SIDE, make_grid, make_support

SIZE = 384, 512


@pytest.fixture(scope="module")
def golden():
    return np.load(Path(__file__).parents[2] / "data" / "cotracker3" / "golden.npz")


@pytest.mark.parametrize("side", [1, 5, SUPPORT_SIDE])
def test_the_grid_over_a_frame_is_the_published_one(golden, side):
    np.testing.assert_allclose(make_grid(side, SIZE), golden[f"grid/size{side}_384x512"], atol=1e-4)


def test_the_grid_around_a_point_is_the_published_one(golden):
    grid = make_grid(LOCAL_SIDE, (LOCAL_EXTENT, LOCAL_EXTENT), (200.0, 100.0))
    np.testing.assert_allclose(grid, golden["grid/local8_extent50_center_y100_x200"], atol=1e-4)


def test_support_lies_in_frame_0_and_around_a_point_that_is_alone(golden):
    query = torch.tensor([[[7.0, 200.0, 100.0]], [[3.0, 20.0, 30.0]]])  # (B, 1, 3)
    support = make_support(query, 5, SIZE, is_alone=True)
    assert support.shape == (2, 25 + 64, 3) and not support[..., 0].any()
    np.testing.assert_allclose(support[0, 25:, 1:], golden["grid/local8_extent50_center_y100_x200"], atol=1e-4)
    np.testing.assert_allclose(
        support[1, 25:, 1:] - support[0, 25:, 1:], query[1, :, 1:] - query[0, :, 1:] + torch.zeros(64, 2)
    )
    assert make_support(query, 0, SIZE).shape == (2, 0, 3)


def test_evaluation_tracks_the_published_grid_along():
    assert Cotracker3Config().evaluation_side == 5
    assert Cotracker3Config(online=True, window=16).evaluation_side == 0
    video, points = make_video(5), make_points(3)
    default, none, five = (
        track_whole(make_model(**changes), video, points, [0, 2, 4])[0]
        for changes in ({}, {"evaluation_grid": 0}, {"evaluation_grid": 5})
    )
    np.testing.assert_array_equal(default, five)
    assert np.abs(default - none).max() > 0.01  # the grid has its say
    with pytest.raises(ValueError, match="evaluation_grid=-1 must be 0 or more"):
        make_model(evaluation_grid=-1)


@pytest.mark.parametrize("kind", [{}, ONLINE])
def test_a_single_point_depends_on_no_other_point(kind):
    model, video, points = make_model(single_point=True, **kind), make_video(10), make_points(3)
    together = track_whole(model, video, points, [0, 2, 4])
    for number, frame in enumerate([0, 2, 4]):
        alone = track_whole(model, video, points[number : number + 1], [frame])
        for some, one in zip(together, alone, strict=True):
            np.testing.assert_allclose(some[:, number], one[:, 0], atol=1e-5)
    joint = track_whole(make_model(**kind), video, points, [0, 2, 4])
    assert np.abs(joint[0] - together[0]).max() > 1e-3


@pytest.mark.parametrize("kind", [{}, {"single_point": True}, ONLINE])
def test_no_points_are_no_tracks(kind):
    points, visible, _ = track_whole(make_model(**kind), make_video(3), make_points(0), [])
    assert points.shape == (3, 0, 2) and visible.shape == (3, 0)
