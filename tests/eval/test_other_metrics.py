"""Re-detection, accuracy by visibility, survival and median trajectory error against loops that count cell by cell."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.redetection import MINIMUM_FRAMES, compute_redetection, find_events
from eval.survival import compute_accuracy, compute_median_trajectory_error, compute_survival

THRESHOLDS = (1, 2, 4, 8, 16)


def make_video(seed, num_points, num_frames):
    generator = np.random.default_rng(seed)
    shape = (num_points, num_frames)
    truth = generator.uniform(0, 256, (*shape, 2)).round(1)
    # Right angles of whole numbers: errors land on the thresholds themselves.
    predicted = truth + generator.choice([0.0, 3, 4, 8, 16, 50, 60], (*shape, 1)) * [[1.0, 0.0]]
    stay = generator.random() ** 0.5  # long and short times of hiding
    occluded, predicted_occluded = (
        np.where(generator.random(shape) < stay, generator.random((num_points, 1)) < 0.5, generator.random(shape) < 0.5)
        for _ in range(2)
    )
    return generator.integers(0, num_frames, num_points), occluded, truth, predicted_occluded, predicted


def distance(a, b):
    return math.hypot(a[0] - b[0], a[1] - b[1])


def slow_events(occluded):
    events = []
    for n, row in enumerate(occluded.tolist()):
        longest = hidden = 0
        for t, is_hidden in enumerate(row):
            if is_hidden:
                hidden += 1
                continue
            if hidden > longest:
                events.append((n, t, hidden))
                longest = hidden
            hidden = 0
    return events


def slow_redetection(occluded, truth, predicted_occluded, predicted):
    scores = {}
    for minimum in MINIMUM_FRAMES:
        values = []
        for limit in THRESHOLDS:
            of_events = []
            for n, first, length in slow_events(occluded):
                hits = misses = false_alarms = 0
                for t in range(first, occluded.shape[1]):
                    is_near = distance(predicted[n, t], truth[n, t]) <= limit
                    is_hit = is_near and not occluded[n, t] and not predicted_occluded[n, t]
                    hits += is_hit
                    misses += not occluded[n, t] and not is_hit
                    false_alarms += not predicted_occluded[n, t] and not is_hit
                if length >= minimum:
                    of_events.append(hits / (hits + misses + false_alarms))
            values += [sum(of_events) / len(of_events)] if of_events else []
        scores[f"aj_rd_min_{minimum}"] = sum(values) / len(values) if values else math.nan
    defined = [value for value in scores.values() if not math.isnan(value)]
    return scores | {"aj_rd": sum(defined) / len(defined) if defined else math.nan}


def slow_accuracy(query_frame, occluded, truth, predicted):
    near = {limit: {"": [], "_vis": [], "_occ": []} for limit in THRESHOLDS}
    for n, t in np.ndindex(occluded.shape):
        for limit in THRESHOLDS:
            if t > query_frame[n]:
                is_near = distance(predicted[n, t], truth[n, t]) < limit
                near[limit][""].append(is_near)
                near[limit]["_occ" if occluded[n, t] else "_vis"].append(is_near)
    scores = {}
    for kind in ("", "_vis", "_occ"):
        shares = [sum(near[limit][kind]) / len(near[limit][kind]) if near[limit][kind] else math.nan for limit in near]
        scores |= {f"accuracy{kind}_{limit}": share for limit, share in zip(THRESHOLDS, shares, strict=True)}
        scores[f"accuracy{kind}"] = sum(shares) / len(shares)
    return scores


def slow_survival(query_frame, occluded, truth, predicted, failure):
    survived = total = 0
    for n, first in enumerate(query_frame):
        is_alive = True
        for t in range(first, occluded.shape[1]):
            is_alive &= bool(occluded[n, t]) or distance(predicted[n, t], truth[n, t]) <= failure
            survived += is_alive
            total += 1
    return survived / total


def slow_median_error(query_frame, occluded, truth, predicted):
    medians = []
    for n, first in enumerate(query_frame):
        frames = [t for t in range(first, occluded.shape[1]) if not occluded[n, t]]
        medians += [statistics.median(distance(predicted[n, t], truth[n, t]) for t in frames)] if frames else []
    return sum(medians) / len(medians) if medians else math.nan


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_points=st.integers(1, 5), num_frames=st.sampled_from([1, 2, 7, 30]))
def test_all_agree_with_the_slow_loops(seed, num_points, num_frames):
    query_frame, occluded, truth, predicted_occluded, predicted = make_video(seed, num_points, num_frames)
    assert list(zip(*(column.tolist() for column in find_events(occluded)), strict=True)) == slow_events(occluded)
    of_tracker = (occluded, truth, predicted_occluded, predicted)
    assert compute_redetection(*of_tracker) == pytest.approx(slow_redetection(*of_tracker), abs=1e-12, nan_ok=True)
    video = (query_frame, occluded, truth, predicted)
    assert compute_accuracy(*video) == pytest.approx(slow_accuracy(*video), abs=1e-12, nan_ok=True)
    for failure in (16, 50):
        assert compute_survival(*video, failure) == pytest.approx(slow_survival(*video, failure), abs=1e-12)
    wanted = pytest.approx(slow_median_error(*video), abs=1e-12, nan_ok=True)
    assert compute_median_trajectory_error(*video) == wanted


def test_an_event_is_hidden_longer_than_all_before_it():
    rows = ["1001101", "0110010", "1111111", "0000000"]  # 1: visible
    occluded = np.array([[letter == "0" for letter in row] for row in rows])
    events = list(zip(*(column.tolist() for column in find_events(occluded)), strict=True))
    # The second track begins hidden: where it first appears counts, as in the official code.
    assert events == [(0, 3, 2), (1, 1, 1), (1, 5, 2)]


def test_a_point_that_is_lost_stays_lost_and_hidden_frames_lose_nothing():
    truth = np.zeros((2, 4, 2))
    predicted = truth.copy()
    predicted[0, 1] = [50, 0]  # at the limit: not lost
    predicted[0, 2] = [51, 0]
    predicted[1, 1:3] = [99, 0]
    occluded = np.array([[0, 0, 0, 0], [0, 1, 1, 0]], bool)
    frames = np.zeros(2, int)
    assert compute_survival(frames, occluded, truth, predicted) == 6 / 8
    assert compute_median_trajectory_error(frames, occluded, truth, predicted) == pytest.approx(25 / 2)
    predicted[1, 3] = np.nan
    assert compute_survival(frames, occluded, truth, predicted) == 5 / 8


def test_shapes_that_do_not_fit_are_named():
    query_frame, occluded, truth, predicted_occluded, predicted = make_video(0, 3, 5)
    with pytest.raises(ValueError, match=r"pred_tracks must have shape \(3, 5, 2\).*not \(3, 4, 2\)"):
        compute_redetection(occluded, truth, predicted_occluded, predicted[:, :4])
    with pytest.raises(ValueError, match=r"query_frame must have shape \(3,\)"):
        compute_accuracy(query_frame[:2], occluded, truth, predicted)
    with pytest.raises(ValueError, match=r"gt_occluded must be \(N, T\)"):
        compute_survival(query_frame, occluded[0], truth, predicted)
