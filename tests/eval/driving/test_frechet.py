"""Frechet distance against scipy's root of a matrix, and what is refused."""

import json

import numpy as np
import pytest

from eval.__main__ import main
from eval.driving.frechet import check_features, frechet_distance, load_extractor, measure
from tests.eval.driving.conftest import write_rollouts

HERE = "tests.eval.driving.test_frechet"


def mean_colours(frames):
    """(N, D): mean colour of the last frame and its change from the first."""
    last = frames[:, -1].mean(axis=(1, 2), dtype=np.float64)
    return np.concatenate([last, last - frames[:, 0].mean(axis=(1, 2))], -1) if frames.shape[1] > 1 else last


def many_features(frames):
    """As many features as pixels."""
    return frames.reshape(len(frames), -1).astype(np.float32)


def no_features(frames):
    """Numbers that are none."""
    return np.full((len(frames), 2), np.nan)


@pytest.fixture(scope="module")
def rollouts(street, tmp_path_factory):
    return write_rollouts(tmp_path_factory.mktemp("frechet") / "r.npz", street)


@pytest.mark.parametrize("num_features", [1, 2, 7])
def test_the_distance_is_that_by_a_root_of_the_product(num_features):
    linalg = pytest.importorskip("scipy.linalg")
    rng = np.random.default_rng(num_features)
    made = rng.normal(1, 2, (50, num_features)) @ rng.normal(size=(num_features, num_features))
    true = rng.normal(size=(60, num_features))
    spreads = [np.atleast_2d(np.cov(each, rowvar=False)) for each in (made, true)]
    expected = ((made.mean(0) - true.mean(0)) ** 2).sum()
    expected += np.trace(spreads[0] + spreads[1] - 2 * linalg.sqrtm(spreads[0] @ spreads[1]).real)
    assert frechet_distance(made, true) == pytest.approx(expected, rel=1e-9)


def test_equal_features_are_0_apart_and_a_shift_is_its_square():
    features = np.random.default_rng(0).normal(size=(40, 5))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features + 3, features) == pytest.approx(5 * 9)


def test_windows_and_frames_are_samples(rollouts, street):
    windows = measure(rollouts, street, f"{HERE}:mean_colours")
    assert (windows["num_samples"], windows["num_features"], windows["samples"]) == (8, 6, "windows")
    frames = measure(rollouts, street, f"{HERE}:mean_colours", by_frame=True)
    assert (frames["num_samples"], frames["num_features"]) == (8 * 7, 3)
    assert windows["distance"] >= 0 and not frames["is_biased"]
    other = measure(rollouts, street, f"{HERE}:mean_colours", told="none")
    assert other["distance"] > windows["distance"]


def test_fewer_samples_than_features_are_refused_or_named(rollouts, street, tmp_path, capsys):
    words = ["drives-frechet", "--rollouts", str(rollouts), "--truth", str(street), "--out", str(tmp_path / "f.json")]
    name = f"{HERE}:mean_colours"
    assert main([*words, "--extractor", name, "--by-frame"]) == 0
    assert json.loads((tmp_path / "f.json").read_text())["is_biased"] is False
    with pytest.raises(ValueError, match="8 samples of 20736 features"):
        measure(rollouts, street, f"{HERE}:many_features")
    capsys.readouterr()
    assert main([*words, "--extractor", name, "--told", "guessed"]) == 2
    assert "choose one of true, shuffled, none" in capsys.readouterr().err


def test_an_extractor_has_to_be_given(rollouts, street, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["drives-frechet", "--rollouts", str(rollouts), "--truth", str(street), "--out", str(tmp_path / "f.json")])
    assert "--extractor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "told"),
    [("nowhere:f", "no function"), ("json:nothing", "no function"), ("json", "no function"), (f"{HERE}:HERE", "is no")],
)
def test_what_is_no_function_is_refused(name, told):
    with pytest.raises(ValueError, match=told):
        load_extractor(name)


def test_features_are_checked(rollouts, street):
    with pytest.raises(ValueError, match="NaN"):
        measure(rollouts, street, f"{HERE}:no_features")
    with pytest.raises(ValueError, match=r"expected floats of shape \(3, D\)"):
        check_features(np.zeros((3, 2, 2)), 3, "x")
