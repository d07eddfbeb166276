"""Clips of people: pure functions of their seeds, whose labels say what the pictures show."""

import dataclasses

import numpy as np
import pytest

from generation.people.config import PeopleConfig, from_recipe, parse_people
from generation.people.look import draw_look
from generation.people.scene import describe, make_clip
from generation.people.view import SENSOR_MM, TARGETS, draw_view
from shards import pack_clips
from shards.people.body import pose_body
from shards.people.camera import Camera, project
from shards.people.raster import draw, parts_seen
from shards.people.visibility import joints_seen
from tests.shards.people_clips import BODY

SMALL = PeopleConfig(resolution=48, num_frames=6)
BARE = dataclasses.replace(SMALL, sensor_noise=0.0, background="plain", has_floor=False)
CLIPS = [make_clip(SMALL, BODY, seed, f"people-{seed}") for seed in range(4)]
JOINTS = pose_body(BODY, np.zeros((1, 2)), np.tile(np.eye(3), (1, 22, 1, 1))).joints_m[0].astype(float)
FLOOR_M = 0.95


def views(count=400, **changes):
    """Random cameras of the body at rest, and the point that each looks at (N, 3)."""
    config, rng = PeopleConfig(**changes), np.random.default_rng(5)
    drawn = [draw_view(config, BODY, JOINTS, FLOOR_M, number, rng) for number in range(count)]
    targets = JOINTS[[BODY.joint(name) for name in TARGETS]] + [0, config.target_drop_m, 0]
    targets[:, 1] = targets[:, 1].clip(max=FLOOR_M)
    return drawn, np.tile(targets, (count // len(TARGETS) + 1, 1))[:count]


def drawn_again(clip, frame):
    """The mesh of a frame's labels, drawn by its camera."""
    person, part = clip.person, slice(frame, frame + 1)
    posed = pose_body(BODY, person.shape[part], person.rotations[part], person.pelvis_m[part])
    size = clip.video.shape[1:3]
    return posed, draw(posed.vertices_m[0], BODY.faces, person.focal_px[frame], person.centre_px[frame], size)


def rays_of(clip, frame):
    """Where pixels look: vectors (H, W, 3) with z = 1 in camera axes."""
    height, width = clip.video.shape[1:3]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    centre, focal = clip.person.centre_px[frame], clip.person.focal_px[frame]
    return np.stack([(x - centre[0]) / focal, (y - centre[1]) / focal, np.ones_like(x)], -1)


def z_of(clip, frame):
    """z (H, W) of what a frame shows: its depth is the distance to the camera's centre."""
    return clip.depth_m[frame] / np.linalg.norm(rays_of(clip, frame), axis=-1)


def test_the_same_seed_gives_the_same_bytes_and_another_another_clip(tmp_path):
    for name in ("one", "two"):
        pack_clips((make_clip(SMALL, BODY, seed, f"people-{seed}") for seed in range(2)), tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert len({clip.video.tobytes() for clip in CLIPS}) == len({clip.person.shape.tobytes() for clip in CLIPS}) == 4
    frames = CLIPS[0].video
    assert len({frame.tobytes() for frame in frames}) == len(frames), "a camera of its own for each"


def test_a_seed_may_be_several_numbers():
    """As an endless stream has them: seed, epoch, clip."""
    one, other = (make_clip(BARE, BODY, [7, 1, number], "people") for number in (2, 3))
    again = make_clip(BARE, BODY, (7, 1, 2), "people")
    np.testing.assert_array_equal(one.video, again.video)
    assert (one.video != other.video).any() and "seed" not in one.metadata


def test_a_clip_says_how_it_was_made():
    clip = CLIPS[3]
    assert clip.metadata == {"recipe": describe(SMALL, BODY), "seed": 3}
    assert clip.metadata["recipe"]["body"] == {"name": "toy", "digest": BODY.digest}
    assert clip.person.body == BODY.digest
    assert from_recipe(clip.metadata["recipe"]["people"]) == SMALL


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.key)
def test_labels_say_what_is_drawn(clip):
    person, num_frames = clip.person, len(clip.video)
    camera = Camera(focal_px=person.focal_px, centre_px=person.centre_px)
    for frame in range(num_frames):
        posed, drawn = drawn_again(clip, frame)
        np.testing.assert_allclose(posed.joints_m[0], person.joints_m[frame], atol=2e-5)
        # Rounding may move an outline across a pixel's centre.
        assert (parts_seen(drawn, BODY.parts) != person.parts[frame]).mean() < 0.003
        both = drawn.mask & (person.parts[frame] > 0)
        np.testing.assert_allclose(np.median(np.abs(drawn.depth_m - z_of(clip, frame))[both]), 0, atol=1e-5)
        seen = joints_seen(BODY, drawn, clip.tracks[frame], person.joints_m[frame])
        assert (seen != clip.visible[frame]).sum() <= 1
    np.testing.assert_array_equal(person.pelvis_m, person.joints_m[:, 0])
    np.testing.assert_allclose(clip.tracks, project(camera, person.joints_m), atol=1e-3)
    assert len(np.unique(person.shape, axis=0)) == 1 and len(np.unique(person.rotations[:, 1:], axis=0)) == 1
    inside = ((clip.tracks >= 0) & (clip.tracks < 48)).all(-1)
    assert not (clip.visible & ~inside).any() and (inside.sum(1) >= SMALL.min_joints).all()
    assert clip.visible.any() and not clip.visible.all()


def test_the_mask_is_where_the_person_is_in_the_picture():
    """Before one colour, all that is of another colour is the body, and almost no colour of it is that one."""
    clip = make_clip(BARE, BODY, 1, "people")
    for frame, (picture, parts) in enumerate(zip(clip.video, clip.person.parts, strict=True)):
        off = picture[parts == 0]
        assert (off == off[0]).all() and ((picture[parts > 0] != off[0]).any(-1)).mean() > 0.95
        z = z_of(clip, frame)
        np.testing.assert_allclose(z[parts == 0], BARE.background_m, rtol=1e-6)
        assert z[parts > 0].max() < BARE.background_m - 1


def test_parts_have_a_colour_each_and_light_is_from_above():
    clip = make_clip(dataclasses.replace(BARE, num_frames=24), BODY, 2, "people")
    look_of = [draw_look(BODY, np.random.default_rng(seed)) for seed in range(200)]
    assert all(look.light[1] < 0 and np.linalg.norm(look.light) == pytest.approx(1, abs=1e-6) for look in look_of)
    trousers = np.array([np.ptp(look.albedo[1 + np.array([1, 4])], axis=0).max() < 1e-6 for look in look_of])
    assert 0.45 < trousers.mean() < 0.75, "long for three of five, else shorts: thigh and shin are of one colour or two"
    left, right = (1 + BODY.part_names.index(f"{side}_shoulder") for side in ("left", "right"))
    assert all((look.albedo[left] == look.albedo[right]).all() for look in look_of)
    # Lambert: a part's pixels are one hue at any brightness.
    for part in (1, 4):
        colours = clip.video[clip.person.parts == part].astype(float)
        bright = colours[colours.max(-1) > 80]
        hues = bright / bright.sum(-1, keepdims=True)
        assert len(bright) > 20 and hues.std(0).max() < 0.03


def test_depth_is_positive_everywhere_and_ends_at_the_background():
    for clip in CLIPS:
        assert clip.depth_m.dtype == np.float32 and clip.depth_m.min() > 0.1
        assert max(z_of(clip, frame).max() for frame in range(6)) <= SMALL.background_m * (1 + 1e-6)
        assert clip.video.dtype == np.uint8 and clip.video.std() > 10


def test_the_floor_is_flat_and_carries_the_feet():
    """Without a tilt the pelvis' rotation is the camera's, so that depths can be turned back into the person's axes."""
    config = dataclasses.replace(SMALL, max_tilt_degrees=0.0, resolution=64)
    clip, num_pixels = make_clip(config, BODY, 6, "people"), 0
    for frame in range(config.num_frames):
        posed, _ = drawn_again(clip, frame)
        turn = clip.person.rotations[frame, 0].astype(float)
        lowest = (posed.vertices_m[0] @ turn)[:, 1].max()
        z = z_of(clip, frame)
        heights = (rays_of(clip, frame) * z[..., None] @ turn)[..., 1]
        is_floor = (clip.person.parts[frame] == 0) & (z < config.background_m * (1 - 1e-6))
        np.testing.assert_allclose(heights[is_floor], lowest, atol=1e-3)
        np.testing.assert_array_less(heights[~is_floor & (clip.person.parts[frame] == 0)], lowest)
        num_pixels += is_floor.sum()
    assert num_pixels > 1000


def test_supersampling_smooths_the_picture_and_changes_no_label():
    smooth, sharp = (make_clip(dataclasses.replace(BARE, supersample=factor), BODY, 1, "people") for factor in (3, 1))
    np.testing.assert_array_equal(smooth.person.parts, sharp.person.parts)
    np.testing.assert_array_equal(smooth.depth_m, sharp.depth_m)
    np.testing.assert_array_equal(smooth.tracks, sharp.tracks)
    difference = np.abs(smooth.video.astype(float) - sharp.video).max(-1)
    assert 0.01 < (difference > 20).mean() < 0.4 and np.abs(difference).mean() < 15


def test_cameras_are_at_the_distances_that_the_recipe_says():
    drawn, targets = views(near_m=(0.6, 1.5), far_m=(2.0, 8.0), clearance=0.1)
    distance = np.array([np.linalg.norm(view.position_m - at) for view, at in zip(drawn, targets, strict=True)])
    near, far = distance[distance < 1.75], distance[distance > 1.75]
    assert 0.6 <= near.min() < 0.65 and 1.4 < near.max() <= 1.5
    assert 2 <= far.min() < 2.2 and 6 < far.max() <= 8
    assert abs(len(near) / len(distance) - 0.8) < 0.06
    # Uniform in 1 / d: the median is the harmonic mean of the bounds.
    assert np.median(near) == pytest.approx(2 / (1 / 0.6 + 1 / 1.5), rel=0.06)
    assert np.median(far) == pytest.approx(2 / (1 / 2 + 1 / 8), rel=0.15)


def test_the_share_of_near_cameras_is_the_recipes():
    for share in (0.0, 0.3, 1.0):
        drawn, targets = views(near_share=share, near_m=(0.5, 1.0), far_m=(1.5, 3.0), clearance=0.1)
        near = [np.linalg.norm(view.position_m - at) < 1.2 for view, at in zip(drawn, targets, strict=True)]
        assert np.mean(near) == pytest.approx(share, abs=0.07)


def test_cameras_are_farther_than_the_person_reaches():
    reach = np.linalg.norm(JOINTS[:, [0, 2]], axis=1).max()
    drawn, targets = views(near_m=(0.2, 0.3), near_share=1.0, clearance=1.5)
    distance = np.array([np.linalg.norm(view.position_m - at) for view, at in zip(drawn, targets, strict=True)])
    np.testing.assert_allclose(distance, 1.5 * reach, rtol=0.02)  # targets are a little beside the pelvis' axis


def test_the_focal_length_grows_with_the_distance():
    drawn, targets = views(resolution=100, focal_mm=20.0, focal_jitter=(0.7, 1.3))
    factor = np.array([
        view.focal_px / (20 / SENSOR_MM * 100 * np.linalg.norm(view.position_m - at))
        for view, at in zip(drawn, targets, strict=True)
    ])  # fmt: skip
    assert 0.7 <= factor.min() < 0.72 and 1.28 < factor.max() <= 1.3 and factor.mean() == pytest.approx(1, abs=0.03)


def test_cameras_look_at_their_targets_from_above_the_floor():
    drawn, targets = views(direction_noise_degrees=0.0, polar=(0.1, 0.7), min_height_m=0.2)
    polar, azimuth = [], []
    for view, target in zip(drawn, targets, strict=True):
        np.testing.assert_allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(view.rotation) == pytest.approx(1)
        x, y, z = view.rotation @ (target - view.position_m)
        assert z > 0.4 and abs(x) < 1e-9 and abs(y) < 1e-9, "in the middle of the picture"
        assert abs(view.rotation[0, 1]) < 1e-12, "the horizon is level"
        assert view.rotation[1, 1] > 0, "and the person upright"
        assert view.position_m[1] <= FLOOR_M - 0.2 + 1e-9
        away = (view.position_m - target) / z
        polar.append(np.arccos(-away[1]) / np.pi)
        azimuth.append(np.arctan2(away[0], -away[2]))
    assert 0.1 <= min(polar) < 0.12 and 0.5 < max(polar) <= 0.7 + 1e-9
    assert (np.histogram(azimuth, 8, (-np.pi, np.pi))[0] > 25).all(), "from all sides, of 400"


def test_the_direction_is_noisier_from_near():
    middle = {}
    for name, bounds in (("near", (0.8, 0.8)), ("far", (4.0, 4.0))):
        drawn, targets = views(1500, near_m=bounds, near_share=1.0, clearance=0.1)
        seen = np.array([v.rotation @ (at - v.position_m) for v, at in zip(drawn, targets, strict=True)])
        middle[name] = np.degrees(np.arctan2(seen[:, :2], seen[:, 2:])).std(0)
    np.testing.assert_allclose(middle["near"], 5 / 0.8, rtol=0.1)
    np.testing.assert_allclose(middle["far"], 5 / 4.0, rtol=0.1)


def test_pictures_show_as_many_joints_as_the_recipe_asks():
    clips = [make_clip(dataclasses.replace(BARE, min_joints=18), BODY, seed, "people") for seed in range(3)]
    for clip in clips:
        assert (((clip.tracks >= 0) & (clip.tracks < 48)).all(-1).sum(1) >= 18).all()
    loose = [make_clip(dataclasses.replace(BARE, min_joints=1), BODY, seed, "people") for seed in range(3)]
    num_inside = [((clip.tracks >= 0) & (clip.tracks < 48)).all(-1).sum(1).min() for clip in loose]
    assert min(num_inside) < 18


def test_a_body_that_never_fits_is_one_clear_error():
    hopeless = parse_people(["resolution=32", "min_joints=22", "focal_mm=300", "far_m=1,1.1", "near_m=1,1.1"])
    with pytest.raises(ValueError, match=r"50 cameras in a row show fewer than 22 joints of a body.*lower min_joints"):
        make_clip(hopeless, BODY, 0, "people")


MISTAKES = {
    "near_sahre=0.5": "unknown key 'near_sahre', did you mean 'near_share'?",
    "resolution=8": "resolution=8 must be at least 16",
    "num_frames=0": "num_frames=0 must be at least 1",
    "supersample=0": "supersample=0 must be at least 1",
    "resolution=64.5": "resolution=64.5: expected int",
    "near_m=1": "near_m=1: expected two numbers, low,high",
    "near_m=2,1": r"near_m=2\.0,1\.0: give two positive bounds, the smaller one first",
    "focal_jitter=0,1": "focal_jitter=0.0,1.0: give two positive bounds",
    "polar=0.5,1": r"polar=0\.5,1\.0 must end below 1",
    "near_share=1.2": r"near_share=1\.2 must lie in 0\.\.1",
    "background=hdri": "background='hdri': use one of noise, plain",
    "focal_mm=0": r"focal_mm=0\.0 must be positive",
    "focal_mm=nan": "focal_mm=nan: expected a finite number",
    "clearance=-1": r"clearance=-1\.0 must be positive",
    "sensor_noise=-0.1": r"sensor_noise=-0\.1 must be at least 0",
    "has_floor=perhaps": "has_floor=perhaps: write true or false",
    "background_m=8": r"background_m=8\.0 must be beyond far_m=1\.0,10\.0",
    "min_height_m=-1": r"min_height_m=-1\.0 must be at least 0",
}


@pytest.mark.parametrize("word", MISTAKES)
def test_mistakes_in_a_recipe_are_named(word):
    with pytest.raises(ValueError, match=MISTAKES[word].replace("?", r"\?")):
        parse_people([word])


def test_a_recipe_of_another_version_is_refused():
    with pytest.raises(ValueError, match="a recipe of people has the unknown key 'lens'; draw the data set again"):
        from_recipe(describe(SMALL, BODY)["people"] | {"lens": "fisheye"})
