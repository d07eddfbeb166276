"""What a clip says of its drive is packed, read, cut and checked like the rest of it."""

import dataclasses
import json

import numpy as np
import pytest

from shards import ClipStore, pack_clips, stream, write_index
from shards.__main__ import main
from shards.driving.actions import Actions
from shards.driving.drive import ARRAYS, Drive, decode_drive, encode_drive
from shards.layouts.choice import Choice, cut_clips
from shards.members import member_names
from tests.shards.driving.drives import drive_clip, make_drive
from tests.shards.people_clips import person_clip

STATED = Actions(command="stop", trajectory_m=np.arange(8.0).reshape(4, 2), speed_mps=np.arange(4.0))


def assert_same_drive(one: Drive, other: Drive, frames=slice(None)):
    for name in ARRAYS:
        if getattr(other, name) is None:
            assert getattr(one, name) is None, name
        else:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[frames], err_msg=name)
    assert one.commands == (None if other.commands is None else other.commands[frames])


def pack(clips, folder):
    """The index of clips packed into one shard."""
    pack_clips(clips, folder / "shard-000000")
    write_index([folder / "shard-000000.json"], "roads", folder / "index.json")
    return folder / "index.json"


@pytest.fixture
def roads(tmp_path):
    return pack([drive_clip("line"), drive_clip("bend", yaw_rate=0.3)], tmp_path / "roads")


def test_drives_come_back_exactly_whole_and_in_part(roads):
    store = ClipStore(roads)
    for number, yaw_rate in ((1, 0.3), (0, 0.0)):
        original = make_drive(yaw_rate=yaw_rate)
        assert_same_drive(store.read(number).drive, original)
        assert_same_drive(store.read_drive(number), original)
        part = store.read(number, frames=slice(5, 30, 2))
        assert_same_drive(part.drive, original, slice(5, 30, 2))
        assert part.video[:, 0, 0, 0].tolist() == list(range(5, 30, 2))
    assert [clip.key for clip in stream(roads)] == ["line", "bend"]
    assert_same_drive(list(stream(roads))[1].drive, make_drive(yaw_rate=0.3))


def test_what_is_not_known_comes_back_as_none(tmp_path):
    clip = drive_clip()
    bare = Drive(times_s=clip.drive.times_s)
    store = ClipStore(pack([dataclasses.replace(clip, drive=bare)], tmp_path))
    assert_same_drive(store.read(0).drive, bare)
    assert store.read(0).drive.stated is None


def test_stated_actions_come_back_and_belong_to_the_first_frame_alone(tmp_path):
    clip = drive_clip()
    stated = dataclasses.replace(clip.drive, stated=STATED)
    store = ClipStore(pack([dataclasses.replace(clip, drive=stated)], tmp_path))
    found = store.read(0, frames=slice(0, 10)).drive.stated
    assert found.command == "stop" and found.angle_deg is None and found.goal is None
    np.testing.assert_array_equal(found.trajectory_m, STATED.trajectory_m)
    assert store.read(0, frames=slice(1, 10)).drive.stated is None


def test_equal_drives_give_equal_bytes():
    one = dataclasses.replace(make_drive(), stated=STATED)
    other = dataclasses.replace(make_drive(), stated=dataclasses.replace(STATED))
    assert encode_drive(one) == encode_drive(other) != encode_drive(make_drive())


def test_shards_without_drives_are_what_they_were(tmp_path):
    index = pack([dataclasses.replace(person_clip(), person=None, depth_m=None)], tmp_path)
    entry = json.loads((tmp_path / "shard-000000.json").read_text())
    assert entry["optional"] == []
    assert tuple(entry["clips"][0]["members"]) == member_names(3) == (
        "frame000.png", "frame001.png", "frame002.png", "tracks.npy", "visible.npy", "metadata.json",
    )  # fmt: skip
    with pytest.raises(ValueError, match="clip clip-0 has no drive; it is no data set of driving"):
        ClipStore(index).read_drive(0)
    assert ClipStore(index).read(0).drive is None


def test_clips_with_and_without_a_drive_are_packed_apart(tmp_path):
    flat = dataclasses.replace(drive_clip("b"), drive=None)
    with pytest.raises(ValueError, match="clip b has no drive while clip a has; pack them apart"):
        pack_clips([drive_clip("a"), flat], tmp_path / "shard-000000")


def test_a_clip_that_is_cut_keeps_the_drive_of_those_frames():
    clip = drive_clip(yaw_rate=-0.2)
    first, second = cut_clips([clip], Choice(start=1, window=15))
    assert (first.key, second.key) == ("clip-0-00001", "clip-0-00016")
    assert_same_drive(second.drive, clip.drive, slice(16, 31))


def test_commands_on_drives(roads, tmp_path, capsys):
    assert main(["verify", "--deep", str(roads)]) == 0
    assert main(["view", str(roads), "--out", str(tmp_path / "roads.html")]) == 0
    page = (tmp_path / "roads.html").read_text()
    assert "8.0 to 8.0 m/s" in page and "52 degrees to the left" in page and "turn_left in 11 frames" in page
    words = ["convert", "--from", "index", str(roads), "--to", "index", "--window", "20", "--out", str(tmp_path / "w")]
    capsys.readouterr()
    assert main(words) == 0
    assert "line-00020: 11 frames 64x36, 0 tracks, drive\n" in capsys.readouterr().err
    assert_same_drive(ClipStore(tmp_path / "w" / "index.json").read_drive(3), make_drive(yaw_rate=0.3), slice(20, 31))


def changed(name, where, value):
    """A function that makes a drive's array differ at one place."""

    def change(drive):
        array = getattr(drive, name).copy()
        array[where] = value
        return dataclasses.replace(drive, **{name: array})

    return change


def scaled(name, factor):
    """A function that multiplies one of a drive's arrays."""
    return lambda drive: dataclasses.replace(drive, **{name: factor * getattr(drive, name)})


FLIPPED = np.diag([1.0, -1, -1])
"""Camera axes x right, y up, z backward to ours."""


def with_axes(drive, axes):
    rotation = drive.camera_to_world[:, :, :3] @ axes
    return dataclasses.replace(drive, camera_to_world=np.dstack([rotation, drive.camera_to_world[:, :, 3:]]))


REFUSALS = {
    "NaN pose": (changed("camera_to_world", (4, 1, 2), np.nan), "drive.camera_to_world is NaN or infinite in frame 4"),
    "NaN speed": (changed("speed_mps", 2, np.nan), "drive.speed_mps is NaN or infinite in frame 2"),
    "infinite steering": (changed("steering_deg", 1, np.inf), "steering_deg is NaN or infinite in frame 1"),
    "backward clock": (changed("times_s", 5, 0.1), "times_s does not increase after frame 4"),
    "microseconds": (scaled("times_s", 1e6), "steps of 1e.05: are these milli- or microseconds"),
    "no rotation": (changed("camera_to_world", (6, 0, 0), 3), "camera_to_world is no rotation and place in frame 6"),
    "mirrored": (lambda d: with_axes(d, np.diag([-1, 1, 1])), "camera_to_world is no rotation and place in frame 0"),
    "OpenGL's axes": (lambda d: with_axes(d, FLIPPED), "expected camera axes x right, y down, z forward"),
    "km/h": (scaled("speed_mps", 3.6), r"speed_mps is 28.8 on average, by the poses it is 8: are these km/h"),
    "centimetres": (scaled("speed_mps", 0.01), "or are the poses not in metres"),
    "negative speed": (changed("speed_mps", 1, -1), "speed_mps is negative in frame 1"),
    "degrees": (changed("yaw_rate_radps", 1, 17), "yaw_rate_radps is 17, over 3: are these degrees"),
    "another sign": (scaled("yaw_rate_radps", -1), "turns by -0.9, the poses by 0.9: left is positive"),
    "steering": (changed("steering_deg", 0, 2000), "steering_deg is 2000, over 1000: expected degrees"),
    "goal in pixels": (changed("goal", 0, 32), r"goal is \[32.0, 32.0\] in frame 0, expected shares"),
}


@pytest.mark.parametrize("mistake", REFUSALS)
def test_mistakes_in_drives_are_named(mistake):
    change, message = REFUSALS[mistake]
    with pytest.raises(ValueError, match=message):
        change(make_drive(yaw_rate=0.3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times_s": np.arange(31)}, "drive.times_s must be a 1-d array of float64"),
        ({"times_s": None}, "drive.times_s must be a 1-d array of float64"),
        ({"speed_mps": np.zeros(30)}, r"speed_mps has shape \(30,\), which does not fit 31 frames"),
        ({"camera_to_world": np.zeros((31, 4, 4))}, r"camera_to_world has shape \(31, 4, 4\), which does not fit"),
        ({"commands": ["stop"] * 31}, "commands must be a tuple of 31 names"),
        ({"commands": (*["stop"] * 30, "2")}, "commands is '2' in frame 30, known are turn_right, turn_left, stop"),
    ],
)
def test_arrays_of_other_kinds_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_drive(), **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"command": "left"}, "actions.command is 'left', known are turn_right"),
        ({"speed_mps": np.zeros(5)}, r"actions.speed_mps must be an array of float64 of shape \(4,\)"),
        ({"speed_mps": -np.ones(4)}, "actions.speed_mps is negative"),
        ({"angle_deg": np.full(4, np.nan)}, "actions.angle_deg is NaN"),
        ({"goal": np.array([800.0, 450.0])}, "actions.goal is .* expected shares from 0 to 1"),
    ],
)
def test_actions_of_other_kinds_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Actions(**change)


def test_a_clip_holds_its_drive_against_the_video():
    with pytest.raises(ValueError, match="clip clip-0: drive has 30 frames, the video has 31"):
        dataclasses.replace(drive_clip(), drive=make_drive(30))
    with pytest.raises(ValueError, match="clip clip-0: drive is dict, expected Drive"):
        dataclasses.replace(drive_clip(), drive={})


def test_damage_is_a_value_error_wherever_it_is():
    content = encode_drive(make_drive(4))
    num_refused = 0
    for place in np.random.default_rng(0).integers(0, len(content), 200).tolist():
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]):
            try:
                decode_drive(damaged)
            except ValueError:
                num_refused += 1
    assert num_refused > 250, "all that are cut, and most of the flipped ones"


def test_a_flipped_byte_in_a_packed_drive_is_named(roads):
    tar, entry = roads.with_name("shard-000000.tar"), roads.with_name("shard-000000.json")
    offset, size, _ = json.loads(entry.read_text())["clips"][1]["members"]["drive.npz"]
    content = bytearray(tar.read_bytes())
    content[offset + size // 2] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ValueError, match=r"member bend\.drive\.npz has flipped bytes"):
        ClipStore(roads).read_drive(1)
