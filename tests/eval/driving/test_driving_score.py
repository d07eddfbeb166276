"""Scores of models whose behaviour is known: one that follows, one that does not, one whose tellings are swapped."""

import json
from dataclasses import replace

import numpy as np
import pytest

from eval.compare import bootstrap_mean
from eval.driving.columns import METRICS
from eval.driving.copying import write_copies
from eval.driving.metrics import psnr
from eval.driving.rollouts import read_rollouts
from eval.driving.score import read_driving_score, score_rollouts, write_driving_score
from eval.driving.table import read_driving_tables, render_driving_markdown
from eval.driving.truth import DriveTruth
from eval.people.summary import NUM_RESAMPLES
from shards import pack_clips, write_index
from shards.driving.drive import Drive
from tests.eval.driving.conftest import FEW, SIZES, write_rollouts
from tests.eval.driving.street import street_clip


@pytest.fixture(scope="module")
def following(street, tmp_path_factory):
    path = write_rollouts(tmp_path_factory.mktemp("following") / "r.npz", street, reward=True)
    return score_rollouts(path, street)


def test_a_model_that_follows_is_seen_to_follow(following):
    mean = following["mean"]
    assert mean["over_copy"] > 3 and mean["over_shuffled"] > 3 and mean["over_none"] > 3
    assert mean["turn_correlation_true"] > 0.98 and mean["turn_correlation_shuffled"] > 0.98
    assert abs(mean["turn_correlation_shuffled_own"]) < 0.8
    assert mean["turn_error_shuffled"] < 1.5 < 4 < mean["turn_error_shuffled_own"]
    assert mean["turn_correlation_floor"] > 0.99 and mean["turn_error_floor"] < 0.5
    assert mean["ahead_correlation_true"] > 0.9 and mean["ahead_correlation_floor"] > 0.95
    assert following["interval"]["over_shuffled"][0] > 0


def test_a_model_that_ignores_what_it_is_told_is_seen_to(street, tmp_path):
    mean = score_rollouts(write_rollouts(tmp_path / "r.npz", street, follows=False), street)["mean"]
    assert abs(mean["over_shuffled"]) < 0.3
    assert mean["turn_correlation_shuffled_own"] > 0.98 > 0.8 > abs(mean["turn_correlation_shuffled"])


def test_swapped_tellings_are_visible(street, tmp_path, following):
    swapped = {"true": "shuffled", "shuffled": "true"}
    mean = score_rollouts(write_rollouts(tmp_path / "r.npz", street, swap=swapped), street)["mean"]
    assert mean["over_shuffled"] < -3 and mean["turn_correlation_true"] < 0.8
    assert mean["turn_correlation_shuffled_own"] > 0.98
    assert mean["psnr_true"] == pytest.approx(following["mean"]["psnr_shuffled"], abs=0.3)


def test_copying_scores_what_its_column_says(street, tmp_path):
    copies = score_rollouts(write_copies(street, tmp_path / "c.npz", SIZES), street)
    assert copies["model"] == "copy" and copies["told"] == ["none"]
    assert copies["mean"]["psnr_none"] == copies["mean"]["psnr_copy"]
    assert copies["mean"]["turn_correlation_none"] is None and copies["mean"]["turn_error_none"] > 3
    assert "over_copy" not in copies["mean"]


def test_rewards_are_held_against_psnr(following):
    assert following["mean"]["reward_true"] > following["mean"]["reward_none"]
    mean = following["mean"]
    assert mean["reward_correlation"] > 0.9
    assert mean["reward_over_shuffled"] == pytest.approx(0.1) and mean["reward_over_none"] == pytest.approx(0.1)
    # Of one telling the reward says nothing here: it falls with the number of the clip.
    assert all(abs(mean[f"reward_correlation_{told}"]) < 0.9 for told in ("true", "shuffled", "none"))
    # The reward is made to fall by 0.001 from clip to clip; a line through what was gained over copying has this r.
    gained = [clip["over_copy"] for clip in following["clips"].values()]
    assert mean["reward_correlation_over_copy"] == pytest.approx(np.corrcoef(-np.arange(8), gained)[0, 1])
    num_defined = following["num_defined"]
    assert num_defined["reward_correlation"] == 24 and num_defined["reward_correlation_true"] == 8


def test_frames_are_counted_from_the_first_made_one(following):
    assert {told: len(values) for told, values in following["by_frame"].items()} == {
        "true": 7, "shuffled": 7, "none": 7, "copy": 7,
    }  # fmt: skip
    copies = following["by_frame"]["copy"]
    assert copies[0] > copies[-1] + 1  # what is copied gets older
    assert sum(copies) / 7 == pytest.approx(following["mean"]["psnr_copy"])


def test_the_mean_is_that_of_the_clips_and_every_key_is_known(following):
    assert following["mean"].keys() <= METRICS.keys()
    values = [clip["psnr_true"] for clip in following["clips"].values()]
    assert following["mean"]["psnr_true"] == pytest.approx(sum(values) / 8)
    low, high = following["interval"]["psnr_true"]
    assert low < following["mean"]["psnr_true"] < high


def test_a_score_is_read_as_written_and_the_same_again(following, street, tmp_path):
    path = write_driving_score(following, tmp_path / "s.json")
    assert read_driving_score(path) == json.loads(json.dumps(following))
    again = score_rollouts(write_rollouts(tmp_path / "r.npz", street, reward=True), street)
    assert again == following


@pytest.fixture(scope="module")
def in_windows(street, tmp_path_factory):
    path = tmp_path_factory.mktemp("windows") / "r.npz"
    return score_rollouts(write_rollouts(path, street, sizes=FEW, windows=2, reward=True), street)


def test_a_clip_of_several_windows_is_their_mean(in_windows, street, tmp_path):
    assert in_windows["num_clips"] == len(in_windows["clips"]) == 8
    assert set(map(tuple, in_windows["windows"].values())) == {(0, 3)}
    alone = score_rollouts(write_rollouts(tmp_path / "r.npz", street, sizes=FEW, reward=True), street)
    truth, rollouts = (
        DriveTruth(street),
        read_rollouts(write_rollouts(tmp_path / "w.npz", street, sizes=FEW, windows=2)),
    )
    key = truth.keys[2]
    second = psnr(rollouts.frames(key, "true", 1)[1:], truth.window(key, 4, 1, 24, 36, first=3)[0][1:]).mean()
    both = (alone["clips"][key]["psnr_true"] + second) / 2
    assert in_windows["clips"][key]["psnr_true"] == pytest.approx(both)
    assert in_windows["mean"]["turn_correlation_true"] > 0.95 and in_windows["mean"]["over_shuffled"] > 1
    assert len(in_windows["by_frame"]["true"]) == 3


def test_windows_of_a_clip_are_one_draw_of_the_bootstrap(in_windows):
    """Each clip is drawn whole, so the interval is that of 8 means, and not narrower as of 16 windows."""
    values = [clip["psnr_true"] for clip in in_windows["clips"].values()]
    assert in_windows["interval"]["psnr_true"] == list(bootstrap_mean(values, 0, NUM_RESAMPLES))
    assert in_windows["num_defined"]["turn_correlation_true"] == 8 * 2 * 3
    assert in_windows["num_defined"]["reward_correlation_true"] == 8 * 2


def test_copies_of_windows_are_those_that_models_make(street, tmp_path, in_windows):
    copies = score_rollouts(write_copies(street, tmp_path / "c.npz", FEW, num_windows=2), street)
    assert copies["windows"] == in_windows["windows"]
    assert copies["mean"]["psnr_none"] == in_windows["mean"]["psnr_copy"]


def test_rollouts_of_another_truth_are_refused(street, tmp_path):
    path = write_rollouts(tmp_path / "r.npz", street, told=("true",))
    other = tmp_path / "other.json"
    other.write_text(street.read_text().replace('"street"', '"avenue"'))
    for shard in street.parent.glob("shard-*"):
        (tmp_path / shard.name).symlink_to(shard)
    with pytest.raises(ValueError, match="another truth"):
        score_rollouts(path, other)


def test_drives_without_poses_have_likeness_alone(tmp_path):
    clip = street_clip("alone", 0, size=(24, 36))
    clip = replace(clip, drive=Drive(times_s=clip.drive.times_s))
    pack_clips([clip], tmp_path / "set" / "shard-000000", "png")
    index = tmp_path / "set" / "index.json"
    write_index([tmp_path / "set" / "shard-000000.json"], "set", index)
    score = score_rollouts(write_copies(index, tmp_path / "c.npz", SIZES), index)
    assert score["mean"].keys() == {"psnr_none", "ssim_none", "psnr_copy", "ssim_copy"}
    assert score["scales"] == {"metres": None, "radians_per_pixel": None}
    assert set(score["interval"].values()) == {None}  # of one clip nothing can be said
    write_driving_score(score, tmp_path / "s.json")
    text = render_driving_markdown(read_driving_tables([tmp_path / "s.json"]))
    assert "### Motion" not in text and "| copy | n/a | n/a |" in text


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format": "frameline-score/1"}', '{"format": "frameline-driving-score/1"}']
)
def test_other_files_are_no_scores(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ValueError, match="drives-score"):
        read_driving_score(tmp_path / "x.json")
