"""LBM on a stream gives what the whole-video call gives, whatever is added and removed on the way."""

import numpy as np
import pytest
import torch

from trainer.checkpoint import load_into
from trainer.models import build
from trainer.models.lbm import tracker as tracker_module
from trainer.models.lbm.tracker import LbmTracker

SMALL = {"input_size": [64, 96], "dim": 32, "backbone_width": 8, "num_layers": 3, "memory_size": 3, "dropout": 0.0}
HEIGHT, WIDTH, NUM_FRAMES = 40, 60, 7
QUERY_FRAME = np.array([0, 0, 2, 0, 5, 2])
MIDDLE = [[30.0, 20.0]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build("lbm", **SMALL, visibility_threshold=0.45).eval()


@pytest.fixture(scope="module")
def video():
    return np.random.default_rng(1).integers(0, 256, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def points():
    return (np.random.default_rng(2).uniform(0.05, 0.95, (len(QUERY_FRAME), 2)) * (WIDTH, HEIGHT)).astype(np.float32)


def track_whole(model, video, points, query_frame, memory_size):
    """Points (T, N, 2), visible (T, N) and uncertainty (T, N) of the whole-video call."""
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None].float()
    queries = torch.from_numpy(np.concatenate([query_frame[:, None], points], 1).astype(np.float32))[None]
    tracks = model.track(frames, queries, memory_size)
    return [x[0].numpy() for x in (tracks.points, tracks.visible, tracks.rho_logit.sigmoid())]


def assert_equal(positions, whole, t, rows):
    np.testing.assert_allclose(positions.points, whole[0][t, rows], atol=1e-4, rtol=0)
    np.testing.assert_array_equal(positions.visible, whole[1][t, rows])
    np.testing.assert_allclose(positions.uncertainty, whole[2][t, rows], atol=1e-5)


@pytest.mark.parametrize("memory_size", [None, 5])
def test_a_stream_equals_the_whole_video(model, video, points, memory_size):
    query_frame = np.zeros(len(points), int)
    whole = track_whole(model, video, points, query_frame, memory_size)
    assert 0 < whole[1].mean() < 1  # the threshold tells points apart, so the memory masks matter
    tracker = LbmTracker(model, memory_size)
    for t, frame in enumerate(video):
        positions = tracker.step(frame) if t else tracker.start(frame, points)
        assert_equal(positions, whole, t, slice(None))
        assert positions.ids.tolist() == list(range(len(points)))


@pytest.mark.parametrize("memory_size", [None, 5])
def test_points_added_and_removed_later_equal_the_whole_video(model, video, points, memory_size):
    whole = track_whole(model, video, points, QUERY_FRAME, memory_size)
    tracker, row_of = LbmTracker(model, memory_size), {}
    for t, frame in enumerate(video):
        _ = tracker.step(frame) if t else tracker.start(frame)
        new = np.flatnonzero(t == QUERY_FRAME)
        row_of |= dict(zip(tracker.add(points[new]).tolist(), new.tolist(), strict=True))
        assert_equal(tracker.positions, whole, t, [row_of[number] for number in tracker.ids])
        if t == 3:
            tracker.remove([number for number, row in row_of.items() if row in (1, 2)])
            assert_equal(tracker.positions, whole, t, [row_of[number] for number in tracker.ids])
    assert [row_of[number] for number in tracker.ids] == [0, 3, 5, 4]


def test_adding_and_removing_leave_a_snapshot_of_the_memory_as_it_was(model, video, points):
    tracker = LbmTracker(model)
    tracker.start(video[0], points[:3])
    tracker.step(video[1])
    snapshot = tracker._memory.snapshot()
    tracker.add(points[3:])
    tracker.remove(0)
    for kind in ("collision", "stream"):
        assert snapshot.slots(kind, 0)[0].shape[1:3] == (3, 2)
        assert tracker._memory.slots(kind, 0)[0].shape[1:3] == (5, 2)


def test_ids_are_never_used_twice_and_a_new_start_forgets(model, video, points):
    tracker = LbmTracker(model)
    assert tracker.start(video[0], points[:3]).ids.tolist() == [0, 1, 2]
    tracker.remove(2)
    assert tracker.add(points[3:4]).tolist() == [3]
    tracker.remove(tracker.ids)
    assert len(tracker.step(video[1])) == 0
    assert tracker.add(points[4:]).tolist() == [4, 5]
    again = tracker.start(video[0, :32], points[:1] * 0)
    assert again.ids.tolist() == [6] and tracker.frame_size == (32, WIDTH)
    fresh = LbmTracker(model).start(video[0, :32], points[:1] * 0)
    np.testing.assert_array_equal(again.points, fresh.points)


def test_no_points_are_defined_and_cost_nothing(model, video, points, monkeypatch):
    tracker = LbmTracker(model)
    monkeypatch.setattr(type(model), "encode", lambda self, frames: pytest.fail("no point needs this frame"))
    for positions in (tracker.start(video[0], []), tracker.step(video[1])):
        assert positions.points.shape == (0, 2) and positions.visible.shape == (0,) and len(positions) == 0
    assert tracker.add(np.zeros((0, 2))).shape == (0,)
    tracker.remove([])
    monkeypatch.undo()
    tracker.add(points[:2])
    whole = track_whole(model, video, points[:2], np.array([1, 1]), None)
    assert_equal(tracker.step(video[2]), whole, 2, slice(None))


def test_no_work_is_repeated_and_no_graph_is_kept(model, video, points, monkeypatch):
    encoded, sampled = [], []
    encode, sample = type(model).encode, tracker_module.sample_features
    monkeypatch.setattr(type(model), "encode", lambda self, x: encoded.append(1) or encode(self, x))
    monkeypatch.setattr(tracker_module, "sample_features", lambda *a: sampled.append(a[1].shape[1]) or sample(*a))
    tracker = LbmTracker(model)
    tracker.start(video[0], points[:3])
    tracker.add(points[3:4])
    tracker.step(video[1])
    tracker.step(video[2])
    assert len(encoded) == 3 and sampled == [3, 1]
    assert not tracker._first_query.requires_grad
    assert not any(key.requires_grad for key, _ in tracker._memory.stream[-1])


def test_a_tensor_is_a_frame_too_and_the_callers_buffer_may_change(model, video, points):
    wanted, buffer = LbmTracker(model).start(video[0], points), video[0].copy()
    tracker = LbmTracker(model)
    as_tensor = tracker.start(torch.from_numpy(buffer), torch.from_numpy(points))
    np.testing.assert_array_equal(as_tensor.points, wanted.points)
    mirrored = LbmTracker(model).start(video[0, :, ::-1], points)  # a view with a negative stride
    assert not np.array_equal(mirrored.points, wanted.points)
    tracker = LbmTracker(model)
    tracker.start(buffer)
    buffer[:] = 0
    tracker.add(points)
    np.testing.assert_array_equal(tracker.positions.points, wanted.points)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (None, r"frame 1 is missing \(None\)"),
        (np.zeros((HEIGHT, WIDTH, 3), np.float32), "frame 1 has type float32, expected uint8"),
        (torch.zeros(HEIGHT, WIDTH, 3), "frame 1 has type torch.float32"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), r"frame 1 has shape \(40, 60\)"),
        (np.zeros((3, HEIGHT, WIDTH), np.uint8), r"expected \(H, W, 3\)"),
        (np.zeros((HEIGHT // 2, WIDTH, 3), np.uint8), "frame 1 is 60x20, the first one was 60x40; resize it"),
        ("frame.png", "frame 1 is a str"),
    ],
)
def test_a_bad_frame_is_named_and_the_stream_goes_on(model, video, points, frame, message):
    tracker, other = LbmTracker(model), LbmTracker(model)
    tracker.start(video[0], points)
    other.start(video[0], points)
    with pytest.raises(ValueError, match=message):
        tracker.step(frame)
    np.testing.assert_array_equal(tracker.step(video[1]).points, other.step(video[1]).points)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 1], [61, 5]], r"point 1 at \(61, 5\) is outside the frame of 60x40 pixels \(1 of 2 points\)"),
        ([[-0.1, 5]], r"point 0 at \(-0.1, 5\) is outside"),
        ([[1, 1], [np.nan, 5]], r"point 1 is \(nan, 5.0\), not a finite position"),
        ([[np.inf, 5]], "not a finite position"),
        ([1.0, 2.0], r"expected numbers of shape \(N, 2\)"),
        ([[1.0, 2.0, 3.0]], r"expected numbers of shape \(N, 2\)"),
        ([["a", "b"]], "expected numbers"),
    ],
)
def test_bad_points_are_named_and_change_nothing(model, video, points, message):
    tracker = LbmTracker(model)
    with pytest.raises(ValueError, match=message):
        tracker.start(video[0], points)
    with pytest.raises(ValueError, match="no video has begun"):
        tracker.step(video[1])
    before = tracker.start(video[0], MIDDLE)
    with pytest.raises(ValueError, match=message):
        tracker.add(points)
    assert tracker.positions is before


def test_calls_out_of_order_and_settings_that_cannot_work(model, video):
    tracker = LbmTracker(model)
    for call in (lambda: tracker.step(video[0]), lambda: tracker.add(MIDDLE), lambda: tracker.remove([0])):
        with pytest.raises(ValueError, match=r"call start\(frame, points\) first"):
            call()
    tracker.start(video[0], MIDDLE)
    with pytest.raises(ValueError, match=r"no point with id 7 is followed \(2 unknown ids\)"):
        tracker.remove([0, 7, 9])
    with pytest.raises(ValueError, match="expected whole numbers"):
        tracker.remove([0.0])
    assert tracker.ids.tolist() == [0]
    with pytest.raises(ValueError, match="memory_size=0"):
        LbmTracker(model, 0)
    with pytest.raises(ValueError, match=r"call model.eval\(\)"):
        LbmTracker(build("lbm", **SMALL))


def test_weights_of_another_architecture_are_refused(model, tmp_path):
    other = build("lbm", **SMALL | {"dim": 64})
    with pytest.raises(ValueError, match=r"weights of another model: .*has shape"):
        load_into(other, model.state_dict(), tmp_path / "weights.safetensors")
