"""The fast metrics against official outputs, against a slow second implementation, and at the edges."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval import tapvid
from eval.tapvid import compute_tapvid_metrics, sample_queries_first, sample_queries_strided

GOLDEN = np.load(Path(__file__).parents[1] / "data/tapvid/golden.npz", allow_pickle=False)
CASES = json.loads(str(GOLDEN["index_json"]))
ARGUMENTS = ("query_points", "gt_occluded", "gt_tracks", "pred_occluded", "pred_tracks")


def slow_metrics(query_points, gt_occluded, gt_tracks, pred_occluded, pred_tracks, query_mode):
    """Count cell by cell, for one video; nan where there is nothing to count."""
    thresholds = (1, 2, 4, 8, 16)
    scored = right = visible = 0
    near, hits, false_alarms = (dict.fromkeys(thresholds, 0) for _ in range(3))
    num_points, num_frames = gt_occluded.shape
    for n in range(num_points):
        query_frame = round(float(query_points[n, 0]))
        for t in range(num_frames):
            if (t <= query_frame) if query_mode == "first" else (t == query_frame):
                continue
            scored += 1
            right += gt_occluded[n, t] == pred_occluded[n, t]
            visible += not gt_occluded[n, t]
            dx, dy = (pred_tracks[n, t, axis] - gt_tracks[n, t, axis] for axis in (0, 1))
            for k in thresholds:
                is_near = bool(dx * dx + dy * dy < k * k)
                near[k] += is_near and not gt_occluded[n, t]
                if not pred_occluded[n, t]:
                    is_hit = is_near and not gt_occluded[n, t]
                    hits[k] += is_hit
                    false_alarms[k] += not is_hit

    def ratio(a, b):
        return a / b if b else np.nan

    metrics = {"occlusion_accuracy": ratio(right, scored)}
    for k in thresholds:
        metrics[f"pts_within_{k}"] = ratio(near[k], visible)
        metrics[f"jaccard_{k}"] = ratio(hits[k], visible + false_alarms[k])
    metrics["average_jaccard"] = np.mean([metrics[f"jaccard_{k}"] for k in thresholds])
    metrics["average_pts_within_thresh"] = np.mean([metrics[f"pts_within_{k}"] for k in thresholds])
    return metrics


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_equals_the_official_metrics(case):
    prefix = case["case"]
    arguments = [GOLDEN[f"{prefix}/{name}"] for name in ARGUMENTS]
    metrics = compute_tapvid_metrics(*arguments, case["query_mode"], get_trackwise_metrics=case["trackwise"])
    official = {
        key.removeprefix(f"{prefix}/metrics/"): GOLDEN[key] for key in GOLDEN if key.startswith(f"{prefix}/metrics/")
    }
    assert set(metrics) == set(official)
    for name, value in official.items():
        assert metrics[name].shape == value.shape, name
        np.testing.assert_allclose(metrics[name], value, rtol=0, atol=1e-12, equal_nan=True, err_msg=name)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_samplers_equal_the_official_ones(mode):
    sample = {"first": sample_queries_first, "strided": sample_queries_strided}[mode]
    frames = np.zeros((23, 2, 2, 3), np.uint8)
    sampled = sample(GOLDEN["sampler/target_occluded"], GOLDEN["sampler/target_points"], frames)
    assert sampled.pop("video").shape == (1, 23, 2, 2, 3)
    official = {key.rsplit("/", 1)[1]: GOLDEN[key] for key in GOLDEN if key.startswith(f"sampler/{mode}/")}
    assert set(sampled) == set(official)
    for name, value in official.items():
        np.testing.assert_array_equal(sampled[name], value, err_msg=name)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_points=st.integers(1, 5),
    num_frames=st.integers(1, 9),
    mode=st.sampled_from(["first", "strided"]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_agrees_with_the_slow_loop(seed, num_points, num_frames, mode, dtype):
    generator = np.random.default_rng(seed)
    shape = (num_points, num_frames)
    query_points = generator.uniform(0, num_frames - 1, (num_points, 3)).astype(dtype)
    query_points[:, 0] = generator.integers(0, 2 * num_frames - 1, num_points) / 2  # halves: rounding matters
    truth = generator.uniform(0, 256, (*shape, 2)).astype(dtype)
    # Whole and half steps land on the thresholds themselves.
    predicted = (truth + generator.integers(-18, 19, truth.shape) * 0.5).astype(dtype)
    predicted[generator.random(shape) < 0.1] = np.nan
    predicted[generator.random(shape) < 0.05] = np.inf
    occluded, predicted_occluded = (generator.random(shape) < generator.random() for _ in range(2))
    arguments = (query_points, occluded, truth, predicted_occluded, predicted)
    fast = compute_tapvid_metrics(*(array[None] for array in arguments), mode)
    slow = slow_metrics(*arguments, mode)
    assert set(fast) == set(slow)
    for name, value in slow.items():
        np.testing.assert_allclose(fast[name], [value], rtol=0, atol=1e-12, equal_nan=True, err_msg=name)


def random_batch(num_videos=3, num_points=6, num_frames=12):
    generator = np.random.default_rng(5)
    shape = (num_videos, num_points, num_frames)
    query_points = np.zeros((*shape[:2], 3))
    query_points[..., 0] = generator.integers(0, num_frames - 2, shape[:2])
    truth = generator.uniform(0, 256, (*shape, 2))
    return {
        "query_points": query_points,
        "gt_occluded": generator.random(shape) < 0.3,
        "gt_tracks": truth,
        "pred_occluded": generator.random(shape) < 0.3,
        "pred_tracks": truth + generator.normal(0, 5, truth.shape),
    }


def test_a_batch_is_its_videos_one_by_one():
    batch = random_batch()
    together = compute_tapvid_metrics(**batch, query_mode="first")
    for index in range(3):
        alone = compute_tapvid_metrics(**{k: v[index : index + 1] for k, v in batch.items()}, query_mode="first")
        for name, value in alone.items():
            assert together[name][index] == value[0], name


def test_a_track_alone_scores_as_in_trackwise_metrics():
    batch = random_batch(num_videos=1)
    trackwise = compute_tapvid_metrics(**batch, query_mode="strided", get_trackwise_metrics=True)
    for track in range(6):
        alone = compute_tapvid_metrics(**{k: v[:, track : track + 1] for k, v in batch.items()}, query_mode="strided")
        for name, value in alone.items():
            np.testing.assert_equal(trackwise[name][0, track], value[0])


def test_inputs_are_left_as_they_were():
    batch = random_batch()
    before = {name: array.copy() for name, array in batch.items()}
    compute_tapvid_metrics(**batch, query_mode="first")
    for name, array in before.items():
        np.testing.assert_array_equal(batch[name], array)


def test_an_error_of_exactly_the_threshold_is_outside():
    truth = np.zeros((1, 1, 3, 2))
    predicted = truth.copy()
    predicted[0, 0, 1] = (4, 0)
    predicted[0, 0, 2] = (np.nextafter(4, 0), 0)
    occluded = np.zeros((1, 1, 3), bool)
    metrics = compute_tapvid_metrics(np.zeros((1, 1, 3)), occluded, truth, occluded, predicted, "first")
    assert metrics["pts_within_4"] == 0.5
    assert metrics["pts_within_8"] == 1.0
    assert metrics["pts_within_2"] == 0.0


def test_thresholds_are_read_from_the_named_constant(monkeypatch):
    monkeypatch.setattr(tapvid, "THRESHOLDS", (8, 3))
    metrics = compute_tapvid_metrics(**random_batch(), query_mode="first")
    assert {name for name in metrics if name.startswith("pts_within")} == {"pts_within_3", "pts_within_8"}
    assert (metrics["pts_within_3"] < metrics["pts_within_8"]).all()
    expected = (metrics["pts_within_3"] + metrics["pts_within_8"]) / 2
    np.testing.assert_allclose(metrics["average_pts_within_thresh"], expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_mode": "frist"}, "unknown query mode 'frist'"),
        ({"pred_tracks": np.zeros((3, 6, 11, 2))}, r"pred_tracks must have shape \(3, 6, 12, 2\)"),
        ({"query_points": np.full((3, 6, 3), 12.0)}, r"query frames must lie in 0\.\.11"),
        ({"query_points": np.full((3, 6, 3), np.nan)}, "query frames"),
        ({"gt_occluded": np.zeros((6, 12), bool)}, r"gt_occluded must be \(B, N, T\)"),
    ],
)
def test_wrong_inputs_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        compute_tapvid_metrics(**{**random_batch(), "query_mode": "first", **change})


@pytest.mark.parametrize("sample", [sample_queries_first, sample_queries_strided])
def test_a_video_where_nothing_is_visible_has_no_queries(sample):
    sampled = sample(np.ones((4, 7), bool), np.zeros((4, 7, 2)))
    assert sampled["query_points"].shape == (1, 0, 3)
    assert sampled["target_points"].shape == (1, 0, 7, 2)
    empty = sampled["target_points"], sampled["occluded"]
    metrics = compute_tapvid_metrics(sampled["query_points"], empty[1], empty[0], empty[1], empty[0], "first")
    assert all(np.isnan(value).all() for value in metrics.values())


def test_strided_sampling_takes_its_stride():
    occluded = np.zeros((2, 7), bool)
    occluded[1, 3] = True
    sampled = sample_queries_strided(occluded, np.arange(28.0).reshape(2, 7, 2), query_stride=3)
    np.testing.assert_array_equal(sampled["query_points"][0, :, 0], [0, 0, 3, 6, 6])
    np.testing.assert_array_equal(sampled["trackgroup"][0], [0, 1, 0, 0, 1])
    np.testing.assert_array_equal(sampled["query_points"][0, 2], [3, 7, 6])  # (t, y, x) of track 0 at (6, 7)
