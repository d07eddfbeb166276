"""The recipe and the drawn scene: strict keys, published ranges, the same draw from the same seed."""

import numpy as np
import pytest

from generation.config import RECIPES, MoviConfig, TrackConfig, digest_of, parse_recipe, parse_tracks
from generation.scene import CLEVR_CAMERA, CLEVR_COLOURS, make_rng, plan_scene

OBJECTS, LIGHTS = [f"object_{i}" for i in range(20)], ["day", "night"]


def plan(config: MoviConfig, seed: int, attempt: int = 0):
    return plan_scene(config, OBJECTS, LIGHTS, make_rng(config, seed, attempt))


def test_defaults_are_movi_f_as_published():
    config = MoviConfig()
    assert (config.resolution, config.num_frames, config.frame_rate, config.samples_per_pixel) == (512, 24, 12, 64)
    assert (config.min_static, config.max_static, config.min_dynamic, config.max_dynamic) == (10, 20, 1, 3)
    assert config.denoise
    assert TrackConfig().num_tracks == 2048


def test_overrides():
    config = parse_recipe("movi_f", ["resolution=128", "denoise=False", "max_motion_blur=0.5", "camera=panning"])
    assert (config.resolution, config.denoise, config.max_motion_blur, config.camera) == (128, False, 0.5, "panning")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("resolutoin=128", "did you mean 'resolution'"),
        ("resolution", "key=value"),
        ("resolution=big", "expected int"),
        ("denoise=maybe", "true or false"),
        ("camera=orbit", "use one of fixed, linear, panning, mixed, clevr"),
        ("frame_rate=7", "must divide 240"),
        ("num_frames=0", "at least 1"),
        ("min_static=30", "no range"),
        ("max_motion_blur=nan", "finite"),
        ("max_static=254", "at most 255"),
        ("friction=1.5", "friction=1.5: from 0 to 1"),
        ("static_region=1,2,3", "six numbers"),
        ("dynamic_region=1,0,0,-1,1,1", "the first three numbers are the low ends"),
        ("device=tpu", "use one of cpu, cuda, optix"),
        ("setting=moon", "use one of dome, clevr, shapes"),
        ("denoise_prefilter=maybe", "use one of accurate, fast, none"),
    ],
)
def test_bad_overrides_say_what_is_wrong(word, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe("movi_f", [word])


def test_a_recipe_or_track_key_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no recipe 'movi_ff', did you mean 'movi_f'"):
        parse_recipe("movi_ff", [])
    with pytest.raises(ValueError, match="unknown key 'num_track', did you mean 'num_tracks'"):
        parse_tracks(["num_track=3"])
    with pytest.raises(ValueError, match="at least 1"):
        parse_tracks(["num_tracks=0"])
    assert parse_tracks(["dense_frames=0,-1"]).dense_frames == (0, -1)


@pytest.mark.parametrize(
    ("recipe", "resolution", "num_static", "num_dynamic", "camera", "has_blur"),
    [
        ("movi_a", 256, (0, 0), (3, 10), "clevr", False),
        ("movi_b", 256, (0, 0), (3, 10), "fixed", False),
        ("movi_c", 256, (0, 0), (3, 10), "fixed", False),
        ("movi_d", 256, (10, 20), (1, 3), "fixed", False),
        ("movi_e", 256, (10, 20), (1, 3), "linear", False),
        ("movi_e_panning", 256, (10, 20), (1, 3), "panning", False),
        ("movi_f", 512, (10, 20), (1, 3), "linear", True),
        ("movi_f_long", 512, (10, 20), (1, 3), "linear", True),
    ],
)
def test_variants_as_published(recipe, resolution, num_static, num_dynamic, camera, has_blur):
    """Kubric's challenges/movi: counts, cameras and blur of each variant; the long clips are for CoTracker3."""
    config = parse_recipe(recipe, [])
    assert config.resolution == resolution
    assert (config.min_static, config.max_static) == num_static
    assert (config.min_dynamic, config.max_dynamic) == num_dynamic
    assert (config.camera, config.max_motion_blur > 0) == (camera, has_blur)
    assert config.num_frames == (120 if recipe == "movi_f_long" else 24)
    assert set(RECIPES) == {f"movi_{x}" for x in ("a", "b", "c", "d", "e", "e_panning", "f", "f_long")}
    drawn = [plan(config, seed) for seed in range(8)]
    assert all((each.hdri is None) == (recipe in ("movi_a", "movi_b")) for each in drawn)


def test_movi_a_has_two_sizes_eight_colours_and_a_jittered_camera():
    config = parse_recipe("movi_a", ["num_frames=3"])
    scenes = [plan(config, seed) for seed in range(60)]
    objects = [planned for scene in scenes for planned in scene.objects]
    assert {planned.size for planned in objects} == {0.7, 1.4}
    assert {planned.material for planned in objects} == {"metal", "rubber"}
    assert {planned.colour for planned in objects} == {tuple(c / 255 for c in v) for v in CLEVR_COLOURS.values()}
    offsets = np.array([scene.camera_positions[0] for scene in scenes]) - CLEVR_CAMERA
    assert (offsets >= 0).all()
    assert (offsets <= 1).all()
    assert np.ptp(offsets, axis=0).min() > 0.8
    assert {scene.floor_colour for scene in scenes} == {(128 / 255,) * 3}


def test_movi_b_has_any_size_and_hue():
    config = parse_recipe("movi_b", ["num_frames=3"])
    scenes = [plan(config, seed) for seed in range(40)]
    sizes = np.array([planned.size for scene in scenes for planned in scene.objects])
    assert ((sizes > 0.7) & (sizes < 1.4)).all()
    assert len(set(sizes)) == len(sizes)
    assert len({scene.floor_colour for scene in scenes}) == 40
    assert all(max(scene.floor_colour) == 1.0 for scene in scenes)


def test_the_camera_moves_as_published_and_never_quite_arrives():
    """kubric's worker steps by 1 / (num_frames + 2) from one frame before the first to one after the last."""
    drawn = plan(MoviConfig(num_frames=24), 3)
    steps = np.diff(drawn.camera_positions, axis=0)
    np.testing.assert_allclose(steps, steps[:1].repeat(25, 0), atol=1e-12)
    assert len(drawn.camera_positions) == 26


def test_regions_and_velocities_can_be_set():
    config = parse_recipe("movi_f", ["velocity_range=1,2,3,1,2,3", "dynamic_region=0,0,1,1,1,2"])
    thrown = [planned for planned in plan(config, 0).objects if planned.is_dynamic]
    assert {planned.velocity for planned in thrown} == {(1.0, 2.0, 3.0)}
    assert config.dynamic_region == (0, 0, 1, 1, 1, 2)


def test_a_seed_is_a_scene():
    config = MoviConfig(num_frames=8)
    one, same, other, retry = plan(config, 5), plan(config, 5), plan(config, 6), plan(config, 5, attempt=1)
    assert one.objects == same.objects
    np.testing.assert_array_equal(one.camera_positions, same.camera_positions)
    assert one.objects != other.objects
    assert one.objects != retry.objects


def test_what_only_changes_the_picture_does_not_change_the_scene():
    sharp = plan(MoviConfig(max_motion_blur=0.0, resolution=64), 3)
    blurred = plan(MoviConfig(), 3)
    assert sharp.motion_blur == 0.0 < blurred.motion_blur
    assert sharp.objects == blurred.objects
    np.testing.assert_array_equal(sharp.camera_positions, blurred.camera_positions)


@pytest.mark.parametrize("camera", ["fixed", "linear", "panning"])
def test_published_ranges(camera):
    config = MoviConfig(camera=camera, num_frames=6)
    for seed in range(40):
        drawn = plan(config, seed)
        static = [planned for planned in drawn.objects if not planned.is_dynamic]
        assert 10 <= len(static) <= 20
        assert 1 <= len(drawn.objects) - len(static) <= 3
        assert all(0.75 <= planned.size <= 3.0 for planned in drawn.objects)
        ends = drawn.camera_positions[[0, -1]]
        inner, outer = (7, 9) if camera == "fixed" else (8, 12)
        assert ((np.linalg.norm(ends, axis=-1) >= inner) & (np.linalg.norm(ends, axis=-1) <= outer)).all()
        assert (ends[:, 2] > 0).all()
        assert np.linalg.norm(ends[1] - ends[0]) <= 4.0
        assert (np.ptp(drawn.camera_targets, axis=0) > 0).any() == (camera == "panning")


def test_mixed_cameras_follow_the_weights():
    config = MoviConfig(camera="mixed", weight_fixed=0.0, weight_linear=3.0, weight_panning=1.0, num_frames=2)
    kinds = [plan(config, seed).camera for seed in range(200)]
    assert kinds.count("fixed") == 0
    assert 120 < kinds.count("linear") < 180


def test_the_digest_follows_everything_that_decides_a_clip():
    making = {"assets": "a", "code": "b", "versions": {"bpy": "4.5.15"}}
    digests = {
        digest_of(MoviConfig(), 1, making),
        digest_of(MoviConfig(), 2, making),
        digest_of(MoviConfig(num_frames=12), 1, making),
        digest_of(MoviConfig(), 1, making | {"versions": {"bpy": "4.5.14"}}),
    }
    assert len(digests) == 4
