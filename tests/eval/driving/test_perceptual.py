"""Distances by a plain function: means, frames, windows, and what is refused."""

import json

import numpy as np
import pytest

from eval.__main__ import main
from eval.driving.perceptual import check_distances, measure_distances
from eval.driving.score import score_rollouts
from tests.eval.driving.conftest import FEW, write_rollouts

HERE = "tests.eval.driving.test_perceptual"


def mean_difference(made, true):
    """(T,): mean absolute difference, grey levels."""
    return np.abs(made.astype(np.float32) - true).mean((1, 2, 3))


def one_number(made, true):
    """A mean of all frames, which says nothing of each."""
    return np.float32(mean_difference(made, true).mean())


def no_number(made, true):
    """As many as frames, and none is a number."""
    return np.full(len(made), np.nan)


@pytest.fixture(scope="module")
def rollouts(street, tmp_path_factory):
    return write_rollouts(tmp_path_factory.mktemp("distance") / "r.npz", street)


def test_a_model_that_follows_is_nearer_told_its_own_actions(rollouts, street):
    found = measure_distances(rollouts, street, f"{HERE}:mean_difference", name="L1")
    assert (found["name"], found["model"], found["num_clips"], found["num_windows"]) == ("L1", "made", 8, 8)
    mean, interval, over = found["mean"], found["interval"], found["over"]
    assert mean.keys() == {"true", "shuffled", "none", "copy"}
    assert mean["true"] < 6 and min(mean["shuffled"], mean["none"], mean["copy"]) > 10
    assert all(interval[told][0] < mean[told] < interval[told][1] for told in mean)
    assert over["mean"]["copy"] == pytest.approx(mean["copy"] - mean["true"]) and over["interval"]["copy"][0] > 0
    assert np.mean([clip["none"] for clip in found["clips"].values()]) == pytest.approx(mean["none"])


def test_given_frames_are_not_measured_and_made_ones_each(rollouts, street):
    found = measure_distances(rollouts, street, f"{HERE}:mean_difference")
    assert found["name"] == "mean_difference"
    for told, frames in found["by_frame"].items():
        assert len(frames["mean"]) == len(frames["interval"]) == 7
        assert min(frames["mean"]) > 3  # of the frame that is given it would be 0
        assert np.mean(frames["mean"]) == pytest.approx(found["mean"][told])
    copies = found["by_frame"]["copy"]["mean"]
    assert copies[-1] > copies[0] + 3  # what is copied gets older


def test_a_clip_of_several_windows_is_one_draw(street, tmp_path):
    path = write_rollouts(tmp_path / "w.npz", street, sizes=FEW, windows=2, told=("true",))
    found = measure_distances(path, street, f"{HERE}:mean_difference")
    assert (found["num_clips"], found["num_windows"], len(found["clips"])) == (8, 16, 8)
    assert found["over"]["mean"].keys() == {"copy"}


def test_copies_have_no_telling_to_be_held_against(street, tmp_path):
    path = write_rollouts(tmp_path / "n.npz", street, told=("none",))
    assert measure_distances(path, street, f"{HERE}:mean_difference")["over"] == {"mean": {}, "interval": {}}


def test_the_command_prints_and_writes_the_same(rollouts, street, tmp_path, capsys):
    words = ["drives-distance", "--rollouts", str(rollouts), "--truth", str(street), "--out", str(tmp_path / "d.json")]
    assert main([*words, "--distance", f"{HERE}:mean_difference", "--name", "L1"]) == 0
    told, found = capsys.readouterr().out, json.loads((tmp_path / "d.json").read_text())
    assert found == measure_distances(rollouts, street, f"{HERE}:mean_difference", name="L1")
    low, high = found["interval"]["true"]
    assert f"true: {found['mean']['true']:.4f} [{low:.4f}, {high:.4f}]  by frame" in told and "L1 by" in told
    for name, message in (
        ("nowhere:f", "--distance nowhere:f: no function by this name"),
        (f"{HERE}:one_number", "returned float32 of shape (), expected floats of shape (7,)"),
        (f"{HERE}:no_number", "returned NaN or infinite distances"),
    ):
        assert main([*words, "--distance", name]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(words)
    assert "--distance" in capsys.readouterr().err


def test_distances_agree_with_the_score_of_the_same_rollouts(rollouts, street):
    """PSNR as a distance: two ways to the same mean, so that windows and frames are paired alike."""
    found, score = measure_distances(rollouts, street, f"{HERE}:less_psnr"), score_rollouts(rollouts, street)
    for told in ("true", "shuffled", "none", "copy"):
        assert -found["mean"][told] == pytest.approx(score["mean"][f"psnr_{told}"])
        assert found["interval"][told] == pytest.approx([-end for end in score["interval"][f"psnr_{told}"][::-1]])


def less_psnr(made, true):
    """(T,): the less the more alike."""
    error = ((made.astype(np.float64) - true) ** 2).mean((1, 2, 3))
    return 10 * np.log10(np.maximum(error, 1 / 12) / 255**2)


def test_whole_numbers_are_no_distances():
    with pytest.raises(ValueError, match="returned int64"):
        check_distances(np.arange(3), 3, "x")
