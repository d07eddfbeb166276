"""Online CoTracker3 on a stream gives what the whole-video call gives, and encodes each frame once."""

import numpy as np
import pytest
import torch

from tests.small_cotracker3 import HEIGHT, ONLINE, WIDTH, make_model, make_points, make_video, track_whole
from trainer.models.cotracker3.stream import Cotracker3Tracker

MIDDLE = [[30.0, 20.0]]
WINDOW, HALF = ONLINE["window"], ONLINE["window"] // 2


@pytest.fixture(scope="module")
def model():
    return make_model(**ONLINE, visibility_threshold=0.15)


@pytest.fixture(scope="module")
def points():
    return make_points(5)


def stream(tracker, video, points, query_frame=None):
    """Settled positions of all frames, and after how many frames each was settled."""
    found, when = list(tracker.begin(video[0], points, query_frame)), []
    when += [1] * len(found)
    for frame in video[1:]:
        new = tracker.push(frame)
        found, when = found + new, when + [tracker.num_frames] * len(new)
    last = tracker.finish()
    return found + last, when + [len(video)] * len(last)


def assert_equal(positions, whole, t, rows=slice(None)):
    np.testing.assert_allclose(positions.points, whole[0][t, rows], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(positions.visible, whole[1][t, rows])
    np.testing.assert_allclose(positions.uncertainty, whole[2][t, rows], atol=1e-5)


@pytest.mark.parametrize("num_frames", [1, 2, 4, 5, 7, 8, 9, 11, 12, 13, 21, 24])
def test_settled_frames_equal_the_whole_video(model, points, num_frames):
    video, query_frame = make_video(num_frames), np.minimum([0, 3, 9, 14, 0], num_frames - 1)
    whole = track_whole(model, video, points, query_frame)
    found, when = stream(Cotracker3Tracker(model), video, points, query_frame)
    assert len(found) == num_frames
    for t, positions in enumerate(found):
        begun = query_frame <= t
        expected = whole[0], whole[1], np.where(begun, whole[2], 1)
        assert_equal(positions, expected, t)
        assert when[t] == min(num_frames, (t // HALF) * HALF + WINDOW)  # as soon as a window has shown it last


def test_the_test_can_fail(model, points):
    whole = track_whole(model, make_video(24), points, [0] * 5)
    assert 0.1 < whole[1].mean() < 0.9 and np.abs(whole[0] - points).max() > 0.5
    shifted = track_whole(model, make_video(24)[4:], points, [0] * 5)
    assert np.abs(shifted[0][:16] - whole[0][4:20]).max() > 0.01


def test_a_step_says_what_the_whole_video_so_far_says_of_its_newest_frame(model, points):
    video, tracker = make_video(14), Cotracker3Tracker(model)
    for t, frame in enumerate(video):
        positions = tracker.step(frame) if t else tracker.start(frame, points)
        assert_equal(positions, track_whole(model, video[: t + 1], points, [0] * 5), t)
        assert positions.ids.tolist() == [0, 1, 2, 3, 4] and tracker.positions is positions
    assert tracker.num_frames == 14


def test_looking_at_the_newest_frame_changes_nothing_that_is_settled(model, points, monkeypatch):
    fnet = model.fnet.forward  # frame by frame, so that rounding does not depend on how many are encoded together
    monkeypatch.setattr(model.fnet, "forward", lambda frames: torch.cat([fnet(frame) for frame in frames.split(1)]))
    video, plain, watched = make_video(19), Cotracker3Tracker(model), Cotracker3Tracker(model)
    expected, _ = stream(plain, video, points)
    found = list(watched.begin(video[0], points))
    for frame in video[1:]:
        found += watched.push(frame)
        assert len(watched.positions) == 5
    found += watched.finish()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
        np.testing.assert_array_equal(one.uncertainty, other.uncertainty)


def test_every_frame_is_encoded_once(model, points, monkeypatch):
    encoded, fnet = [], model.fnet.forward
    monkeypatch.setattr(model.fnet, "forward", lambda frames: encoded.append(len(frames)) or fnet(frames))
    stream(Cotracker3Tracker(model), make_video(21), points)
    assert sum(encoded) == 21
    encoded.clear()
    tracker = Cotracker3Tracker(model)
    for t, frame in enumerate(make_video(13)):
        _ = tracker.step(frame) if t else tracker.start(frame, points)
        tracker.add(MIDDLE)
        assert len(tracker.positions) == 6 + t
    assert sum(encoded) == 13
    assert not tracker._window.estimate.points.requires_grad


@pytest.mark.parametrize("later", [1, 3, 6])
def test_points_added_before_the_first_window_is_full_equal_the_whole_video(model, points, later):
    video, query_frame = make_video(18), [0, 0, 0, later, later]
    whole, tracker = track_whole(model, video, points, query_frame), Cotracker3Tracker(model)
    found = list(tracker.begin(video[0], points[:3]))
    for t, frame in enumerate(video[1:], 1):
        found += tracker.push(frame)
        if t == later:
            assert tracker.add(points[3:]).tolist() == [3, 4]
    for t, positions in enumerate(found + tracker.finish()):
        assert_equal(positions, (*whole[:2], np.where(np.array(query_frame) <= t, whole[2], 1)), t)


@pytest.mark.parametrize("later", [7, 8, 10, 11, 12])
def test_points_added_to_an_empty_stream_equal_the_video_from_the_next_window_on(model, points, later):
    video, tracker = make_video(25), Cotracker3Tracker(model)
    found = list(tracker.begin(video[0]))
    for t, frame in enumerate(video[1:], 1):
        found += tracker.push(frame)
        if t == later:
            tracker.add(points)
    found += tracker.finish()
    first = (later - WINDOW + 1) // HALF * HALF + HALF  # of the first window that is not full yet
    whole = track_whole(model, video[first:], points, [later - first] * 5)
    assert [len(x) for x in found] == [0] * first + [5] * (len(video) - first)
    for t in range(later, len(video)):
        assert_equal(found[t], whole, t - first)
    for t in range(first, later):
        np.testing.assert_array_equal(found[t].points, points)
        assert not found[t].visible.any() and (found[t].uncertainty == 1).all()


def test_removed_points_are_gone_and_the_others_go_on(model, points):
    video, tracker = make_video(16), Cotracker3Tracker(model)
    found = list(tracker.begin(video[0], points))
    for t, frame in enumerate(video[1:], 1):
        found += tracker.push(frame)
        if t == 2:
            tracker.remove([1, 3])
            assert tracker.ids.tolist() == [0, 2, 4]
    whole = track_whole(model, video, points[[0, 2, 4]], [0] * 3)
    for t, positions in enumerate(found + tracker.finish()):
        assert positions.ids.tolist() == [0, 2, 4]
        assert_equal(positions, whole, t)


def test_removing_between_windows_keeps_what_is_known_of_the_others(model, points):
    video, tracker = make_video(12), Cotracker3Tracker(model)
    tracker.begin(video[0], points)
    for frame in video[1:9]:
        tracker.push(frame)
    before = tracker._window.estimate.points[:, :, [0, 4]].clone()
    tracker.remove(range(1, 4))
    torch.testing.assert_close(tracker._window.estimate.points, before)
    assert tracker.add(MIDDLE).tolist() == [5]
    assert [x.ids.tolist() for x in tracker.finish()] == [[0, 4, 5]] * 5
    again = tracker.start(video[0, :32], points[:1] * 0)
    assert again.ids.tolist() == [6] and tracker.frame_size == (32, WIDTH) and tracker.num_frames == 1


def test_no_points_are_defined_and_cost_nothing(model, points, monkeypatch):
    video, tracker = make_video(20), Cotracker3Tracker(model)
    monkeypatch.setattr(model.fnet, "forward", lambda frames: pytest.fail("no point needs this frame"))
    assert len(tracker.start(video[0])) == 0
    for frame in video[1:]:
        assert tracker.step(frame).points.shape == (0, 2)
    assert tracker.add([]).shape == (0,)
    tracker.remove([])
    assert [len(x) for x in tracker.finish()] == [0] * 4
    monkeypatch.undo()
    tracker.start(video[0], MIDDLE)
    tracker.remove(tracker.ids)
    assert len(tracker.step(video[1])) == 0 and len(tracker.ids) == 0


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, r"frame 1 is missing \(None\)"),
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "frame 1 has type float32, expected uint8"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), r"frame 1 has shape \(40, 61\)"),
        (np.zeros((HEIGHT // 2, WIDTH, 3), np.uint8), "frame 1 is 61x20, the first one was 61x40; resize it"),
    ],
)
def test_a_bad_frame_is_named_and_the_stream_goes_on(model, points, frame, message):
    video, tracker, other = make_video(3), Cotracker3Tracker(model), Cotracker3Tracker(model)
    tracker.start(video[0], points)
    other.start(video[0], points)
    with pytest.raises(ValueError, match=message):
        tracker.step(frame)
    np.testing.assert_allclose(tracker.step(video[1]).points, other.step(video[1]).points, atol=1e-5)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 1], [62, 5]], r"point 1 at \(62, 5\) is outside the frame of 61x40 pixels \(1 of 2 points\)"),
        ([[np.nan, 5]], r"point 0 is \(nan, 5.0\), not a finite position"),
        ([[1.0, 2.0, 3.0]], r"expected numbers of shape \(N, 2\)"),
    ],
)
def test_bad_points_are_named_and_change_nothing(model, points, message):
    video, tracker = make_video(2), Cotracker3Tracker(model)
    with pytest.raises(ValueError, match=message):
        tracker.start(video[0], points)
    with pytest.raises(ValueError, match="no video has begun"):
        tracker.push(video[1])
    before = tracker.start(video[0], MIDDLE)
    with pytest.raises(ValueError, match=message):
        tracker.add(points)
    with pytest.raises(ValueError, match=message):
        tracker.begin(video[0], points)
    assert tracker.positions is before


def test_calls_out_of_order_and_models_that_cannot_work(model):
    video, tracker = make_video(2), Cotracker3Tracker(model)
    calls = (lambda: tracker.step(video[0]), lambda: tracker.add(MIDDLE), lambda: tracker.remove([0]), tracker.finish)
    for call in (*calls, lambda: tracker.positions, lambda: tracker.ids):
        with pytest.raises(ValueError, match=r"call start\(frame, points\) first"):
            call()
    tracker.start(video[0], MIDDLE)
    with pytest.raises(ValueError, match=r"no point with id 7 is followed \(2 unknown ids\)"):
        tracker.remove([0, 7, 9])
    for query_frames in ([0, 1], [-1], [0.5]):
        with pytest.raises(ValueError, match="query_frames must be 1 whole numbers"):
            tracker.begin(video[0], MIDDLE, query_frames)
    tracker.finish()
    with pytest.raises(ValueError, match="no video has begun"):
        tracker.push(video[1])
    with pytest.raises(ValueError, match="the model is offline and needs whole videos"):
        Cotracker3Tracker(make_model())
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        Cotracker3Tracker(make_model(**ONLINE).train())
