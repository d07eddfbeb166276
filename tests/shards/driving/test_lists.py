"""Folders of frames without labels, Vista's annotation lists, and all driving data through the commands."""

import json

import cv2
import numpy as np
import pytest

from shards.__main__ import main
from shards.driving.reading import DriveReading
from shards.driving.window import actions_of_window
from shards.layouts.choice import Choice
from shards.layouts.driving_frames import read_clip_frames
from shards.layouts.opendv import read_opendv
from shards.layouts.vista_list import read_vista_list
from shards.store import ClipStore
from tests.shards.driving.nuscenes_tree import OFFSETS_S, START_US, Ride, write_nuscenes

COMMANDS = ("turn_right", "turn_left", "stop", "straight")
READING = DriveReading(commands=COMMANDS)


def write_frames(folder, count, first=0, size=(18, 32)):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{first + number:06d}.jpg"), np.full((*size, 3), 5 * number, np.uint8))


def numbers_of(clip):
    return [round(float(frame.mean()) / 5) for frame in clip.video]


def test_folders_of_frames_are_clips_with_times_alone(tmp_path):
    write_frames(tmp_path / "channel" / "abc_-123", 30, first=90)
    write_frames(tmp_path / "channel" / "東京 drive", 4)
    write_frames(tmp_path / "channel" / ("long" * 30), 4)
    write_frames(tmp_path / ".hidden", 4)
    (tmp_path / "channel" / "about.txt").write_text("no frame")
    clips = list(read_opendv(tmp_path, DriveReading(rate_hz=5), Choice(window=20)))
    keys = [clip.key for clip in clips]
    assert keys[:2] == ["channel-abc_-123-00000", "channel-abc_-123-00020"]
    assert keys[2].startswith("channel-longlong") and len(keys[2]) == 64 + 6
    assert keys[3].startswith("channel----drive-") and len(keys[3]) == len("channel----drive-") + 8 + 6
    assert numbers_of(clips[1]) == list(range(20, 30)) and clips[1].metadata["first_frame"] == "000110.jpg"
    np.testing.assert_allclose(clips[1].drive.times_s, 4 + np.arange(10) / 5)
    assert not actions_of_window(clips[0].drive).present.any()
    (alone,) = read_opendv(tmp_path / "channel" / "abc_-123", DriveReading(), Choice(height=9))
    assert alone.key == "abc_-123" and alone.video.shape == (30, 9, 16, 3)


def test_links_to_folders_are_followed_and_never_in_circles(tmp_path):
    write_frames(tmp_path / "disk" / "b", 3)
    write_frames(tmp_path / "opendv" / "a", 3)
    (tmp_path / "opendv" / "c").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "opendv")
    (tmp_path / "opendv" / "twice").symlink_to(tmp_path / "disk" / "b")
    assert [clip.key for clip in read_opendv(tmp_path / "opendv", DriveReading())] == ["a", "c-b"]


def test_mistakes_in_folders_of_frames(tmp_path):
    with pytest.raises(ValueError, match="nowhere: not there; give a folder of frames"):
        list(read_opendv(tmp_path / "nowhere", DriveReading()))
    with pytest.raises(ValueError, match=r"there is no folder with frames, such as 000000\.jpg, in it"):
        list(read_opendv(tmp_path, DriveReading()))
    write_frames(tmp_path / "a", 5)
    (tmp_path / "a" / "000003.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"000003\.jpg: cannot be decoded"):
        list(read_opendv(tmp_path, DriveReading()))
    cv2.imwrite(str(tmp_path / "a" / "000003.jpg"), np.zeros((18, 30, 3), np.uint8))
    with pytest.raises(ValueError, match=r"000003\.jpg: is 30x18, not 32x18"):
        list(read_opendv(tmp_path, DriveReading()))
    (tmp_path / "a" / "000003.jpg").unlink()
    with pytest.raises(ValueError, match=r"frame 3 is missing: 000002\.jpg is followed by 000004\.jpg"):
        list(read_opendv(tmp_path, DriveReading()))


def test_a_clip_that_is_too_large_says_how_to_make_it_smaller(tmp_path, monkeypatch):
    write_frames(tmp_path / "a", 5)
    monkeypatch.setattr("shards.layouts.driving_frames.LARGEST_CLIP", 5 * 18 * 32 * 3 - 1)
    files = sorted((tmp_path / "a").iterdir())
    with pytest.raises(ValueError, match=r"5 frames are .* with --height 320, or cut it with --window 200"):
        read_clip_frames(files, None)
    assert read_clip_frames(files, 9)[0].shape == (5, 9, 16, 3)


def sample(root, number, *, command=3, left=0.0, pace=8.0, **changes):
    """A sample of a list and its 25 frames: the camera goes straight on, and aside in the end."""
    frames = []
    for frame in range(25):
        stamp = START_US + round(1e6 * (10 * number + frame // 6 / 2 + OFFSETS_S[frame % 6]))
        kind = "sweeps" if frame % 6 else "samples"
        frames.append(f"{kind}/CAM_FRONT/n008__CAM_FRONT__{stamp}.jpg")
        (root / frames[-1]).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / frames[-1]), np.full((18, 32, 3), 5 * frame, np.uint8))
    places = [[left * step / 4, pace * step / 2] for step in range(5)]
    one = {
        "frames": frames, "traj": [value for place in places for value in place], "cmd": command,
        "speed": [3.6 * pace + step for step in range(5)], "angle": [10.0, 20.0, 30.0, 40.0, 50.0],
        "goal": [8.0, 9.0], "z": 16.0,
    }  # fmt: skip
    return one | changes


def write_list(root, samples):
    (root / "nuScenes.json").write_text(json.dumps(samples))
    return root / "nuScenes.json"


def test_a_list_states_the_actions_of_its_samples(tmp_path):
    samples = [sample(tmp_path, 0), sample(tmp_path, 1, command=1, left=3.0, pace=4.0, angle=[], z=-1.0)]
    line, bend = read_vista_list(write_list(tmp_path, samples), READING)
    assert (line.key, bend.key) == ("nuScenes-000000", "nuScenes-000001") and numbers_of(line) == list(range(25))
    assert line.drive.times_s[[0, 1, 2, 6, 24]].tolist() == [0, 0.1, 0.15, 0.5, 2.0]
    assert line.metadata["recipe"]["times_from"] == "file names"
    actions = actions_of_window(line.drive)
    assert actions.command == "straight" and actions.present.all()
    np.testing.assert_allclose(actions.trajectory_m, [[0, 4], [0, 8], [0, 12], [0, 16]])
    np.testing.assert_allclose(actions.speed_mps, 8 + np.arange(1, 5) / 3.6)
    np.testing.assert_allclose(actions.angle_deg, [20, 30, 40, 50])
    np.testing.assert_allclose(actions.goal, [0.25, 0.5])
    turn = actions_of_window(bend.drive)
    assert turn.command == "turn_left" and turn.present.tolist() == [True, True, True, False, False]
    np.testing.assert_allclose(turn.trajectory_m[-1], [-3, 8])
    assert not actions_of_window(line.drive, 1).present.any(), "they are stated for the first frame alone"


def test_a_lists_goal_outside_of_the_picture_is_none(tmp_path):
    (clip,) = read_vista_list(write_list(tmp_path, [sample(tmp_path, 0, goal=[40.0, 9.0])]), READING)
    assert clip.drive.stated.goal is None


def test_frames_without_times_in_their_names_have_those_of_the_rate(tmp_path):
    one = sample(tmp_path, 0)
    for number, name in enumerate(one["frames"]):
        (tmp_path / name).rename(tmp_path / f"{number}.jpg")
    one["frames"] = [f"{number}.jpg" for number in range(25)]
    reading = DriveReading(commands=COMMANDS, rate_hz=12, images=tmp_path)
    (tmp_path / "lists").mkdir()
    (clip,) = read_vista_list(write_list(tmp_path / "lists", [one]), reading, Choice(stop=13, height=9))
    np.testing.assert_allclose(clip.drive.times_s, np.arange(13) / 12)
    assert clip.metadata["recipe"]["times_from"] == "rate" and clip.video.shape == (13, 9, 16, 3)


LISTS = {
    "few frames": ({"frames": ["a.jpg"] * 24}, "sample 1: frames has 24 paths, expected 25"),
    "short trajectory": ({"traj": [0.0] * 8}, "sample 1: traj has 8 values, expected 10 finite numbers"),
    "many speeds": ({"speed": [1.0] * 10}, "sample 1: speed has 10 values, expected 5 or 0 finite numbers"),
    "NaN": ({"angle": [float("nan")] * 5}, "sample 1: angle has 5 values, expected 5 or 0 finite"),
    "no goal": ({"goal": [1.0]}, "sample 1: goal has 1 values, expected 2 or 0"),
    "text": ({"traj": ["a"] * 10}, "sample 1: could not convert string to float"),
    "another command": ({"cmd": 4}, r"sample 1: cmd is 4, --commands names 0\.\.3"),
    "a named command": ({"cmd": "left"}, "sample 1: cmd is 'left'"),
    "a way out": ({"frames": ["../a.jpg"] * 25}, r"frame '\.\./a\.jpg' leads out of the folder of images"),
}


@pytest.mark.parametrize("mistake", LISTS)
def test_mistakes_in_a_list_are_found_before_anything_is_read(tmp_path, mistake):
    changes, message = LISTS[mistake]
    path = write_list(tmp_path, [sample(tmp_path, 0), sample(tmp_path, 1, **changes)])
    with pytest.raises(ValueError, match=message):
        next(read_vista_list(path, READING))


def test_a_list_is_held_against_itself(tmp_path):
    left, right = sample(tmp_path, 0, command=1, left=4.0), sample(tmp_path, 1, command=0, left=-4.0)
    path = write_list(tmp_path, [left, right])
    assert len(list(read_vista_list(path, READING))) == 2
    swapped = DriveReading(commands=("turn_left", "turn_right", "stop", "straight"))
    with pytest.raises(ValueError, match="1 of 1 samples with turn_right lead to the other side: --commands gives"):
        next(read_vista_list(path, swapped))
    with pytest.raises(ValueError, match=r"speed, read as km/h, goes .* times as far as traj: another unit"):
        next(read_vista_list(write_list(tmp_path, [left | {"speed": [8.0] * 5}]), READING))
    flipped = left | {"traj": [left["traj"][place ^ 1] for place in range(10)]}
    with pytest.raises(ValueError, match=r"traj leads aside more than ahead: expected pairs \(left, forward\)"):
        next(read_vista_list(write_list(tmp_path, [flipped]), READING))


def test_what_a_list_lacks_is_named(tmp_path):
    with pytest.raises(ValueError, match="which command a number of cmd means has to be said, such as --commands"):
        next(read_vista_list(tmp_path / "nuScenes.json", DriveReading()))
    with pytest.raises(ValueError, match=r"nuScenes\.json: not there; give a list"):
        next(read_vista_list(tmp_path / "nuScenes.json", READING))
    for content, message in (("{}", "expected a list of samples"), ("[", "not JSON"), ("[3]", "not as expected")):
        (tmp_path / "nuScenes.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            next(read_vista_list(tmp_path / "nuScenes.json", READING))
    one = sample(tmp_path, 0)
    with pytest.raises(ValueError, match="sample 0: lacks angle; expected frames, cmd, z, traj, speed, angle, goal"):
        next(read_vista_list(write_list(tmp_path, [{k: v for k, v in one.items() if k != "angle"}]), READING))
    (tmp_path / one["frames"][7]).unlink()
    with pytest.raises(ValueError, match=r"sample 0: .*: this image is missing"):
        next(read_vista_list(write_list(tmp_path, [one]), READING))


def test_driving_data_through_the_commands(tmp_path, capsys):
    tree = write_nuscenes(tmp_path / "nuscenes", [Ride(name="scene-0061"), Ride(name="scene-0103", yaw_rate=-0.3)])
    write_frames(tmp_path / "opendv" / "a", 12)
    words = ["convert", "--from", "nuscenes", str(tree), "--height", "9", "--rate", "2", "--to", "index"]
    assert main([*words, "--out", str(tmp_path / "roads")]) == 0
    assert "scene-0061: 7 frames 16x9, 0 tracks, drive\n" in capsys.readouterr().err
    store = ClipStore(tmp_path / "roads" / "index.json")
    assert store.keys == ["scene-0061", "scene-0103"] and store.read_drive(1).commands[0] == "turn_right"
    assert main(["verify", "--deep", str(tmp_path / "roads" / "index.json")]) == 0
    words = ["pack", "--source", "opendv", "--window", "5", "--rate", "10", str(tmp_path / "opendv")]
    assert main([*words, "--out", str(tmp_path / "shard-000000")]) == 0
    path = write_list(tree, [sample(tree, 0)])
    words = ["pack", "--source", "vista_list", "--commands", ",".join(COMMANDS), "--images", str(tree), str(path)]
    assert main([*words, "--out", str(tmp_path / "shard-000001")]) == 0


def test_mistakes_in_the_commands(tmp_path, capsys):
    write_frames(tmp_path / "a", 4)
    for words, message in (
        (["opendv", "--commands", "stop"], "--commands: opendv has no use for it"),
        (["opendv", "--images", "x"], "--images: opendv has no use for it"),
        (["videos", "--rate", "5"], "--rate: videos has no use for it"),
        (["vista_list", "--tolerance", "1"], "--tolerance: vista_list has no use for it"),
        (["opendv", "--body", "x", "--rate", "3"], "--body is of people"),
        (["vista_list", "--commands", "left,right"], "no command 'left', known are turn_right"),
        (["vista_list", "--commands", "stop,stop"], "a name comes twice"),
        (["opendv", "--rate", "0"], "--rate 0.0: give frames a second"),
        (["nuscenes"], "no v1.0-*/scene.json in it"),
    ):
        assert main(["pack", "--source", *words, str(tmp_path), "--out", str(tmp_path / "out" / "s")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and message in error and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
