"""Scores of people: perfect for the truth, equal to slow loops, with failures counted and intervals over bodies."""

import dataclasses
import json

import numpy as np
import pytest

from eval.people import solver
from eval.people.constant import find_constant, nearest_rotation, predict_constant
from eval.people.metrics import LIMBS, METRICS
from eval.people.predictions import NONE, PREDICTED, PeoplePredictions, PersonPrediction
from eval.people.score import read_people_score, score_people, write_people_score
from eval.people.summary import summarize
from eval.people.table import (
    read_people_tables,
    render_csv,
    render_people_comparison,
    render_people_markdown,
    row_name,
)
from eval.people.truth import PeopleTruth
from shards import ClipStore
from shards.people.body import pose_body, write_body
from shards.people.raster import draw
from tests.eval.people.persons import SIZE, draw_rotations, pack_people, write_exact


def noisy(clip):
    """A model that errs a little in everything."""
    rng = np.random.default_rng(clip.metadata["seed"])
    person = clip.person
    return {
        "depth_m": (person.pelvis_m[:, 2] * rng.uniform(0.9, 1.1, len(clip.video))).astype(np.float32),
        "rotations": person.rotations @ draw_rotations(rng, *person.rotations.shape[:2], degrees=6),
        "joints_px": clip.tracks + rng.normal(0, 0.5, clip.tracks.shape).astype(np.float32),
    }


@pytest.fixture(scope="module")
def paths(people_index, tmp_path_factory):
    folder = tmp_path_factory.mktemp("predictions")
    return {
        "exact": write_exact(folder / "exact.npz", people_index),
        "noisy": write_exact(folder / "noisy.npz", people_index, noisy, model="noisy"),
    }


def test_the_truth_scores_perfectly(paths, people_index, body_path):
    score = score_people(paths["exact"], people_index, body_path)
    assert set(score["mean"]) == set(METRICS)
    for metric, value in score["mean"].items():
        assert value == pytest.approx(1 if METRICS[metric].is_better_high else 0, abs=2e-5), metric
    assert (score["num_failed"], score["failed"], score["num_clips"], score["num_frames"]) == (0, [], 5, 20)
    assert score["body"]["name"] == "toy"


def slow_errors(clip, prediction, body):
    """MPJPE, PVE, T_xy, IoU of one clip by loops over its frames, with cameras found by another solver (lstsq)."""
    person, found = clip.person, []
    for t in range(len(clip.video)):
        ours = pose_body(body, prediction.shape[t : t + 1], prediction.rotations[t : t + 1])
        true = pose_body(body, person.shape[t : t + 1], person.rotations[t : t + 1])
        limbs = [list(body.joint_names).index(name) for name in LIMBS]
        joint = np.mean([np.linalg.norm(ours.joints_m[0, j] - true.joints_m[0, j]) for j in limbs])
        vertex = np.mean([np.linalg.norm(a - b) for a, b in zip(ours.vertices_m[0], true.vertices_m[0], strict=True)])
        rows, offsets = [], []
        for j, (x, y, z) in enumerate(ours.joints_m[0]):
            z = z + prediction.depth_m[t]
            rows += [[x / z, 1 / z, 0], [y / z, 0, 1 / z]]
            offsets += (prediction.joints_px[t, j] - SIZE / 2).tolist()
        focal, fx, fy = np.linalg.lstsq(np.array(rows), np.array(offsets), rcond=None)[0]
        pelvis = np.array([fx / focal, fy / focal, prediction.depth_m[t]])
        masks = [
            draw(vertices[0] + place, body.faces, f, np.full(2, SIZE / 2), (SIZE, SIZE)).mask
            for vertices, place, f in (
                (ours.vertices_m, pelvis, focal),
                (true.vertices_m, person.pelvis_m[t], person.focal_px[t]),
            )
        ]
        place = np.hypot(*(pelvis - person.pelvis_m[t])[:2])
        error = abs(focal - person.focal_px[t]) / person.focal_px[t]
        found.append([joint, vertex, place, error, (masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum()])
    return np.array(found)


def test_scores_are_those_of_loops(paths, people_index, body_path, body, monkeypatch):
    monkeypatch.setattr(solver, "OUTLIER", 1e9)  # the loop is of plain least squares
    score = score_people(paths["noisy"], people_index, body_path)
    store, predictions = ClipStore(people_index), PeoplePredictions(paths["noisy"])
    slow = np.concatenate([slow_errors(clip, predictions.clip(clip.key), body) for clip in map(store.read, range(5))])
    names = ("joint_error", "vertex_error", "place_error", "focal_error", "mask_iou")
    np.testing.assert_allclose([score["mean"][name] for name in names], slow.mean(0), rtol=1e-4)
    assert 0.01 < score["mean"]["relative_depth_error"] < 0.1
    assert score["mean"]["part_iou"] < score["mean"]["mask_iou"] < 1
    assert score["mean"]["aligned_joint_error"] < score["mean"]["joint_error"]


def test_intervals_hold_the_mean_and_bins_hold_their_frames(paths, people_index, body_path):
    score = score_people(paths["noisy"], people_index, body_path)
    for metric, (low, high) in score["interval"].items():
        assert low < score["mean"][metric] < high
    assert sum(summary["num_frames"] for summary in score["by_distance"].values()) == 20
    depths = np.concatenate([person.pelvis_m[:, 2] for _, person, _ in PeopleTruth(people_index, body_path).people()])
    assert score["by_distance"]["1.5-3 m"]["num_frames"] == ((depths >= 1.5) & (depths < 3)).sum() > 0
    assert score == score_people(paths["noisy"], people_index, body_path)
    assert score["interval"] != score_people(paths["noisy"], people_index, body_path, seed=1)["interval"]


def test_the_interval_of_bodies_is_wider_than_that_of_frames_that_repeat_them():
    """Ten frames of one body say as little as one: the interval is over clips."""
    clip_values = np.random.default_rng(0).normal(size=30)
    clips = np.array([f"clip{i:02d}" for i in range(30)])
    once = summarize({"m": clip_values}, clips, np.ones(30))
    often = summarize({"m": np.repeat(clip_values, 10)}, np.repeat(clips, 10), np.ones(300))
    assert once["interval"]["m"] == pytest.approx(often["interval"]["m"])
    low, high = once["interval"]["m"]
    half = 1.96 * clip_values.std() / np.sqrt(30)
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)


def test_what_is_undefined_is_left_out_and_counted():
    values = {"m": np.array([1.0, np.nan, 3.0, 5.0]), "n": np.full(4, np.nan)}
    summary = summarize(values, np.array(["a", "a", "b", "b"]), np.array([0.6, 0.7, 2.0, 20.0]))
    assert summary["mean"] == {"m": 3.0, "n": None}
    assert summary["num_defined"] == {"m": 3, "n": 0}
    assert summary["interval"]["n"] is None
    assert summary["clips"] == {"a": {"m": 1.0, "n": None}, "b": {"m": 4.0, "n": None}}
    assert summary["by_distance"]["1.5-3 m"]["mean"]["m"] == 3.0
    assert summary["by_distance"]["1.5-3 m"]["interval"]["m"] is None  # of one body


def test_a_camera_that_fails_is_counted_listed_and_agrees_in_nothing(people_index, body_path, tmp_path):
    def lost(clip):
        if clip.key != "people-2":
            return {}
        score = np.ones(clip.visible.shape, np.float32)
        score[1] = 0
        return {"joints_score": score}

    path = write_exact(tmp_path / "lost.npz", people_index, lost)
    score = score_people(path, people_index, body_path)
    assert score["failed"] == [{"clip": "people-2", "frame": 1, "reason": solver.TOO_FEW}]
    assert score["failures"] == {solver.TOO_FEW: 1} and score["num_failed"] == 1
    assert score["num_defined"]["focal_error"] == 19 and score["mean"]["focal_error"] < 1e-5
    assert score["mean"]["mask_iou"] == pytest.approx(19 / 20, abs=1e-4)
    with pytest.raises(
        ValueError, match=r"the camera of 5% of the frames cannot be solved, more than 1% .* people-2 f"
    ):
        score_people(path, people_index, body_path, most_failed=0.01)


def test_a_model_of_depth_alone_has_metrics_of_depth_alone(people_index, body_path, tmp_path):
    no_pose = dict.fromkeys(("shape", "rotations", "joints_px", "joints_score"))
    path = write_exact(tmp_path / "depth.npz", people_index, lambda clip: no_pose, condition=NONE)
    score = score_people(path, people_index, body_path)
    assert set(score["mean"]) == {"depth_error", "relative_depth_error", "inverse_depth_error"}
    assert (score["model"], row_name(score)) == ("exact", "exact")
    blind = score_people(write_exact(tmp_path / "none.npz", people_index, condition=NONE), people_index, body_path)
    assert row_name(blind) == "exact, no depth"
    half = write_exact(tmp_path / "half.npz", people_index, lambda clip: no_pose if clip.key == "people-0" else {})
    with pytest.raises(ValueError, match=r"half\.npz: some clips have a pose or 2D joints and others not"):
        score_people(half, people_index, body_path)


def test_predictions_of_something_else_are_refused(paths, people_index, body_path, body, tmp_path):
    other = pack_people(tmp_path, body, "others", first_seed=50)
    with pytest.raises(ValueError, match=r"exact\.npz: made for another truth .* predict again with --truth"):
        score_people(paths["exact"], other, body_path)
    wrong = write_exact(tmp_path / "wrong.npz", people_index, body="0" * 16)
    with pytest.raises(ValueError, match=r"wrong\.npz: made for another body"):
        score_people(wrong, people_index, body_path)
    other_body = write_body(tmp_path / "other.npz", dataclasses.replace(body, name="giant"))
    with pytest.raises(ValueError, match=r"clip people-0 was made with the body \w{16}, .*other\.npz is"):
        score_people(paths["exact"], people_index, other_body)

    def short(clip):
        return {} if clip.key != "people-3" else {"shape": clip.person.shape[:, :1]}

    with pytest.raises(ValueError, match=r"short\.npz: people-3: body toy: shape is \(4, 1\), expected \(4, 2\)"):
        score_people(write_exact(tmp_path / "short.npz", people_index, short), people_index, body_path)


def test_shards_without_people_are_no_truth(dataset, body_path):
    with pytest.raises(ValueError, match="has no person; it is no data set of people"):
        PeopleTruth(dataset(), body_path)


def test_tables_show_means_intervals_bins_and_the_body(paths, people_index, body_path, tmp_path):
    files = [
        write_people_score(score_people(paths[name], people_index, body_path), tmp_path / f"{name}.json")
        for name in ("exact", "noisy")
    ]
    (table,) = tables = read_people_tables(files)
    assert [score["model"] for score in table.scores] == ["exact", "noisy"]
    markdown = render_people_markdown(tables)
    score = read_people_score(files[1])
    low, high = score["interval"]["vertex_error"]
    assert f"{1000 * score['mean']['vertex_error']:.1f} [{1000 * low:.1f}, {1000 * high:.1f}]" in markdown
    assert "Body model: toy" in markdown and "| 1.5-3 m |" in markdown
    assert "| true T_z | frames | model |" in markdown
    lines = render_csv(tables).splitlines()
    assert lines[0].startswith("benchmark,body,model,true_depth,metric,mean,low,high,num_frames")
    assert f"people,toy,noisy,all,vertex_error,{score['mean']['vertex_error']}" in "\n".join(lines)
    told = render_people_comparison(*files)
    row = next(line for line in told.splitlines() if line.startswith("| PVE mm"))
    assert row.endswith("| yes | 5 |") and "noisy against exact" in told
    with pytest.raises(ValueError, match=r"'exact' is also in"):
        read_people_tables([files[0], files[0]])
    changed = json.loads(files[1].read_text()) | {"truth_sha256": "0" * 64}
    (tmp_path / "changed.json").write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="scored with another truth_sha256"):
        read_people_tables([files[0], tmp_path / "changed.json"])
    with pytest.raises(ValueError, match="do not compare: truth_sha256 differs"):
        render_people_comparison(files[0], tmp_path / "changed.json")


def test_the_constant_is_the_median_depth_and_a_mean_body(people_index, body_path, body, tmp_path):
    training = pack_people(tmp_path, body, "training", num_clips=7, first_seed=100)
    path = predict_constant(training, people_index, body_path, tmp_path / "constant.npz")
    predictions = PeoplePredictions(path)
    assert (predictions.model, predictions.condition) == ("constant", PREDICTED)
    depths = np.concatenate([p.pelvis_m[:, 2] for _, p, _ in PeopleTruth(training, body_path).people()])
    clip = predictions.clip("people-1")
    np.testing.assert_allclose(clip.depth_m, np.median(depths))
    assert isinstance(clip, PersonPrediction) and np.ptp(clip.rotations, axis=0).max() == 0
    score = score_people(path, people_index, body_path)
    true = np.concatenate([p.pelvis_m[:, 2] for _, p, _ in PeopleTruth(people_index, body_path).people()])
    assert score["mean"]["depth_error"] == pytest.approx(np.abs(true - np.median(depths)).mean(), rel=1e-5)
    assert 0.02 < score["mean"]["vertex_error"] < 1
    with pytest.raises(ValueError, match="this is the truth that would be scored"):
        predict_constant(people_index, people_index, body_path, tmp_path / "x.npz")


def test_no_constant_depth_has_a_smaller_error_on_its_own_set(people_index, body_path):
    truth = PeopleTruth(people_index, body_path)
    depths = np.concatenate([p.pelvis_m[:, 2] for _, p, _ in truth.people()])
    best = np.abs(depths - find_constant(truth)["depth_m"]).mean()
    assert all(best <= np.abs(depths - other).mean() + 1e-6 for other in np.linspace(0.5, 6, 200))


def test_the_mean_of_rotations_is_a_rotation_and_of_equal_ones_itself():
    rotations = draw_rotations(np.random.default_rng(0), 9, 4, degrees=60)
    mean = nearest_rotation(rotations.mean(0, dtype=float))
    np.testing.assert_allclose(mean @ mean.swapaxes(-1, -2), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-9)
    assert (np.linalg.det(mean) > 0.99).all()
    np.testing.assert_allclose(nearest_rotation(rotations[0].astype(float)), rotations[0], atol=1e-6)
