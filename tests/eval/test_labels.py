"""Videos that are annotated in some frames only: packed, scored there alone, and by PCK with known numbers."""

import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from eval.labels import compute_pck, joint_box_area, keep_labelled
from eval.predictions import Making, VideoPrediction, write_predictions
from eval.protocol import Truth
from eval.score import score_predictions
from eval.table import read_tables, render_markdown
from shards.layouts.badja import read_badja
from shards.layouts.choice import Choice, cut_clips

HEIGHT, WIDTH = 64, 128
FRAMES = (1, 3, 4, 7)  # of 9
NUM_FRAMES, NUM_JOINTS = 9, 5


def make_video(**changes):
    """Joints that move 2 pixels a frame to the right; joint 4 is hidden in frame 3."""
    rng = np.random.default_rng(0)
    start = np.array([[20.0, 10.0], [30.0, 40.0], [60.0, 20.0], [70.0, 50.0], [80.0, 30.0]])  # (x, y)
    pixels = np.repeat(start[:, None], NUM_FRAMES, axis=1)
    pixels[..., 0] += 2 * np.arange(NUM_FRAMES)
    labelled = np.zeros((NUM_JOINTS, NUM_FRAMES), bool)
    labelled[:, FRAMES] = True
    occluded = ~labelled
    occluded[4, 3] = True
    points = np.where(labelled[..., None], pixels / (WIDTH, HEIGHT), 0).astype(np.float32)
    video = rng.integers(0, 255, (NUM_FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return {"video": video, "points": points, "occluded": occluded, "labelled": labelled} | changes


def pack(folder, **changes):
    (folder / "badja.pkl").write_bytes(pickle.dumps({"horse": make_video(**changes)}))
    index = folder / "index.json"
    packing = ["pack", "--source", "badja", str(folder), "--out", str(folder / "shard-000000")]
    indexing = ["index", str(folder / "shard-000000.json"), "--dataset", "badja", "--out", str(index)]
    for arguments in (packing, indexing):
        subprocess.run([sys.executable, "-m", "shards", *arguments], check=True, capture_output=True)
    return index


def predict(index, change, query_mode="first"):
    """The truth, changed: `change(tracks, occluded)` in place; what is between the labels is nonsense."""
    truth = Truth(index)
    video = truth.video("horse", query_mode)
    tracks, occluded = video.target_points.astype(np.float32), video.occluded.copy()
    between = np.setdiff1d(np.arange(NUM_FRAMES), FRAMES)
    tracks[:, between], occluded[:, between] = 99999.0, False
    change(tracks, occluded)
    prediction = VideoPrediction(name="horse", query_points=video.query_points, tracks=tracks, occluded=occluded)
    path = index.parent / "p.npz"
    making = Making(before_query="tracked")
    return write_predictions(
        path, tracker="t", query_mode=query_mode, truth_sha256=truth.sha256, videos=[prediction], making=making
    )


def leave(tracks, occluded):
    pass


def test_frames_without_labels_count_for_nothing(tmp_path):
    index = pack(tmp_path)
    mean = score_predictions(predict(index, leave), index)["mean"]
    assert mean["average_jaccard"] == mean["average_pts_within_thresh"] == mean["occlusion_accuracy"] == 1
    assert mean["pck_box"] == 1


def test_other_metrics_and_those_of_each_track_leave_the_other_frames_out_too(tmp_path):
    index = pack(tmp_path)
    score = score_predictions(predict(index, leave), index, also=["survival", "redetection"], with_tracks=True)
    assert score["mean"]["survival"] == 1
    assert score["mean"]["median_trajectory_error"] < 1e-3
    assert score["mean"]["aj_rd"] == 1  # joint 4 is seen again in frame 4
    assert score["tracks"]["horse"]["average_jaccard"] == [1] * NUM_JOINTS


def test_a_video_without_a_query_has_no_score(tmp_path):
    index = pack(tmp_path)
    assert len(Truth(index).video("horse", "strided").query_points) == 0  # frames 0 and 5 are not labelled
    score = score_predictions(predict(index, leave, "strided"), index)
    assert set(score["mean"].values()) == {None}


def test_scores_of_labelled_frames_by_hand(tmp_path):
    index = pack(tmp_path)

    def change(tracks, occluded):
        tracks[0, 3, 0] += 3  # 3 px at 256x256: within 4, 8, 16
        tracks[1, 7, 1] += 100  # lost
        occluded[4, 3] = False  # said to be visible, and is not

    mean = score_predictions(predict(index, change), index)["mean"]
    # Labelled after the query in frame 1: 5 joints in 3 frames, of which one cell is hidden.
    assert mean["occlusion_accuracy"] == pytest.approx(14 / 15)
    assert mean["pts_within_2"] == pytest.approx(12 / 14)
    assert mean["pts_within_4"] == pytest.approx(13 / 14)
    assert mean["jaccard_4"] == pytest.approx(13 / (14 + 2))
    # 100 px at 256x256 are 25 of the stored 64 rows; the box is 60x40 and its root 49: below 9.8 counts.
    assert mean["pck_box"] == pytest.approx(13 / 14)
    assert "pck" not in mean


def test_the_area_of_a_segmentation_gives_pck_as_published(tmp_path):
    index = pack(tmp_path, segmentation_area=np.arange(NUM_FRAMES) * 100.0)  # 700 in frame 7: below 5.29 counts

    def change(tracks, occluded):
        tracks[0, 7, 0] += 5.2 * 256 / WIDTH
        tracks[1, 7, 0] += 5.4 * 256 / WIDTH

    score = score_predictions(predict(index, change), index)
    assert score["mean"]["pck"] == pytest.approx(13 / 14)
    assert score["mean"]["pck_box"] == 1
    (tmp_path / "score.json").write_text(json.dumps(score))
    header = render_markdown(read_tables([tmp_path / "score.json"])).splitlines()[4]
    assert header.startswith("| tracker | delta_avg | AJ | OA | PCK | PCK of the joints' box | <1 px")


def test_pck_agrees_with_a_loop():
    rng = np.random.default_rng(1)
    target, predicted = rng.uniform(0, 50, (2, 6, 7, 2))
    evaluated, area = rng.random((6, 7)) < 0.5, np.array([0, *rng.uniform(100, 9000, 6)])
    cells = [
        np.hypot(*(target[n, t] - predicted[n, t])) < 0.2 * area[t] ** 0.5
        for n in range(6)
        for t in range(7)
        if evaluated[n, t] and area[t] > 0
    ]
    assert 0 < sum(cells) < len(cells)
    assert compute_pck(target, predicted, evaluated, area) == pytest.approx(sum(cells) / len(cells))
    assert compute_pck(target, predicted, evaluated & False, area) is None


def test_the_box_of_the_visible_joints():
    points = np.array([[[1.0, 2.0], [0, 0], [0, 0]], [[4.0, 8.0], [5, 5], [0, 0]], [[99.0, 99.0], [9, 9], [0, 0]]])
    visible = np.array([[True, False, False], [True, True, False], [False, False, False]])
    np.testing.assert_array_equal(joint_box_area(points, visible), [18, 0, 0])


def test_a_query_between_the_labels_is_refused(tmp_path):
    index = pack(tmp_path)
    video = Truth(index).video("horse", "first")
    moved = video.query_points + np.array([1, 0, 0])
    prediction = VideoPrediction(name="horse", query_points=moved, tracks=video.target_points, occluded=video.occluded)
    with pytest.raises(ValueError, match="horse: a query is in a frame without labels"):
        keep_labelled(replace(video, query_points=moved), prediction)


def test_a_cut_clip_keeps_the_labels_of_its_frames(tmp_path):
    (tmp_path / "badja.pkl").write_bytes(pickle.dumps({"horse": make_video()}))
    cut = list(cut_clips(read_badja(tmp_path), Choice(start=3)))
    assert cut[0].metadata["labels"] == {"frames": [0, 1, 4]}
    assert cut[0].visible.any(axis=1).nonzero()[0].tolist() == [0, 1, 4]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labelled": np.ones((NUM_JOINTS, 3), bool)}, r"labelled has shape \(5, 3\), occluded has \(5, 9\)"),
        ({"labelled": np.zeros((NUM_JOINTS, NUM_FRAMES), bool)}, "expected some frames in which every joint is"),
        ({"labelled": np.eye(NUM_JOINTS, NUM_FRAMES) > 0}, "expected some frames in which every joint is labelled"),
        ({"occluded": np.zeros((NUM_JOINTS, NUM_FRAMES), bool)}, "a joint is visible in a frame without labels"),
        ({"segmentation_area": np.zeros(NUM_FRAMES)}, r"segmentation_area \(9,\): expected \(9,\), positive where"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, changes, message):
    (tmp_path / "badja.pkl").write_bytes(pickle.dumps({"horse": make_video(**changes)}))
    with pytest.raises(ValueError, match=f"badja.pkl: video 'horse': .*{message}"):
        list(read_badja(tmp_path))


def test_a_folder_without_the_file_and_a_file_without_labels_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"badja\.pkl: not there; give the folder"):
        list(read_badja(tmp_path))
    video = make_video()
    del video["labelled"]
    (tmp_path / "badja.pkl").write_bytes(pickle.dumps({"horse": video}))
    with pytest.raises(ValueError, match=r"video 'horse': not as expected .lacks 'labelled'"):
        list(read_badja(tmp_path))
