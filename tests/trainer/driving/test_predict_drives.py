"""Rollouts of a benchmark: what each clip is told, the same noise for all tellings, and what is in the file."""

import dataclasses

import numpy as np
import pytest

from eval.driving.rollouts import read_rollouts
from eval.driving.truth import DriveTruth
from shards.driving.drive import Drive
from shards.files import sha256_of
from tests.shards.driving.drives import drive_clip
from tests.trainer.driving.conftest import pack_drives
from tests.trainer.driving.worlds import LATENTS, write_world
from trainer.predict_drives import main


@pytest.fixture(scope="module")
def worlds(drives, tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    write_world(drives, folder / "pixels.safetensors")
    return folder


@pytest.fixture(scope="module")
def of_latents(drives, worlds):
    """The same folder, with a model of latents."""
    write_world(drives, worlds / "latents.safetensors", *LATENTS)
    return worlds


def predict(drives, worlds, out, *words: str, weights: str = "pixels"):
    arguments = ["--weights", str(worlds / f"{weights}.safetensors"), "--truth", str(drives.index), "--device", "cpu"]
    assert main([*arguments, "--steps", "2", "--out", str(out), *words]) == 0
    return read_rollouts(out)


def test_each_clip_is_told_its_own_another_clips_and_nothing(drives, worlds, tmp_path):
    found = predict(drives, worlds, tmp_path / "a.npz")
    truth = DriveTruth(drives.index)
    assert found.keys == truth.keys and found.told == ("true", "shuffled", "none")
    assert found.model == "vista_phase2_stage1" and found.dataset_digest == truth.sha256
    assert found.weights_sha256 == sha256_of(worlds / "pixels.safetensors")
    assert found.settings["num_frames"] == 4 and found.settings["kind"] == "all" and found.settings["num_steps"] == 2
    after = dict(zip(found.keys, (*found.keys[1:], found.keys[0]), strict=True))
    for key in found.keys:
        true, _ = truth.window(key, 4, 1, 8, 16)
        made = {told: found.frames(key, told) for told in found.told}
        for frames in made.values():
            np.testing.assert_array_equal(frames[0], true[0])
        assert found.told_key(key, "shuffled") == after[key] and found.reward(key, "true") is None
        assert (made["true"] != made["none"]).any() and (made["true"] != made["shuffled"]).any()


def test_a_clip_is_the_same_in_any_company(drives, worlds, tmp_path):
    """Noise is a function of seed and key: batches change nothing, nor does which tellings are asked for."""
    whole = predict(drives, worlds, tmp_path / "a.npz", "--batch", "6")
    some = predict(drives, worlds, tmp_path / "b.npz", "--batch", "1", "--num-clips", "2", "--told", "shuffled", "true")
    assert some.keys == whole.keys[:2] and some.told == ("true", "shuffled")
    for key in some.keys:
        assert some.told_key(key, "shuffled") == whole.told_key(key, "shuffled")
        for told in some.told:
            difference = np.abs(some.frames(key, told).astype(int) - whole.frames(key, told))
            assert difference.max() <= 1  # batches are summed in another order
    other = predict(drives, worlds, tmp_path / "c.npz", "--num-clips", "1", "--told", "true", "--seed", "1")
    assert (other.frames(other.keys[0], "true") != whole.frames(other.keys[0], "true")).any()


def test_what_is_told_alone_differs_between_tellings(drives, worlds, tmp_path, monkeypatch):
    """A model that hears nothing makes the same of all tellings: their noise is one."""
    from trainer.models.vista import conditions, sampler

    monkeypatch.setattr(
        sampler, "attach", lambda net, told, *more: conditions.attach(net, conditions.without(told), *more)
    )
    found = predict(drives, worlds, tmp_path / "a.npz", "--num-clips", "2")
    for key in found.keys:
        assert (found.frames(key, "true") == found.frames(key, "none")).all()
        assert (found.frames(key, "true") == found.frames(key, "shuffled")).all()


def test_samples_give_rewards_and_one_kind_is_told_where_one_was_learned(drives, of_latents, tmp_path):
    found = predict(drives, of_latents, tmp_path / "a.npz", "--samples", "2", "--num-clips", "2", weights="latents")
    assert found.settings["kind"] == "trajectory" and found.settings["num_samples"] == 2
    true, _ = DriveTruth(drives.index).window(found.keys[1], 5, 1, 32, 64)
    assert (found.frames(found.keys[1], "none")[0] == true[0]).all(), "what was given, and not what is decoded"
    assert all(0 < found.reward(key, told) < 1 for key in found.keys for told in found.told)
    speed = predict(drives, of_latents, tmp_path / "b.npz", "--kind", "speed", "--num-clips", "2", weights="latents")
    key = found.keys[0]
    assert (speed.frames(key, "true") != found.frames(key, "true")).any()


def test_windows_of_a_clip_are_made_of_their_own_frames(drives, worlds, tmp_path):
    """Several windows: the first is what it is alone, each has its own frames, actions and noise."""
    one = predict(drives, worlds, tmp_path / "a.npz")
    two = predict(drives, worlds, tmp_path / "b.npz", "--windows", "2", "--batch", "5")
    truth = DriveTruth(drives.index)
    assert two.keys == one.keys and two.num_windows == 2 and len(two.windows) == 12
    for key in two.keys:
        first = two.first(key, 1)
        assert first == truth.starts(key, 4, 1, 2)[1] > 4
        true, _ = truth.window(key, 4, 1, 8, 16, first)
        for told in two.told:
            difference = np.abs(two.frames(key, told).astype(int) - one.frames(key, told))
            assert difference.max() <= 1  # batches are summed in another order
            np.testing.assert_array_equal(two.frames(key, told, 1)[0], true[0])
        assert two.told_key(key, "shuffled", 1) == one.told_key(key, "shuffled")
        assert two.told_first(key, "shuffled", 1) == first  # clips are equally long
        assert (two.frames(key, "true", 1) != two.frames(key, "none", 1)).any()


def test_frames_may_have_another_size_than_in_training(drives, worlds, of_latents, tmp_path, capsys):
    found = predict(drives, worlds, tmp_path / "a.npz", "--num-clips", "1", "--height", "12", "--width", "20")
    true, _ = DriveTruth(drives.index).window(found.keys[0], 4, 1, 12, 20)
    assert (found.settings["height"], found.settings["width"]) == (12, 20)
    np.testing.assert_array_equal(found.frames(found.keys[0], "true")[0], true[0])
    assert (found.frames(found.keys[0], "true")[1:] != true[1:]).any()
    arguments = ["--weights", str(worlds / "latents.safetensors"), "--truth", str(drives.index), "--device", "cpu"]
    assert main([*arguments, "--height", "20", "--out", str(tmp_path / "b.npz")]) == 2
    assert "takes sides that are multiples of 16" in capsys.readouterr().err


def test_what_no_clip_or_no_model_knows_is_said(drives, worlds, tmp_path, capsys):
    root = tmp_path / "shards"
    clips = [drive_clip(f"drive-{n}", num_frames=9) for n in range(2)]  # too short for what is 2 s later
    plain = [dataclasses.replace(clip, drive=Drive(times_s=clip.drive.times_s)) for clip in clips]
    index = pack_drives(root, "plain", plain)
    arguments = ["--weights", str(worlds / "pixels.safetensors"), "--device", "cpu", "--out", str(tmp_path / "a.npz")]
    assert main([*arguments, "--truth", str(index), "--kind", "speed"]) == 2
    assert "--kind speed is known of no clip" in capsys.readouterr().err
    assert main([*arguments, "--truth", str(index), "--steps", "1"]) == 0
    assert "plain: of 2 of 2 windows nothing is known that could be told; all tellings" in capsys.readouterr().out
    mixed = pack_drives(root, "mixed", [clips[0], plain[1]])
    assert main([*arguments, "--truth", str(mixed), "--told", "true", "--steps", "1"]) == 0
    assert "mixed: of 1 of 2 windows nothing is known" in capsys.readouterr().out
    write_world(drives, worlds / "deaf.safetensors", "model.unet.with_actions=false", "model.unet.frame_values=0")
    deaf = predict(drives, worlds, tmp_path / "b.npz", weights="deaf")
    assert "of 6 of 6 windows nothing is heard by these weights; all tellings" in capsys.readouterr().out
    assert (deaf.frames(deaf.keys[0], "true") == deaf.frames(deaf.keys[0], "shuffled")).all()


def test_mistakes_are_named(drives, worlds, tmp_path, capsys):
    weights = ["--weights", str(worlds / "pixels.safetensors"), "--truth", str(drives.index), "--device", "cpu"]
    out = ["--out", str(tmp_path / "out.npz")]
    for words, message in (
        (["--batch", "0"], "--batch 0 must be at least 1"),
        (["--windows", "0"], "--windows 0 must be at least 1"),
        (["--windows", "99"], "and 99 are asked for: make longer clips, or fewer windows"),
        (["--width", "0"], "--width 0 must be at least 1"),
        (["--steps", "0"], "--steps 0 must be at least 1"),
        (["--given", "2"], "at most 1 given of 4 frames"),
        (["--truth", str(tmp_path / "index.json")], "index.json"),
    ):
        assert main([*weights, *out, *words]) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
