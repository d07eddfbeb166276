"""The file of predicted bodies: what was written is read, and what cannot be scored is refused by name."""

import dataclasses

import numpy as np
import pytest

from eval.people.predictions import ARRAYS, NONE, PeoplePredictions, PersonPrediction, write_predictions
from tests.eval.people.persons import exact_prediction, make_people_clip, write_exact


@pytest.fixture(scope="module")
def prediction(body):
    return exact_prediction(make_people_clip(body, "walk"))


def test_what_was_written_is_read_and_equal_predictions_give_equal_bytes(prediction, tmp_path):
    alone = PersonPrediction(name="far", depth_m=np.float32([3, 4]))
    header = {"model": "posenet", "condition": NONE, "body": "0123", "truth_sha256": "ab" * 32}
    paths = [write_predictions(tmp_path / name, clips=[prediction, alone], **header) for name in ("a.npz", "b.npz")]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    read = PeoplePredictions(paths[0])
    assert {key: getattr(read, key) for key in header} == header
    assert read.names == ("walk", "far")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(read.clip("walk"), name), getattr(prediction, name))
    assert read.clip("far").depth_m.tolist() == [3, 4]
    assert read.clip("far").rotations is None and read.clip("far").joints_px is None
    with pytest.raises(ValueError, match=r"a\.npz: `jump/depth_m` is missing; predict again"):
        read.clip("jump")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("depth_m", lambda a: -a, "walk/depth_m is not in front of the camera in frame 0"),
        ("depth_m", lambda a: a[:2], "walk/shape has 4 frames, depth_m has 2"),
        ("depth_m", lambda a: a.astype(float), "walk/depth_m must be a 1-d array of float32"),
        (
            "shape",
            lambda a: np.where(np.arange(4)[:, None] == 2, np.float32(np.nan), a),
            "walk/shape is nan or infinite",
        ),
        ("shape", lambda a: None, "walk/shape and rotations come together or not at all"),
        ("rotations", lambda a: a * np.float32(1.1), "walk/rotations holds matrices that are no rotations"),
        ("rotations", lambda a: -a, "walk/rotations holds matrices that are no rotations"),
        ("rotations", lambda a: a[:, :5], "walk/joints_px are 22 joints, rotations of 5"),
        ("joints_score", lambda a: a * 2, "walk/joints_score must lie between 0 and 1"),
        ("joints_score", lambda a: a[:, :4], "walk/joints_px has shape"),
    ],
)
def test_what_cannot_be_scored_is_refused(prediction, name, change, message):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(prediction, **{name: change(getattr(prediction, name))})
    assert message in str(error.value)


def test_a_file_that_is_none_of_ours_is_refused_by_name(prediction, tmp_path, people_index):
    path = write_exact(tmp_path / "p.npz", people_index)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    (tmp_path / "flipped.npz").write_bytes(damaged)
    np.savez(tmp_path / "other.npz", format=np.array("frameline-predictions/1"))
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (
        ("other.npz", "format 'frameline-predictions/1', expected 'frameline-people-predictions/1'"),
        ("text.npz", "not a readable predictions.npz"),
        ("absent.npz", "not there; predict first"),
    ):
        with pytest.raises(ValueError, match=message):
            PeoplePredictions(tmp_path / name)
    with pytest.raises(ValueError, match=r"flipped\.npz: .*predict again"):
        read = PeoplePredictions(tmp_path / "flipped.npz")
        for name in read.names:
            read.clip(name)
    header = {"model": "m", "body": "0", "truth_sha256": "0"}
    with pytest.raises(ValueError, match="condition 'guessed' is unknown; choose one of predicted, none, true"):
        write_predictions(tmp_path / "x.npz", condition="guessed", clips=[prediction], **header)
    with pytest.raises(ValueError, match="the clip 'walk' was predicted twice"):
        write_predictions(tmp_path / "x.npz", condition=NONE, clips=[prediction, prediction], **header)
    with pytest.raises(ValueError, match="there is no clip to predict"):
        write_predictions(tmp_path / "x.npz", condition=NONE, clips=[], **header)
    assert not (tmp_path / "x.npz").exists()
