"""`python -m eval compare`: paired differences, a seeded interval, and what may not be compared."""

import json

import numpy as np
import pytest

from eval.__main__ import main
from eval.compare import bootstrap_mean, compare_scores, read_pair
from eval.score import FORMAT


def make_score(tracker, jaccards, **changes):
    videos = {
        name: {"num_queries": 4, "average_jaccard": value, "average_pts_within_thresh": 0.5, "occlusion_accuracy": 0.75}
        for name, value in jaccards.items()
    }
    score = {"format": FORMAT, "benchmark": "davis", "tracker": tracker, "query_mode": "first", "resolution": 256}
    score |= {"truth_sha256": "aa", "num_videos": len(videos), "mean": {}, "videos": videos}
    return score | changes


BEFORE = {"a": 0.5, "b": 0.25, "c": 0.75, "d": None, "e": 0.5}
AFTER = {"a": 0.5, "b": 0.5, "c": 0.625, "d": 0.5, "e": 0.75}


@pytest.fixture
def write(tmp_path):
    def write_one(name, score):
        (tmp_path / name).write_text(json.dumps(score))
        return str(tmp_path / name)

    return write_one


def test_differences_are_paired_and_videos_without_the_metric_left_out():
    found = compare_scores(make_score("old", BEFORE), make_score("new", AFTER), "average_jaccard")
    assert found.differences == {"b": 0.25, "e": 0.25, "c": -0.125, "a": 0.0}
    assert list(found.differences) == ["b", "e", "c", "a"], "the largest first"
    assert (found.first_mean, found.second_mean) == (0.5, 0.59375)
    assert found.mean_difference == 0.09375
    assert found.interval[0] < found.mean_difference < found.interval[1] and not found.is_certain


def test_the_interval_is_that_of_the_mean_and_seeded():
    values = np.random.default_rng(3).normal(1.0, 2.0, 400)
    low, high = bootstrap_mean(values, seed=0)
    half = 1.96 * values.std() / 20  # the normal approximation, good at 400 values
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)
    assert (low, high) == bootstrap_mean(values, seed=0) != bootstrap_mean(values, seed=1)
    assert bootstrap_mean([0.25, 0.25], seed=0) == (0.25, 0.25)
    with pytest.raises(ValueError, match="two videos or more, not 1"):
        bootstrap_mean([0.25], seed=0)


def test_pairing_sees_what_two_means_do_not():
    generator = np.random.default_rng(0)
    before = {f"{number}": value for number, value in enumerate(generator.uniform(0, 1, 30))}
    after = {name: value + 0.01 + generator.uniform(-0.005, 0.005) for name, value in before.items()}
    found = compare_scores(make_score("old", before), make_score("new", after), "average_jaccard")
    assert found.is_certain and 0.008 < found.interval[0] < found.interval[1] < 0.012


def test_the_command_prints_and_writes_a_table(write, tmp_path, capsys):
    paths = write("a.json", make_score("old", BEFORE)), write("b.json", make_score("new", AFTER, queries="joint"))
    assert main(["compare", *paths, "--videos", "2", "--out", str(tmp_path / "c.md")]) == 0
    told = (tmp_path / "c.md").read_text()
    assert told in capsys.readouterr().out
    lines = told.splitlines()
    assert lines[0] == "## new (joint) against old"
    assert any(line.startswith("| AJ | 50.0 | 59.4 | +9.4 | ") and line.endswith(" | no | 4 |") for line in lines)
    assert "| delta_avg | 50.0 | 50.0 | +0.0 | +0.0 to +0.0 | no | 5 |" in lines
    assert "3 of 4 videos differ by AJ, 2 upward and 1 downward. The 2 that differ most:" in lines
    assert lines[-2:] == ["| b | 25.0 | 50.0 | +25.0 |", "| e | 50.0 | 75.0 | +25.0 |"]


def test_pixels_are_no_percents(write, capsys):
    scores = [make_score("old", BEFORE), make_score("new", AFTER)]
    for shift, score in enumerate(scores):
        for number, video in enumerate(score["videos"].values()):
            video["median_trajectory_error"] = 3.25 + shift * (number + 1)
    paths = [write(f"{number}.json", score) for number, score in enumerate(scores)]
    assert main(["compare", *paths, "--by", "median_trajectory_error"]) == 0
    told = capsys.readouterr().out
    assert "| MTE px | 3.25 | 6.25 | +3.00 | " in told and "| e | 3.25 | 8.25 | +5.00 |" in told


def test_equal_scores_differ_nowhere(write, capsys):
    path = write("a.json", make_score("old", BEFORE))
    assert main(["compare", path, path]) == 0
    assert "0 of 4 videos differ by AJ." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"truth_sha256": "bb"}, "truth_sha256 is 'aa' and 'bb'"),
        ({"query_mode": "strided"}, "query_mode is 'first' and 'strided'"),
        ({"resolution": 512}, "resolution is 256 and 512"),
        ({"benchmark": "kinetics"}, "benchmark is 'davis' and 'kinetics'"),
        ({"videos": {}}, "5 videos are in one only, such as 'a'"),
    ],
)
def test_scores_of_another_truth_or_protocol_are_refused(write, capsys, changes, message):
    paths = write("a.json", make_score("old", BEFORE)), write("b.json", make_score("new", AFTER, **changes))
    assert main(["compare", *paths]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error


def test_a_metric_that_is_in_no_video(write, capsys):
    path = write("a.json", make_score("old", BEFORE))
    assert main(["compare", path, path, "--by", "aj_rd"]) == 2
    assert "aj_rd: 0 videos have it in both scores" in capsys.readouterr().err
    assert read_pair(path, path)[0]["tracker"] == "old"
