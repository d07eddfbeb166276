"""Samples of people: crops whose camera sees the joints where they are, mirrors, and people drawn for each sample."""

import json
from dataclasses import replace

import numpy as np
import pytest

from generation.people.config import PeopleConfig
from generation.people.panoramas import read_panoramas
from generation.people.scene import make_clip
from shards import ClipStore, pack_clips, write_index
from shards.people.body import pose_body
from shards.people.camera import Camera, project
from trainer.batch import lasting_rng, sample_rng
from trainer.config import DataConfig
from trainer.people.config import PeopleData
from trainer.people.samples import cut_out, find_box, make_people_sample, mirror, sample_of_clip


def settings(people, **changes) -> DataConfig:
    return DataConfig(dataset="toys", people=PeopleData(image_size=32, body=str(people.body_path), **changes))


def joints_by_camera(sample) -> np.ndarray:
    camera = Camera(focal_px=sample["focal_px"][None], centre_px=sample["centre_px"][None])
    return project(camera, (sample["joints_m"] + sample["pelvis_m"])[None])[0]


@pytest.mark.parametrize("crop", ["box", "whole"])
@pytest.mark.parametrize("endless", [False, True])
def test_a_samples_camera_sees_its_joints_where_they_are(people, crop, endless):
    store = ClipStore(people.index)
    config = settings(people, crop=crop, endless=endless)
    for number in range(4):
        sample = make_people_sample(store, number, config, sample_rng(0, 0, str(number)))
        in_front = (sample["joints_m"] + sample["pelvis_m"])[:, 2] > 0.1
        np.testing.assert_allclose(joints_by_camera(sample)[in_front], sample["joints_px"][in_front], atol=0.05)
        posed = pose_body(people.body, sample["shape"][None], sample["rotations"][None])
        np.testing.assert_allclose(posed.joints_m[0], sample["joints_m"], atol=1e-4)


def test_a_mirrored_sample_is_the_mirrored_person(people):
    clip = ClipStore(people.index)[0]
    plain = sample_of_clip(clip, 0, settings(people).people)
    mirrored = mirror(plain)
    np.testing.assert_array_equal(mirrored["image"], plain["image"][:, ::-1])
    np.testing.assert_allclose(joints_by_camera(mirrored), mirrored["joints_px"], atol=0.05)
    posed = pose_body(people.body, plain["shape"][None], mirrored["rotations"][None])  # the toy is symmetric
    np.testing.assert_allclose(posed.joints_m[0], mirrored["joints_m"], atol=1e-4)
    assert mirrored["joints_px"][1, 0] == pytest.approx(32 - plain["joints_px"][2, 0], abs=1e-4)  # the hips
    again = mirror(mirrored)
    for name, value in plain.items():
        np.testing.assert_allclose(again[name], value, atol=1e-5)


def test_what_is_drawn_depends_on_the_generator_alone(people):
    store, config = ClipStore(people.index), settings(people, endless=True)
    first, same, other = (
        make_people_sample(store, number, config, sample_rng(seed, 0, "a")) for number, seed in ((0, 0), (1, 0), (0, 1))
    )
    for name, value in first.items():
        np.testing.assert_array_equal(value, same[name])
    assert not np.array_equal(first["image"], other["image"])


def test_a_picture_that_lasts_is_seen_in_so_many_epochs_by_other_crops(people):
    store, config = ClipStore(people.index), settings(people, endless=True, epochs_a_picture=3)
    drawn = [make_people_sample(store, 0, config, sample_rng(0, epoch, "b")) for epoch in range(9)]
    depths = [float(sample["pelvis_m"][2]) for sample in drawn]
    changes = [epoch for epoch in range(1, 9) if depths[epoch] != depths[epoch - 1]]
    assert len(changes) in (2, 3) and set(np.diff(changes)) == {3}
    assert len({tuple(sample["box"]) for sample in drawn}) > 6
    other = [make_people_sample(store, 1, config, sample_rng(0, epoch, "a")) for epoch in range(9)]
    assert depths[3] != float(other[3]["pelvis_m"][2])
    again = make_people_sample(ClipStore(people.index), 0, config, sample_rng(0, 7, "b"))  # nothing kept, as if resumed
    for name, value in drawn[7].items():
        np.testing.assert_array_equal(again[name], value)


def test_clips_change_their_lasting_pictures_in_different_epochs():
    def changes(key: str) -> tuple[int, ...]:
        drawn = [lasting_rng(sample_rng(5, epoch, key), 4).random() for epoch in range(13)]
        return tuple(epoch for epoch in range(1, 13) if drawn[epoch] != drawn[epoch - 1])

    found = {changes(f"clip-{number}") for number in range(64)}
    assert found == {(1, 5, 9), (2, 6, 10), (3, 7, 11), (4, 8, 12)}
    with pytest.raises(ValueError, match="sample_rng"):
        lasting_rng(np.random.default_rng(3), 4)


@pytest.mark.parametrize("endless", [False, True])
def test_several_crops_are_of_one_picture(people, endless):
    store = ClipStore(people.index)
    one, three = (
        make_people_sample(store, 0, settings(people, endless=endless, crops=count), sample_rng(0, 0, "a"))
        for count in (1, 3)
    )
    for name, value in one.items():
        assert three[name].shape == (3, *value.shape)
        np.testing.assert_array_equal(three[name][0], value)
    np.testing.assert_array_equal(three["pelvis_m"][:, 2], [one["pelvis_m"][2]] * 3)
    assert len(np.unique(three["box"], axis=0)) == 3
    for number in range(3):
        crop = {name: value[number] for name, value in three.items()}
        in_front = (crop["joints_m"] + crop["pelvis_m"])[:, 2] > 0.1
        np.testing.assert_allclose(joints_by_camera(crop)[in_front], crop["joints_px"][in_front], atol=0.05)


@pytest.fixture
def before_panoramas(people, tmp_path):
    """The index of a clip before a green panorama, and the panoramas' file; and another file of the same names."""
    about = {"format": "frameline-panoramas/1", "train": ["meadow"], "test": ["room"]}
    files = []
    for name, green in (("some", 200), ("others", 90)):
        arrays = {f"panorama/{place}": np.full((32, 64, 3), (0, green, 0), np.uint8) for place in ("meadow", "room")}
        files.append(tmp_path / f"{name}.npz")
        np.savez(files[-1], about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    config = PeopleConfig(resolution=48, num_frames=1, background="panorama", has_floor=False, sensor_noise=0.0)
    clip = make_clip(config, people.body, 0, "toy-0", panoramas=read_panoramas(files[0]))
    pack_clips([clip], tmp_path / "meadow" / "shard-000000", "png")
    index = tmp_path / "meadow" / "index.json"
    write_index([tmp_path / "meadow" / "shard-000000.json"], "meadow", index)
    return index, *files


def test_people_drawn_anew_stand_before_their_data_sets_panoramas(people, before_panoramas):
    index, file, other = before_panoramas
    store = ClipStore(index)

    def draw(**changes) -> np.ndarray:
        config = settings(people, endless=True, crop="whole", **changes)
        return make_people_sample(store, 0, config, sample_rng(0, 0, "a"))["image"]

    assert (draw(panoramas=str(file)).reshape(-1, 3) == [0, 200, 0]).all(1).mean() > 0.2
    with pytest.raises(
        ValueError, match=r"index\.json: its people stand before panoramas; set data\.people\.panoramas"
    ):
        draw()
    with pytest.raises(ValueError, match="name the file that they were drawn with"):
        draw(panoramas=str(other))


def test_a_box_is_around_the_joints_in_the_picture():
    joints = np.array([[10.0, 10.0], [30.0, 20.0], [-50.0, 10.0]])
    left, top, side = find_box(joints, (64, 64), 1.5, np.zeros(3), "k")
    assert (left, top, side) == (5, 0, 30)
    with pytest.raises(ValueError, match="clip k: no joint of the person lies in the picture"):
        find_box(joints - 100, (64, 64), 1.5, np.zeros(3), "k")


@pytest.mark.parametrize(("left", "top"), [(2, 3), (-4, 5), (6, -3), (-2, -2), (60, 60), (100, 0)])
def test_what_is_cut_out_is_black_beyond_the_edges(left, top):
    picture = np.random.default_rng(0).integers(1, 256, (40, 64, 3), np.uint8)
    padded = np.zeros((300, 300, 3), np.uint8)
    padded[100:140, 100:164] = picture
    expected = padded[100 + top : 108 + top, 100 + left : 108 + left]
    np.testing.assert_array_equal(cut_out(picture, np.array([left, top, 8]), 8), expected)


def test_mistakes_are_named(people):
    store = ClipStore(people.index)
    with pytest.raises(ValueError, match=r"data\.people"):
        make_people_sample(store, 0, DataConfig(dataset="toys"), sample_rng(0, 0, "a"))
    clip = replace(store[0], person=None)
    with pytest.raises(ValueError, match="clip toy-0 shows no person"):
        sample_of_clip(clip, 0, PeopleData())
    store.summary["recipe"] = None
    with pytest.raises(ValueError, match="no one recipe of drawn people"):
        make_people_sample(store, 0, settings(people, endless=True), sample_rng(0, 0, "a"))
    with pytest.raises(ValueError, match="use box or whole"):
        PeopleData(crop="half")
