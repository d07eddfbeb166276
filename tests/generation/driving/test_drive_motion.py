"""How the car moves: bounded, smooth, and what is said of it agrees with its poses."""

import numpy as np
import pytest

from generation.driving.config import MANOEUVRES, DriveConfig, parse_drive
from generation.driving.motion import STEERING_RATIO, WHEEL_BASE_M, draw_motion, pose_of
from generation.driving.paths import bend, follow, sample
from shards.driving.drive import Drive
from shards.driving.motion import commands_of, speeds_of, yaw_rates_of
from shards.driving.window import trajectory_of

ONLY = {
    route: {f"weight_{other}": float(other == route) for other in ("straight", "left", "right", "bend")}
    for route in ("straight", "left", "right", "bend")
}


def drawn(seed: int, **changes):
    config = DriveConfig(**changes)
    return config, draw_motion(config, np.random.default_rng(seed))


def drive_of(config, motion) -> Drive:
    poses = [pose_of(place, yaw, config) for place, yaw in zip(motion.places_m, motion.yaw, strict=True)]
    return Drive(
        times_s=motion.times_s,
        camera_to_world=np.stack(poses),
        speed_mps=motion.speed_mps,
        yaw_rate_radps=motion.yaw_rate_radps,
        steering_deg=motion.steering_deg,
    )


@pytest.mark.parametrize("seed", range(25))
def test_speed_and_yaw_rate_are_those_of_the_poses(seed):
    drive = drive_of(*drawn(seed, frame_rate=50, num_frames=200))
    speed, yaw_rate = (each(drive.times_s, drive.camera_to_world) for each in (speeds_of, yaw_rates_of))
    np.testing.assert_allclose(speed[1:-1], drive.speed_mps[1:-1], atol=0.01)
    np.testing.assert_allclose(yaw_rate[1:-1], drive.yaw_rate_radps[1:-1], atol=0.01)
    assert set(drive.camera_to_world[:, 2, 3]) == {1.5}


@pytest.mark.parametrize("seed", range(25))
def test_accelerations_are_bounded_and_nothing_drives_backwards(seed):
    config, motion = drawn(seed, frame_rate=50, num_frames=200)
    assert motion.speed_mps.min() >= 0 and motion.speed_mps.max() <= config.speed_mps[1]
    assert np.abs(np.diff(motion.speed_mps)).max() * 50 <= config.max_acceleration * 1.001
    assert np.abs(motion.speed_mps * motion.yaw_rate_radps).max() <= config.max_lateral * 1.001
    assert (np.diff(motion.along_m) >= 0).all()


@pytest.mark.parametrize(("route", "sign"), [("left", 1), ("right", -1)])
def test_a_turn_goes_to_its_side_and_the_command_says_so(route, sign):
    for seed in range(8):
        config, motion = drawn(seed, num_frames=80, **ONLY[route])
        assert motion.route == route and motion.manoeuvre in ("cruise", "start")
        assert sign * (motion.path.yaw[-1] - motion.path.yaw[0]) == pytest.approx(np.pi / 2, abs=1e-3)
        assert (sign * motion.yaw_rate_radps >= 0).all() and (sign * motion.steering_deg >= 0).all()
        drive = drive_of(config, motion)
        commands = set(commands_of(drive.times_s, drive.camera_to_world))
        assert f"turn_{route}" in commands and not commands & ({"turn_left", "turn_right"} - {f"turn_{route}"})
        end = trajectory_of(drive, 0, drive.times_s[-1:])[0]
        assert -sign * end[0] > 2, "right is positive"


def test_all_routes_and_manoeuvres_come_and_do_what_they_are_called():
    motions = [drawn(seed)[1] for seed in range(200)]
    assert {motion.route for motion in motions} == set(ONLY)
    for motion in motions:
        first, last = motion.speed_mps[[0, -1]]
        assert motion.manoeuvre in MANOEUVRES
        if motion.manoeuvre == "start":
            assert first == 0 < last
        elif motion.manoeuvre == "cruise":
            assert motion.speed_mps.min() > 1
        if motion.route == "straight":
            assert (motion.yaw == 0).all() and (motion.steering_deg == 0).all()
    stops = [motion for motion in motions if motion.manoeuvre == "stop"]
    assert stops and all(motion.speed_mps[0] > 0 == motion.speed_mps[-1] for motion in stops)


def test_the_wheel_stands_as_a_bicycle_of_that_wheel_base_needs_it():
    _, motion = drawn(1, num_frames=60, **ONLY["right"])
    radius = 1 / np.abs(motion.path.curvature).max()
    assert np.abs(motion.path.curvature).max() * WHEEL_BASE_M == pytest.approx(WHEEL_BASE_M / radius)
    turned = np.abs(motion.steering_deg).max()
    assert np.tan(np.radians(turned / STEERING_RATIO)) <= WHEEL_BASE_M / radius + 1e-9
    assert 50 < turned < 780, "within what Vista divides by"


def test_a_bend_turns_by_its_angle_and_a_circle_closes():
    along = sample(0, 60)
    path = follow(along, bend(along, 10, 30, 0.7), np.array([3.0, 4.0]), 0.0)
    assert path.yaw[-1] == pytest.approx(0.7, abs=1e-3)
    assert path.places_m[0].tolist() == [3, 4] and path.curvature[:100].max() == 0
    around = np.arange(0, 1001) * 2 * np.pi * 5 / 1000
    circle = follow(around, np.full(1001, 1 / 5), np.zeros(2), 0.0)
    np.testing.assert_allclose(circle.places_m[-1], circle.places_m[0], atol=1e-3)
    assert circle.beside(np.zeros(1), 5.0)[0] == pytest.approx([0, 5], abs=1e-6), "the centre is to the left"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("widht=96", "did you mean 'width'"),
        ("split=val", "use one of train, test"),
        ("speed_mps=5,4", "low before high"),
        ("num_frames=1", "num_frames=1 must be at least 2"),
        ("weight_left=-1", "must not be negative"),
        ("max_lateral=0", "max_lateral=0.0 must be above 0"),
        ("device=tpu", "use one of cpu, cuda, optix"),
    ],
)
def test_bad_overrides_say_what_is_wrong(word, message):
    with pytest.raises(ValueError, match=message):
        parse_drive([word])
