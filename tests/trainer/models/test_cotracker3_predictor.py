"""CoTracker3 on whole videos: support, both ways, all pixels in passes."""

import numpy as np
import pytest
import torch

from tests.small_cotracker3 import ONLINE, make_model, make_points, make_video, track_whole
from trainer.models.cotracker3.predictor import Cotracker3Predictor, dense_groups
from trainer.query_points import make_all_pixels

QUERY_FRAME = np.array([0, 3, 5, 2])


@pytest.fixture(scope="module")
def offline():
    return make_model(predictor_visibility_threshold=0.48)


@pytest.fixture(scope="module")
def online():
    return make_model(**ONLINE, visibility_threshold=0.15)


@pytest.fixture(scope="module")
def video():
    return make_video(10)


@pytest.fixture(scope="module")
def query_tyx():
    return np.column_stack([QUERY_FRAME, make_points(len(QUERY_FRAME))[:, ::-1]])


def without_query_frames(query_frame, num_frames):
    return np.arange(num_frames)[:, None] != query_frame


def mirrored(query_tyx, num_frames):
    return np.column_stack([num_frames - 1 - query_tyx[:, 0], query_tyx[:, 1:]])


def track_with_grid(video, query_tyx, side):
    """The offline model's own call, with a grid of this many points a side."""
    model = make_model(evaluation_grid=side)
    return track_whole(model, video, query_tyx[:, [2, 1]], query_tyx[:, 0])


@pytest.mark.parametrize(("has_support", "side"), [(True, 6), (False, 0)])
def test_support_is_the_published_grid_of_six_or_nothing(offline, video, query_tyx, has_support, side):
    found = Cotracker3Predictor(offline).track(video, query_tyx, has_support=has_support)
    points, _, uncertainty = track_with_grid(video, query_tyx, side)
    other = without_query_frames(QUERY_FRAME, 10)
    np.testing.assert_allclose(found.points[other], points[other], atol=1e-4)
    np.testing.assert_allclose(found.uncertainty, uncertainty, atol=1e-5)
    assert found.is_known.all() and found.points.dtype == found.uncertainty.dtype == np.float32
    differs = np.abs(points - track_with_grid(video, query_tyx, 6 - side)[0])[other]
    assert differs.max() > 1e-3  # with the other grid the test would fail


def test_offline_visibility_is_above_its_own_threshold_and_a_query_is_where_it_was_asked(offline, video, query_tyx):
    found = Cotracker3Predictor(offline).track(video, query_tyx)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None]
    queries = torch.from_numpy(query_tyx[None][..., [0, 2, 1]]).float()
    logit = make_model(evaluation_grid=6).track(frames, queries).visibility_logit[0]
    other = without_query_frames(QUERY_FRAME, 10)
    np.testing.assert_array_equal(found.visible[other], (logit.sigmoid() > 0.48).numpy()[other])
    assert 0.1 < found.visible[other].mean() < 0.9
    for number, (t, y, x) in enumerate(query_tyx):
        np.testing.assert_array_equal(found.points[int(t), number], np.array([x, y], np.float32))
        assert found.visible[int(t), number]


def test_the_published_thresholds_are_two_named_settings():
    config = make_model().config
    assert (config.visibility_threshold, config.predictor_visibility_threshold) == (0.6, 0.9)


def test_backward_takes_the_frames_before_a_query_from_the_video_played_backward(offline, video, query_tyx):
    predictor = Cotracker3Predictor(offline)
    both = predictor.track(video, query_tyx, has_support=False, is_backward=True)
    plain = predictor.track(video, query_tyx, has_support=False)
    back = predictor.track(video[::-1], mirrored(query_tyx, 10), has_support=False)
    before = np.arange(10)[:, None] < QUERY_FRAME
    for name in ("points", "visible", "uncertainty"):
        one, other, turned = (getattr(x, name) for x in (both, plain, back))
        np.testing.assert_allclose(one[~before], other[~before], atol=1e-4)
        np.testing.assert_allclose(one[before], turned[::-1][before], atol=1e-4)
    assert np.abs(both.points - plain.points)[before].max() > 1e-3


def test_online_a_point_begins_at_its_query_or_is_tracked_backward(online, video, query_tyx):
    predictor, asked = Cotracker3Predictor(online), query_tyx[:, [2, 1]]
    plain = predictor.track(video, query_tyx)
    points, visible, uncertainty = track_whole(online, video, asked, QUERY_FRAME)
    begun = np.arange(10)[:, None] >= QUERY_FRAME
    np.testing.assert_allclose(plain.points, points, atol=1e-4)
    np.testing.assert_array_equal(plain.visible, visible)
    np.testing.assert_allclose(plain.uncertainty, np.where(begun, uncertainty, 1), atol=1e-5)
    np.testing.assert_array_equal(plain.is_known, begun)
    both = predictor.track(video, query_tyx, is_backward=True)
    back, back_visible, _ = track_whole(online, video[::-1].copy(), asked, 9 - QUERY_FRAME)
    np.testing.assert_allclose(both.points, np.where(begun[..., None], points, back[::-1]), atol=1e-4)
    np.testing.assert_array_equal(both.visible, np.where(begun, visible, back_visible[::-1]))
    assert both.is_known.all() and visible.any() and back_visible.any()


def test_all_pixels_are_in_one_pass_each():
    query_tyx = make_all_pixels((7, 9))
    assert query_tyx.shape == (63, 3) and query_tyx[:2].tolist() == [[0, 0.5, 0.5], [0, 0.5, 1.5]]
    groups = dense_groups(query_tyx, 512)  # every sixth pixel, as published
    np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(63))
    assert len(groups) == 36
    for group in groups:
        assert not ((query_tyx[group] - query_tyx[group[0]]) % 6).any()
    assert len(dense_groups(query_tyx, 79)) == len(dense_groups(query_tyx, 159)) == 1
    assert len(dense_groups(query_tyx, 160)) == 4


def test_passes_are_tracked_apart_from_features_that_are_computed_once(offline, video, query_tyx, monkeypatch):
    encoded, fnet = [], offline.fnet.forward
    monkeypatch.setattr(offline.fnet, "forward", lambda frames: encoded.append(len(frames)) or fnet(frames))
    predictor, groups = Cotracker3Predictor(offline), [np.array([0, 3]), np.array([1]), np.array([2])]
    found = predictor.track(video, query_tyx, has_support=False, is_backward=True, groups=groups)
    assert sum(encoded) == len(video)  # four passes, both ways
    for group in groups:
        alone = predictor.track(video, query_tyx[group], has_support=False, is_backward=True)
        np.testing.assert_allclose(found.points[:, group], alone.points, atol=1e-4)
        np.testing.assert_array_equal(found.visible[:, group], alone.visible)


@pytest.mark.parametrize("num_frames", [1, 2])
@pytest.mark.parametrize("kind", [{}, ONLINE])
def test_short_videos_and_single_pixels(num_frames, kind):
    predictor = Cotracker3Predictor(make_model(**kind))
    found = predictor.track(make_video(num_frames)[:, :1, :1], np.array([[0, 0.5, 0.5]]), is_backward=True)
    assert found.points.shape == (num_frames, 1, 2) and np.isfinite(found.points).all()


def test_no_points_are_no_tracks(offline, video):
    assert Cotracker3Predictor(offline).track(video, np.zeros((0, 3))).points.shape == (10, 0, 2)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ((0, 5, 62), r"point 0 at \(62, 5\) is outside the frame of 61x40 pixels"),
        ((0, np.nan, 2), "not a finite position"),
        ((10, 5, 5), r"query frames must lie in 0..9"),
        ((-1, 5, 5), r"query frames must lie in 0..9"),
        ((np.nan, 5, 5), "NaN or infinite"),
    ],
)
def test_queries_that_are_not_in_the_video_are_refused(offline, video, query, message):
    with pytest.raises(ValueError, match=message):
        Cotracker3Predictor(offline).track(video, np.array([query], np.float64))


def test_frames_that_are_no_video_are_refused(offline, video):
    predictor, query = Cotracker3Predictor(offline), np.array([[0.0, 1, 1]])
    with pytest.raises(ValueError, match="frame 1 is 61x39, the first one was 61x40"):
        predictor.track([video[0], video[1, :39]], query)
    with pytest.raises(ValueError, match="a video without frames"):
        predictor.track([], query)
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        Cotracker3Predictor(make_model().train())
