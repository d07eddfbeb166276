"""Panoramas behind drawn people: made from HDRIs, seen in the right direction, held out, and told from other files."""

import json

import numpy as np
import pytest

from generation.panorama import shrink, tone_map
from generation.people.config import PeopleConfig
from generation.people.panoramas import Surroundings, read_panoramas
from generation.people.scene import make_clip
from generation.people.toy import make_toy

HEIGHT, WIDTH = 64, 128
COLOURS = {"meadow": (40, 200, 60), "street": (200, 60, 40), "room": (60, 40, 200)}


@pytest.fixture
def file(tmp_path):
    about = {"format": "frameline-panoramas/1", "train": ["meadow", "street"], "test": ["room"]}
    arrays = {f"panorama/{name}": np.full((HEIGHT, WIDTH, 3), colour, np.uint8) for name, colour in COLOURS.items()}
    path = tmp_path / "some.npz"
    np.savez(path, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return path


def a_direction_map() -> np.ndarray:
    """A panorama whose colour is the direction of each pixel: (1 + x, 1 + y, 1 + z) / 2 of the unit vector."""
    around = ((np.arange(WIDTH) + 0.5) / WIDTH - 0.5) * 2 * np.pi
    down = ((np.arange(HEIGHT) + 0.5) / HEIGHT - 0.5) * np.pi
    x, y, z = np.cos(down)[:, None] * np.sin(around), np.sin(down)[:, None] + 0 * around, 0
    z = np.cos(down)[:, None] * np.cos(around)
    return np.rint(127.5 * (1 + np.stack([x, y, z], -1))).astype(np.uint8)


def test_a_ray_meets_the_colour_of_its_direction():
    rays = np.random.default_rng(0).normal(size=(40, 50, 3))
    seen = Surroundings(name="map", picture=a_direction_map(), turn=0.0).seen_along(rays)
    unit = rays / np.linalg.norm(rays, axis=-1, keepdims=True)
    assert np.abs(2 * seen - 1 - unit).max() < 0.06  # a pixel of the map is 0.05 radians wide


def test_the_seam_behind_is_not_seen():
    around = np.pi + np.linspace(-0.02, 0.02, 9)
    rays = np.stack([np.sin(around), 0 * around, np.cos(around)], -1)[None]
    seen = Surroundings(name="map", picture=a_direction_map(), turn=0.0).seen_along(rays)
    assert np.abs(np.diff(seen[0], axis=0)).max() < 0.01
    assert np.abs(2 * seen[0] - 1 - rays[0]).max() < 0.06


def test_a_turn_moves_the_surroundings_about_the_vertical():
    rays = np.array([[[0.3, -0.2, 1.0]]])
    turn = 0.7
    cos, sin = np.cos(turn), np.sin(turn)
    turned = rays @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    plain = Surroundings(name="map", picture=a_direction_map(), turn=0.0).seen_along(turned)
    np.testing.assert_allclose(
        Surroundings(name="map", picture=a_direction_map(), turn=turn).seen_along(rays), plain, atol=1e-3
    )


@pytest.mark.parametrize(("split", "expected"), [("train", {"meadow", "street"}), ("test", {"room"})])
def test_clips_stand_before_the_panoramas_of_their_split(file, split, expected):
    config = PeopleConfig(
        resolution=32, num_frames=1, background="panorama", split=split, has_floor=False, sensor_noise=0.0
    )
    panoramas, found = read_panoramas(file), set()
    for seed in range(8):
        clip = make_clip(config, make_toy(), seed, f"people-{seed}", panoramas=panoramas)
        name = clip.metadata["scene"]["hdri"]
        behind = clip.video[0][clip.person.parts[0] == 0]
        assert (behind == COLOURS[name]).all()
        assert clip.metadata["recipe"]["panoramas"] == panoramas.digest
        found.add(name)
    assert found == expected


def test_panoramas_change_the_background_and_nothing_else(file):
    plain = make_clip(PeopleConfig(resolution=48, num_frames=2), make_toy(), 1, "people-1")
    assert "scene" not in plain.metadata and "panoramas" not in plain.metadata["recipe"]
    with pytest.raises(ValueError, match=r"background=panorama needs .* --panoramas FILE"):
        make_clip(PeopleConfig(background="panorama"), make_toy(), 1, "people-1")


def test_other_files_are_refused_by_name(tmp_path, file):
    with pytest.raises(ValueError, match=r"missing\.npz: there are no panoramas; make it again: python -m generation"):
        read_panoramas(tmp_path / "missing.npz")
    for name, content in (("text.npz", b"no zip"), ("cut.npz", file.read_bytes()[:-300])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name}: no panoramas of this version"):
            read_panoramas(tmp_path / name)
    about = {"format": "frameline-panoramas/1", "train": ["grey"], "test": []}
    grey = tmp_path / "grey.npz"
    content = {
        "about": np.frombuffer(json.dumps(about).encode(), np.uint8),
        "panorama/grey": np.zeros((4, 8), np.uint8),
    }
    np.savez(grey, **content)
    with pytest.raises(ValueError, match=r"grey.npz: .*grey is \(4, 8\) uint8, expected \(H, W, 3\) uint8"):
        read_panoramas(grey)
    np.savez(grey, **content | {"panorama/grey": np.zeros((4, 8, 3), np.uint8)})
    with pytest.raises(ValueError, match="no panorama of the split 'test'"):
        read_panoramas(grey).of_split("test")


def test_light_is_exposed_by_its_middle_and_the_brightest_is_kept_apart():
    light = np.exp(np.random.default_rng(0).normal(size=(40, 80, 1))).astype(np.float32).repeat(3, -1)
    mapped = tone_map(light)
    np.testing.assert_array_equal(mapped, tone_map(1000 * light))  # whatever unit the light is in
    order = np.argsort(light.ravel())
    assert (np.diff(mapped.ravel()[order].astype(int)) >= 0).all()
    assert mapped.max() < 255 and abs(np.median(mapped) / 255 - 0.35 ** (1 / 2.2)) < 0.05
    assert (tone_map(np.zeros((2, 4, 3), np.float32)) == 0).all()


def test_shrinking_takes_means_of_squares():
    picture = np.arange(6 * 12 * 3, dtype=np.float32).reshape(6, 12, 3)
    small = shrink(picture, 3)
    assert small.shape == (3, 6, 3)
    np.testing.assert_allclose(small[1, 2], picture[2:4, 4:6].mean((0, 1)))
    np.testing.assert_array_equal(shrink(picture, 100), picture)
