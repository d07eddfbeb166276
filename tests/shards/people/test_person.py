"""What a clip says of a person is packed, read, checked and drawn like the rest of it."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from generation.people.skeleton import JOINTS
from shards import ClipStore, pack_clips, write_index
from shards.__main__ import main
from shards.film import draw_bones
from shards.layouts.choice import Choice, cut_clips
from shards.people.person import FLOATS, Person, decode_person, encode_person
from shards.people.skeleton import PARENTS
from tests.shards.people_clips import BODY, make_person, person_clip, without_parts

ARRAYS = (*FLOATS, "parts")


def assert_same_person(one: Person, other: Person, frames=slice(None)):
    assert one.body == other.body
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name)[frames], err_msg=name)


@pytest.fixture
def people(tmp_path):
    """The index of three packed people, two of them in the first shard."""
    clips = [person_clip(f"people-{seed}", seed=seed) for seed in range(3)]
    prefixes = [tmp_path / "shards" / "people" / f"shard-{number:06d}" for number in range(2)]
    for prefix, some in zip(prefixes, (clips[:2], clips[2:]), strict=True):
        pack_clips(some, prefix)
    write_index([prefix.with_suffix(".json") for prefix in prefixes], "people", prefixes[0].parent / "index.json")
    return prefixes[0].parent / "index.json"


def test_people_come_back_exactly_whole_and_in_part(people):
    store = ClipStore(people)
    for number in (2, 0, 1):
        original = person_clip(f"people-{number}", seed=number)
        assert_same_person(store.read(number).person, original.person)
        part = store.read(number, frames=slice(1, None, 2))
        assert_same_person(part.person, original.person, slice(1, None, 2))
        np.testing.assert_array_equal(part.tracks, original.tracks[1::2])


def test_a_person_without_a_mask_comes_back(tmp_path):
    clip = without_parts(person_clip())
    pack_clips([clip], tmp_path / "shard-000000")
    write_index([tmp_path / "shard-000000.json"], "people", tmp_path / "index.json")
    assert ClipStore(tmp_path / "index.json").read(0).person.parts is None


def test_equal_people_give_equal_bytes(people, tmp_path):
    again = tmp_path / "again" / "shard-000000"
    pack_clips([person_clip(f"people-{seed}", seed=seed) for seed in range(2)], again)
    assert again.with_suffix(".tar").read_bytes() == (people.parent / "shard-000000.tar").read_bytes()


def test_clips_with_and_without_a_person_are_packed_apart(tmp_path):
    flat = dataclasses.replace(person_clip("b"), person=None)
    with pytest.raises(ValueError, match="clip b has no person while clip a has; pack them apart"):
        pack_clips([person_clip("a"), flat], tmp_path / "shard-000000")


def test_a_clip_that_is_cut_keeps_its_people_of_those_frames():
    clip = person_clip(num_frames=5)
    first, second = cut_clips([clip], Choice(start=1, window=2))
    assert (first.key, second.key) == ("clip-0-00001", "clip-0-00003")
    assert_same_person(second.person, clip.person, slice(3, 5))


def changed(name, where, value):
    """A function that makes a person's array differ at one place."""

    def change(person):
        array = getattr(person, name).copy()
        array[where] = value
        return dataclasses.replace(person, **{name: array})

    return change


REFUSALS = {
    "NaN label": (changed("rotations", (1, 3), np.nan), "person.rotations is NaN or infinite in frame 1"),
    "NaN shape": (changed("shape", (2, 0), np.nan), "person.shape is NaN or infinite in frame 2"),
    "infinite focal length": (changed("focal_px", 0, np.inf), "person.focal_px is NaN or infinite in frame 0"),
    "focal length": (changed("focal_px", 0, 0), "person.focal_px must be positive"),
    "behind the camera": (changed("pelvis_m", (1, 2), -1), r"pelvis_m is behind the camera in frame 1 \(z -1 m\)"),
    "in the camera": (changed("pelvis_m", (0, 2), 0), r"pelvis_m is behind the camera in frame 0 \(z 0 m\)"),
    "millimetres": (changed("pelvis_m", (1, 2), 2500), "over a kilometre away: are these millimetres"),
    "another pelvis": (changed("joints_m", (0, 0, 1), 0.5), "from joint 0: the pelvis is that joint and nothing else"),
    "empty mask": (changed("parts", 2, 0), "parts show no body in frame 2: the mask is empty"),
}


@pytest.mark.parametrize("mistake", REFUSALS)
def test_mistakes_in_labels_are_named(mistake):
    change, message = REFUSALS[mistake]
    with pytest.raises(ValueError, match=message):
        change(make_person()[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": np.zeros((3, 2))}, "person.shape must be a 2-d array of float32"),
        ({"shape": [[0, 0]]}, "person.shape must be a 2-d array of float32"),
        ({"pelvis_m": np.ones((2, 3), np.float32)}, r"pelvis_m has shape \(2, 3\), which does not fit 3 frames"),
        ({"centre_px": np.ones((3, 3), np.float32)}, r"centre_px has shape \(3, 3\), which does not fit"),
        ({"rotations": np.ones((3, 21, 3, 3), np.float32)}, "rotations are of 21 joints, joints_m of 22"),
        ({"parts": np.ones((3, 8), np.uint8)}, "parts must be a 3-d array of uint8 with 3 frames"),
        ({"parts": np.ones((3, 8, 8), np.int32)}, "parts must be a 3-d array of uint8 with 3 frames"),
    ],
)
def test_arrays_of_other_kinds_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(make_person()[0], **change)


def test_a_clip_holds_its_person_against_the_rest_of_it():
    clip = person_clip()
    few = {"tracks": clip.tracks[:, :5], "visible": clip.visible[:, :5]}
    with pytest.raises(ValueError, match=r"clip clip-0: person has \(3, 22\) frames and joints, expected \(3, 5\)"):
        dataclasses.replace(clip, **few)
    with pytest.raises(ValueError, match=r"person has parts of shape \(3, 48, 40\), expected \(3, 48, 39\)"):
        dataclasses.replace(clip, video=clip.video[:, :, :39], depth_m=None)
    with pytest.raises(ValueError, match="clip clip-0: person is dict, expected Person"):
        dataclasses.replace(clip, person={})


def test_damage_is_a_value_error_wherever_it_is():
    content = encode_person(make_person(1, size=(8, 8))[0])
    places = np.random.default_rng(0).integers(0, len(content), 300)
    num_refused = 0
    for place in places.tolist():
        for damaged in (content[:place], content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]):
            try:
                decode_person(damaged)
            except ValueError:
                num_refused += 1
    assert num_refused > 300, "all that are cut, and most of the flipped ones"


def test_a_pickle_inside_is_refused(tmp_path):
    arrays = {name: getattr(make_person()[0], name) for name in FLOATS}
    np.savez(tmp_path / "person.npz", body=np.frombuffer(b"digest", np.uint8), **arrays | {"shape": np.array([{}])})
    with pytest.raises(ValueError, match="Object arrays cannot be loaded"):
        decode_person((tmp_path / "person.npz").read_bytes())


def test_a_flipped_byte_in_a_packed_person_is_named(people, capsys):
    tar, entry = people.with_name("shard-000000.tar"), people.with_name("shard-000000.json")
    offset, size, _ = json.loads(entry.read_text())["clips"][1]["members"]["person.npz"]
    content = bytearray(tar.read_bytes())
    content[offset + size // 2] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ValueError, match=r"member people-1\.person\.npz has flipped bytes"):
        ClipStore(people).read(1)
    assert main(["verify", "--deep", str(people)]) == 1
    assert "person.npz has flipped bytes" in capsys.readouterr().err


def test_commands_on_people(people, tmp_path, capsys):
    assert main(["verify", "--deep", str(people)]) == 0
    assert main(["ls", str(people)]) == 0
    assert "people-2      3     40x48     22" in capsys.readouterr().out
    assert main(["view", str(people), "--out", str(tmp_path / "people.html")]) == 0
    page = (tmp_path / "people.html").read_text()
    assert page.count("m from the camera, along its axis") == 3 and BODY.digest in page


def test_a_change_of_a_person_is_a_difference(people, tmp_path, capsys):
    clips = [person_clip(f"people-{seed}", seed=seed) for seed in range(3)]
    clips[1] = without_parts(clips[1])
    pack_clips(clips, tmp_path / "shard-000000")
    write_index([tmp_path / "shard-000000.json"], "people", tmp_path / "index.json")
    assert main(["diff", str(people), str(tmp_path / "index.json")]) == 1
    assert "! people-1: person\n0 removed, 1 changed, 0 added, 2 the same" in capsys.readouterr().out


def test_conversion_keeps_people_or_says_that_it_does_not(people, tmp_path, capsys):
    arguments = ["convert", "--from", "index", str(people), "--window", "2"]
    assert main([*arguments, "--to", "index", "--out", str(tmp_path / "windows")]) == 0
    assert "people-0-00002: 1 frames 40x48, 22 tracks, depth, person\n" in capsys.readouterr().err
    store = ClipStore(tmp_path / "windows" / "index.json")
    assert_same_person(store.read(1).person, person_clip(seed=0).person, slice(2, 3))
    assert main([*arguments, "--to", "tapvid", "--out", str(tmp_path / "tracks.pkl")]) == 0
    assert "22 tracks, depth left out, person left out\n" in capsys.readouterr().err


def test_people_are_pushed_and_read_from_there(people, tmp_path):
    there = tmp_path / "bucket"
    assert main(["push", str(people), there.as_uri()]) == 0
    shutil.rmtree(people.parent)
    assert_same_person(ClipStore(there / "index.json").read(0).person, person_clip(seed=0).person)


def test_a_view_shows_bones_where_the_joints_are(tmp_path, people):
    assert main(["view", str(people), "people-0", "--out", str(tmp_path / "sheet.png")]) == 0
    assert Image.open(tmp_path / "sheet.png").size == (3 * 266, 320)
    grey = np.full((60, 60, 3), 128, np.uint8)
    joints = np.full((22, 2), 5.0)
    joints[JOINTS.index("left_knee") :] = 30  # only bones from left_knee on are longer than a dot
    hip, knee = JOINTS.index("left_hip"), JOINTS.index("left_knee")
    joints[hip], joints[knee] = (10.5, 50.5), (50.5, 50.5)
    seen = draw_bones(grey, joints, np.ones(22, bool), thickness=3)
    hidden = draw_bones(grey, joints, np.arange(22) != knee, thickness=3)
    assert PARENTS[knee] == hip and (seen[50, 30] != 128).any() and (hidden[50, 30] != 128).any()
    assert (seen[:, 25] != 128).any(-1).sum() > (hidden[:, 25] != 128).any(-1).sum()
