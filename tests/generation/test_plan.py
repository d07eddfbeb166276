"""The recipe and the drawn scene: strict keys, published ranges, the same draw from the same seed."""

import numpy as np
import pytest

from generation.config import MoviConfig, digest_of, parse_overrides
from generation.scene import make_rng, plan_scene

OBJECTS, LIGHTS = [f"object_{i}" for i in range(20)], ["day", "night"]


def plan(config: MoviConfig, seed: int, attempt: int = 0):
    return plan_scene(config, OBJECTS, LIGHTS, make_rng(config, seed, attempt))


def test_defaults_are_movi_f_as_published():
    config = MoviConfig()
    assert (config.resolution, config.num_frames, config.frame_rate, config.samples_per_pixel) == (512, 24, 12, 64)
    assert (config.min_static, config.max_static, config.min_dynamic, config.max_dynamic) == (10, 20, 1, 3)
    assert config.denoise
    assert config.num_tracks == 2048


def test_overrides():
    config = parse_overrides(["resolution=128", "denoise=False", "max_motion_blur=0.5", "camera=panning"])
    assert (config.resolution, config.denoise, config.max_motion_blur, config.camera) == (128, False, 0.5, "panning")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("resolutoin=128", "did you mean 'resolution'"),
        ("resolution", "key=value"),
        ("resolution=big", "expected int"),
        ("denoise=maybe", "true or false"),
        ("camera=orbit", "use one of fixed, linear, panning, mixed"),
        ("frame_rate=7", "must divide 240"),
        ("num_frames=0", "at least 1"),
        ("min_static=30", "no range"),
        ("max_motion_blur=nan", "finite"),
        ("max_static=254", "at most 255"),
    ],
)
def test_bad_overrides_say_what_is_wrong(word, message):
    with pytest.raises(ValueError, match=message):
        parse_overrides([word])


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
