"""Which detections are looked at: by score, area and shape; weak ones on stronger ones go."""

import numpy as np
import pytest

from tests.trainer.objects.sliding import SIZE, detect
from trainer.objects.boxes import contain, from_xywh, overlaps, to_xywh
from trainer.objects.detections import NO_DETECTIONS
from trainer.objects.filters import are_distractors, choose, have_good_shape
from trainer.objects.settings import PRESETS, ObjectSettings, make_settings

DEMO = ObjectSettings()


def test_boxes():
    boxes = from_xywh([[1, 2, 3, 4], [3, 2, 2, 4], [9, 9, 0, 0]])
    assert boxes[0].tolist() == [1, 2, 4, 6]
    np.testing.assert_array_equal(to_xywh(boxes), [[1, 2, 3, 4], [3, 2, 2, 4], [9, 9, 0, 0]])
    np.testing.assert_allclose(overlaps(boxes, boxes), [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 0]])  # 4 of 16
    points = np.array([[1, 2], [4, 6], [4.1, 6], [2, 7]])
    assert contain(boxes[:1], points).tolist() == [[True, True, False, False]]


def test_area_and_aspect_are_both_held():
    """The reference's `area > 50 & (...)` is `area > 0`: no small and no thin box was ever dropped."""
    boxes = from_xywh([[10, 10, 7, 7], [10, 10, 8, 8], [10, 10, 200, 19], [10, 10, 19, 200], [10, 10, 200, 21]])
    assert have_good_shape(boxes, SIZE, DEMO).tolist() == [False, True, False, False, True]


def test_area_is_counted_in_the_frame_that_is_compared():
    tiny = from_xywh([[10, 10, 7, 7]])
    assert have_good_shape(tiny, (192, 256), DEMO).all()  # four times as large at 512x384
    assert not have_good_shape(from_xywh([[10, 10, 10, 10]]), (768, 1024), DEMO).any()


def test_only_the_part_in_the_frame_counts():
    boxes = from_xywh([[-100, 0, 101, 40], [-100, 0, 90, 90], [500, 380, 50, 50], [0, 0, 0, 50]])
    assert have_good_shape(boxes, SIZE, DEMO).tolist() == [False, False, False, False]
    assert have_good_shape(from_xywh([[500, 300, 50, 50]]), SIZE, DEMO).all()


def test_weak_boxes_on_earlier_ones_are_distractors():
    boxes = from_xywh([[0, 0, 100, 100], [0, 0, 100, 50], [0, 0, 100, 31], [0, 50, 100, 14], [200, 0, 50, 50]])
    scores = np.array([0.9, 0.6, 0.4, 0.3, 0.2])
    assert are_distractors(boxes, scores, DEMO).tolist() == [False, False, True, False, False]


def test_choose_orders_by_score_and_leaves_weak_ones():
    found = detect(
        (0, 0, 50, 50, 0.05, 1), (0, 0, 50, 50, 0.1, 1), (5, 5, 50, 50, 0.3, 2), (0, 0, 50, 50, 0.45, 1),
        (100, 100, 50, 50, 0.9, 3),
    )  # fmt: skip
    chosen = choose(found, SIZE, DEMO)
    assert chosen.scores.tolist() == [0.9, 0.45]  # the box of label 2 lies on a better one of label 1
    assert chosen.labels.tolist() == [3, 1]
    assert len(choose(NO_DETECTIONS, SIZE, DEMO)) == 0


def test_presets_are_the_published_thresholds():
    names = ("init_score", "object_score", "match_score", "num_points", "memo_tracklet_frames", "memo_point_frames")
    wanted = {
        "tao": (0.01, 0.01, 0.01, 16, 10, 3),
        "ovtb": (0.01, 0.01, 0.01, 16, 10, 3),
        "bft": (0.3, 0.2, 0.01, 16, 10, 2),
        "demo": (0.1, 0.1, 0.1, 20, 30, 3),
    }
    assert {name: tuple(getattr(make_settings(name), key) for key in names) for name in PRESETS} == wanted
    assert all(
        (make_settings(name).max_distance, make_settings(name).frames_per_second) == (100, 30) for name in PRESETS
    )


def test_every_key_can_be_changed():
    changed = make_settings("bft", ["init_score=0.5", "num_points=4", "max_distance=50"])
    assert (changed.init_score, changed.num_points, changed.max_distance, changed.object_score) == (0.5, 4, 50.0, 0.2)


@pytest.mark.parametrize(
    ("preset", "words", "message"),
    [
        ("tap", [], "no preset 'tap', did you mean 'tao'"),
        ("tao", ["num_pointz=3"], "unknown key 'num_pointz', did you mean 'num_points'"),
        ("tao", ["num_points"], "expected key=value"),
        ("tao", ["num_points=many"], "not a number"),
        ("tao", ["num_points=0"], "num_points=0 must be at least 1"),
        ("tao", ["num_points=1.5"], "expected int"),
        ("tao", ["max_distance=NaN"], "max_distance=nan must be at least 0"),
        ("tao", ["min_area_ratio=2"], "must lie in 0..1"),
        ("tao", ["frames_per_second=0"], "must be above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(preset, words, message):
    with pytest.raises(ValueError, match=message):
        make_settings(preset, words)
