"""Turning and driving read back from frames whose camera is known."""

import numpy as np
import pytest

from eval.driving.following import calibrate, correlation, travel, without_common
from eval.driving.motion import recover_steps
from shards.driving.motion import steps_of
from tests.eval.driving.street import FOCAL_SHARE, drive_along, pick, see, smooth_noise
from tests.shards.driving.drives import poses_of


def panorama_frames(shifts, size=(32, 48), seed=0):
    """A panorama that slides to the right by shifts (T,) pixels in all."""
    panorama = smooth_noise((size[0], 200), np.random.default_rng(seed))
    y, x = np.mgrid[: size[0], : size[1]]
    return np.stack([np.rint(pick(panorama, y.astype(float), x - shift + 90.0)) for shift in shifts]).astype(np.uint8)


@pytest.mark.parametrize("size", [(16, 16), (32, 48), (90, 160)])
@pytest.mark.parametrize("step", [0.0, 0.3, -1.6, 3.4])
def test_a_sliding_panorama_is_read_to_a_fraction_of_a_pixel(size, step):
    found = recover_steps(panorama_frames(np.arange(4) * step, size))
    shrunk = min(1, 128 / size[1])
    assert found[0] == pytest.approx([0, 0])
    assert found[1:, 1] == pytest.approx([step * shrunk] * 3, abs=0.2 if size[0] < 20 else 0.1)


def test_brightness_and_contrast_may_drift():
    frames = panorama_frames(np.arange(4) * 1.3)
    drifting = np.stack([40 + (0.8 - 0.05 * t) * frame for t, frame in enumerate(frames)]).astype(np.uint8)
    assert recover_steps(drifting)[1:, 1] == pytest.approx([1.3] * 3, abs=0.12)


def test_pictures_of_one_colour_show_no_motion():
    assert recover_steps(np.full((3, 16, 16, 3), 90, np.uint8)) == pytest.approx(np.zeros((3, 2)))


def test_turning_left_slides_to_the_right_and_driving_ahead_comes_nearer():
    times_s = np.arange(4) / 10
    left = recover_steps(see(poses_of(times_s, 6.0, yaw_rate=0.5), (32, 48)))
    right = recover_steps(see(poses_of(times_s, 6.0, yaw_rate=-0.5), (32, 48)))
    focal = FOCAL_SHARE * 48
    assert left[1:, 1] == pytest.approx([0.05 * focal] * 3, rel=0.15)
    assert right[1:, 1] == pytest.approx([-0.05 * focal] * 3, rel=0.15)
    slow = recover_steps(see(poses_of(times_s, 3.0), (32, 48)))
    fast = recover_steps(see(poses_of(times_s, 6.0), (32, 48)))
    assert fast[1:, 0] == pytest.approx(2 * slow[1:, 0], rel=0.2) and (slow[1:, 0] > 0.02).all()


def test_steps_of_a_circle_are_those_of_its_formula():
    steps = steps_of(poses_of(np.arange(5) / 10, 8.0, yaw_rate=0.4))
    assert steps[0] == pytest.approx([0, 0])
    assert steps[1:, 1] == pytest.approx([0.04] * 4)
    assert steps[1:, 0] == pytest.approx([8 / 0.4 * np.sin(0.04)] * 4)


def test_true_clips_say_what_a_pixel_is():
    drives = [drive_along(8, np.random.default_rng(seed)) for seed in range(6)]
    read = [recover_steps(see(drive.camera_to_world, (32, 48), seed)) for seed, drive in enumerate(drives)]
    true = [steps_of(drive.camera_to_world) for drive in drives]
    scales = calibrate(read, true)
    assert scales[1] == pytest.approx(1 / (FOCAL_SHARE * 48), rel=0.15)
    read[0] = read[0] + [0, 40]  # one clip that was read wrongly
    assert calibrate(read, true)[1] == pytest.approx(scales[1], rel=0.1)
    assert np.isnan(calibrate([], [])).all()
    standing = [np.zeros((4, 2))]
    assert np.isnan(calibrate(standing, standing)).all()


def test_travel_counts_from_the_last_given_frame():
    steps = np.array([[0, 0], [1, 0.1], [2, 0.2], [3, -0.1]])
    assert travel(steps, 2) == pytest.approx(np.array([[2, np.degrees(0.2)], [5, np.degrees(0.1)]]))


def test_correlation_is_pearsons_of_what_differs_between_clips():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 5))
    pairs = list(np.stack([x, 0.5 * x + rng.normal(size=x.shape)], -1) + np.arange(5)[:, None])
    value, (low, high), num_frames = correlation(without_common(pairs))
    centred = np.array(pairs) - np.mean(pairs, axis=0)
    expected = np.corrcoef(*centred.reshape(-1, 2).T)[0, 1]
    assert value == pytest.approx(expected) and low < value < high and num_frames == 60


def test_time_alone_correlates_with_nothing():
    time = np.arange(10.0)
    rng = np.random.default_rng(1)
    pairs = [np.stack([time + rng.normal(), time + rng.normal()], -1) for _ in range(50)]
    assert correlation(pairs)[0] > 0.8 and abs(correlation(without_common(pairs))[0]) < 0.4
    assert correlation(without_common([np.stack([time, time], -1)] * 3))[0] is None
    assert correlation(without_common([]))[0] is None
