"""Birth, confirmation, memory and death of tracks, on points whose motion is known."""

from collections import Counter

import numpy as np
import pytest

from tests.trainer.objects.sliding import SIZE, SlidingPoints, detect
from trainer.objects.boxes import contain
from trainer.objects.detections import NO_DETECTIONS
from trainer.objects.object_tracker import ObjectTracker
from trainer.objects.settings import ObjectSettings

FRAME = np.zeros((*SIZE, 3), np.uint8)
RIGHT = np.array([10.0, 0.0])
STRICT = ObjectSettings(min_points_inside=1)


def still(points, t):
    return np.zeros_like(points)


def rightward(points, t):
    return np.broadcast_to(RIGHT, points.shape)


def box_at(x, *, y=100, score=0.9, label=1, side=40):
    return (x, y, side, side, score, label)


def run(tracker, frames):
    """Step through lists of detection rows; returns the track ids of each frame, in the order of scores."""
    return [[found.track_id for found in tracker.step(FRAME, detect(*rows))] for rows in frames]


def test_a_track_follows_its_points_past_another_box():
    """Two objects swap places; nearest boxes would exchange them, points do not."""

    def cross(points, t):
        is_upper = points[:, 1] < 200
        return np.where(is_upper[:, None], [60.0, 0], [-60.0, 0])

    tracker = ObjectTracker(SlidingPoints(cross), STRICT)
    frames = [
        [box_at(50 + 60 * t, y=180, score=0.9), box_at(290 - 60 * t, y=200, score=0.8, side=39)] for t in range(5)
    ]
    frames[2] = []  # they lie on each other and are not detected
    found = run(tracker, frames)
    assert found == [[1, 2], [1, 2], [], [1, 2], [1, 2]]


def test_tracks_are_born_above_the_init_score_only():
    tracker = ObjectTracker(SlidingPoints(still), ObjectSettings(init_score=0.5, object_score=0.2, match_score=0.01))
    assert run(tracker, [[box_at(50, score=0.4)], [box_at(50, score=0.9)], [box_at(50, score=0.3)]]) == [[], [1], [1]]


def test_a_track_that_the_next_frame_does_not_confirm_is_taken_back():
    points = SlidingPoints(still)
    tracker = ObjectTracker(points, STRICT)
    assert run(tracker, [[box_at(50)], [], [box_at(50)], [box_at(50)]]) == [[1], [], [2], [2]]
    assert len(points.ids) == STRICT.num_points  # those of the first track were given up


def test_a_confirmed_track_waits_for_its_box_and_then_ends():
    waiting = ObjectSettings(memo_tracklet_frames=3, min_points_inside=1)
    seen, gone = [box_at(50)], []
    points = SlidingPoints(still)
    assert run(ObjectTracker(points, waiting), [seen, seen, gone, gone, seen]) == [[1], [1], [], [], [1]]
    tracker = ObjectTracker(points, waiting)
    assert run(tracker, [seen, seen, gone, gone, gone]) == [[1], [1], [], [], []]
    assert len(points.ids) == 0 and tracker.owners == {}
    assert run(tracker, [seen]) == [[2]]


def test_a_new_video_knows_nothing_of_the_last_one():
    """In the reference one model for all videos kept tracks, frame count and memory."""
    points, rng = SlidingPoints(rightward), np.random.default_rng(0)
    first = [[box_at(float(x), y=50), box_at(float(x), y=250)] for x in rng.uniform(0, 300, 6)]
    second = [[box_at(50 + 10 * t), box_at(200 + 10 * t, y=200)] for t in range(5)]
    run(ObjectTracker(points, STRICT, seed=1), first)
    after = ObjectTracker(points, STRICT, seed=2)
    fresh = ObjectTracker(SlidingPoints(rightward), STRICT, seed=2)
    for rows in second:
        found, wanted = after.step(FRAME, detect(*rows)), fresh.step(FRAME, detect(*rows))
        assert [(f.track_id, f.box.tolist()) for f in found] == [(w.track_id, w.box.tolist()) for w in wanted]
        np.testing.assert_array_equal(after.positions.points, fresh.positions.points)
    assert set(after.owners.values()) == {1, 2} and len(points.ids) == 2 * STRICT.num_points


def test_inside_means_where_points_are_now():
    """Points that move along with their box stay, however far from where they were sampled (the reference's fault)."""
    points = SlidingPoints(rightward)
    tracker = ObjectTracker(points, STRICT)
    run(tracker, [[box_at(50 + 10 * t)] for t in range(12)])
    assert points.calls == [STRICT.num_points]  # nothing was sampled anew
    assert points.ids.tolist() == list(range(STRICT.num_points))


def test_points_that_stay_behind_are_sampled_anew_in_the_box():
    """The same box over points that do not move: sampled positions would all count as outside of it at once."""
    points = SlidingPoints(lambda p, t: np.where(p[:, :1] < 60, 0.0, 10.0) * [1, 0])  # the box's left edge stays behind
    settings = ObjectSettings(memo_point_frames=2, num_points=40)
    tracker = ObjectTracker(points, settings)
    run(tracker, [[box_at(50)]])
    stuck = set(points.ids[points.points[:, 0] < 60].tolist())
    assert 0 < len(stuck) < settings.num_points
    run(tracker, [[box_at(70)]])  # one frame outside
    assert stuck <= set(points.ids.tolist())
    run(tracker, [[box_at(80)]])  # the second one
    assert not stuck & set(points.ids.tolist())
    assert len(points.ids) == settings.num_points and points.calls == [settings.num_points, len(stuck)]
    assert contain(np.array([[80, 100, 120, 140]]), points.points[points.ids >= settings.num_points]).all()


def test_hidden_points_inside_are_sampled_anew_too():
    points = SlidingPoints(still, hidden=lambda p, t: p[:, 0] < 70)
    tracker = ObjectTracker(points, ObjectSettings(memo_point_frames=3))
    run(tracker, [[box_at(50)]] * 4)
    assert len(points.calls) == 2 and points.calls[1] < points.calls[0]
    assert len(points.ids) == 20


def test_frames_without_a_box_do_not_age_points():
    points = SlidingPoints(still)
    tracker = ObjectTracker(points, ObjectSettings(memo_point_frames=1, memo_tracklet_frames=10))
    run(tracker, [[box_at(50)], [box_at(50)], [], [], [], [box_at(50)]])
    assert points.calls == [20]


def test_all_points_of_a_frame_are_added_in_one_call_and_inside_the_frame():
    points = SlidingPoints(still)
    ObjectTracker(points, ObjectSettings()).step(FRAME, detect((-30, -30, 60, 60, 0.9, 1), (480, 350, 90, 90, 0.9, 2)))
    assert points.calls == [40]
    assert ((points.points >= 0) & (points.points <= (SIZE[1], SIZE[0]))).all()


def test_randomness_is_a_value():
    def places(**keys):
        points = SlidingPoints(still)
        ObjectTracker(points, ObjectSettings(seed=keys.pop("settings_seed", 0)), **keys).step(FRAME, detect(box_at(50)))
        return points.points.tolist()

    assert places(seed=3) == places(seed=3)
    assert places(seed=3) != places(seed=4)
    assert places(seed=3) != places(seed=3, settings_seed=1)


def test_a_video_without_detections():
    points = SlidingPoints(still)
    tracker = ObjectTracker(points, ObjectSettings())
    assert [tracker.step(FRAME, NO_DETECTIONS) for _ in range(3)] == [[], [], []]
    assert points.calls == []


def test_the_category_of_each_box_is_kept():
    tracker = ObjectTracker(SlidingPoints(still), ObjectSettings())
    labels = [[(f.track_id, f.label) for f in tracker.step(FRAME, detect(box_at(50, label=n)))] for n in (4, 7)]
    assert labels == [[(1, 4)], [(1, 7)]]


@pytest.mark.parametrize("seed", range(3))
def test_ids_and_points_stay_consistent_on_random_detections(seed):
    rng = np.random.default_rng(seed)
    points = SlidingPoints(lambda p, t: rng.normal(0, 30, p.shape), hidden=lambda p, t: rng.random(len(p)) < 0.3)
    tracker = ObjectTracker(points, ObjectSettings(memo_tracklet_frames=2, num_points=5))
    for _ in range(30):
        count = rng.integers(0, 6)
        places = rng.uniform([-20, -20, 0, 0], [500, 380, 200, 200], (count, 4))
        rows = np.concatenate([places, rng.random((count, 1)), rng.integers(1, 3, (count, 1))], 1)
        found = tracker.step(FRAME, detect(*rows))
        assert len({f.track_id for f in found}) == len(found)
        assert sorted(tracker.owners) == sorted(points.ids.tolist())
        assert set(Counter(tracker.owners.values()).values()) <= {5}
