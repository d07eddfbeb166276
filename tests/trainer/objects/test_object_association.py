"""The match matrix by hand: points, areas, scores, labels, two softmaxes, the distance gate, and greedy choice."""

import numpy as np
import pytest

from tests.trainer.objects.sliding import SIZE, detect
from trainer.objects.association import Candidates, assign, count_points, distance_gate, match_matrix, softmax
from trainer.objects.boxes import from_xywh
from trainer.objects.settings import ObjectSettings

DEMO = ObjectSettings()


def wait(boxes, points, owner, *, labels=None, frames_since=None):
    """Tracks (x, y, width, height) that wait for a box, with points (N, 2) of the rows `owner`."""
    count = len(boxes)
    return Candidates(
        boxes=from_xywh(np.array(boxes, float)),
        labels=np.array(labels or [1] * count),
        frames_since=np.array(frames_since or [1] * count),
        points=np.array(points, float).reshape(-1, 2),
        owner=np.array(owner, np.int64),
    )


def test_softmax():
    values = np.array([[0.0, np.log(3)], [1000.0, 1000.0]])
    np.testing.assert_allclose(softmax(values, 1), [[0.25, 0.75], [0.5, 0.5]])
    np.testing.assert_allclose(softmax(values, 0).sum(0), 1)


def test_points_are_counted_per_box_and_track():
    boxes = from_xywh([[0, 0, 10, 10], [20, 0, 10, 10]])
    candidates = wait([[0, 0, 9, 9]] * 3, [[5, 5], [25, 5], [6, 6], [50, 50], [25, 6]], [0, 0, 1, 1, 1])
    assert count_points(boxes, candidates).tolist() == [[1, 1, 0], [1, 1, 0]]


def test_the_match_of_two_boxes_and_two_tracks_by_hand():
    # box 0 (area 100, score 0.8, label 1): two points of track 0, one of track 1
    # box 1 (area 400, score 0.5, label 2): none of track 0, one of track 1
    detections = detect((0, 0, 10, 10, 0.8, 1), (20, 0, 20, 20, 0.5, 2))
    candidates = wait([[0, 0, 10, 20], [20, 0, 10, 2]], [[5, 5], [6, 6], [7, 7], [25, 5]], [0, 0, 1, 1], labels=[1, 1])
    support = np.array(
        [
            [2 * 1.0 * 0.8 * 1.0, 1 * 0.2 * 0.8 * 1.0],  # ratio 200/100 is clamped to 1; 20/100
            [0.0, 1 * 0.1 * 0.5 * 0.5],  # ratio 20/400 is clamped to 0.1; another label
        ]
    )
    over_boxes = np.exp(support) / np.exp(support).sum(0)
    over_tracks = np.exp(support) / np.exp(support).sum(1, keepdims=True)
    np.testing.assert_allclose(match_matrix(detections, candidates, SIZE, DEMO), (over_boxes + over_tracks) / 2)


def test_a_match_without_points_is_kept_as_published_and_refused_on_demand():
    detections, candidates = detect((0, 0, 20, 20, 0.9, 1)), wait([[5, 5, 20, 20]], [[300, 300]], [0])
    assert match_matrix(detections, candidates, SIZE, DEMO)[0, 0] == 1.0  # softmax over a single candidate
    strict = ObjectSettings(min_points_inside=1)
    assert match_matrix(detections, candidates, SIZE, strict)[0, 0] == 0.0


def test_nothing_to_match():
    candidates = wait([[5, 5, 20, 20]], [[300, 300]], [0])
    assert match_matrix(detect(), candidates, SIZE, DEMO).shape == (0, 1)
    nobody = wait(np.zeros((0, 4)), [], [])
    empty = match_matrix(detect((0, 0, 20, 20, 0.9, 1)), nobody, SIZE, DEMO)
    assert empty.shape == (1, 0) and assign(empty, 0.1) == []


@pytest.mark.parametrize(("distance", "frames_since"), [(100, 1), (122, 1), (130, 1), (300, 5), (271, 5), (500, 3)])
def test_the_distance_gate(distance, frames_since):
    candidates = wait([[0, 0, 10, 10]], [], [], frames_since=[frames_since])
    free = 100 * np.exp(frames_since / 5)  # max_distance * exp(dt / (30 / 6))
    wanted = 1.0 if distance <= free else np.exp(-(distance - free) / (100 / 30))
    gate = distance_gate(from_xywh([[distance, 0, 10, 10]]), candidates, SIZE, DEMO)
    np.testing.assert_allclose(gate, [[wanted]])


def test_distances_are_compared_in_the_models_frame():
    candidates = wait([[0, 0, 10, 10]], [], [])
    far = from_xywh([[240, 0, 10, 10]])
    assert distance_gate(far, candidates, (768, 1024), DEMO)[0, 0] == 1.0  # 120 pixels at 512 x 384
    assert distance_gate(far, candidates, SIZE, DEMO)[0, 0] < 1e-10
    long_ago = wait([[0, 0, 10, 10]], [], [], frames_since=[100_000])
    assert distance_gate(far, long_ago, SIZE, DEMO)[0, 0] == 1.0


def test_each_box_takes_its_best_free_track_in_order():
    match = np.array([[0.5, 0.6, 0.1], [0.4, 0.9, 0.1], [0.05, 0.3, 0.1]])
    assert assign(match, 0.1) == [(0, 1), (1, 0)]  # box 1 would rather have had track 1; 0.1 is not above 0.1
    assert assign(match, 0.05) == [(0, 1), (1, 0), (2, 2)]
    assert match[0, 1] == 0.6  # the argument stays as it was
