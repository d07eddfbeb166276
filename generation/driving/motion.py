"""How the car moves: a seeded route and speed, and of both what each frame says.

numpy only. The car is a bicycle whose rear axle is under the camera: there its path has no side slip, the yaw rate is
speed times curvature, and the front wheel stands at atan(wheel base times curvature).
"""

from dataclasses import dataclass

import numpy as np

from generation.driving.config import MANOEUVRES, ROUTES, DriveConfig
from generation.driving.paths import Path, bend, follow, sample, smooth

WHEEL_BASE_M = 2.7
STEERING_RATIO = 16.0
"""Degrees of the steering wheel for one of the front wheels; both as in ordinary cars."""
BEHIND_M, AHEAD_M = 40.0, 140.0
"""The path goes on so far behind the first frame and ahead of it."""
LANE_M = 3.5
TURN_M = {"right": 13.0, "left": 18.0}
"""Length of the way through a turn at a crossing: to the left it is wider, as traffic keeps to the right."""
TURN_BEGINS_S = (-1.0, 1.5)
"""When a turn begins, from the first frame on."""
STANDS_AT = {"stop": (0.4, 0.9), "stop_and_go": (0.1, 0.5)}
"""When a car that stops has come to stand, as shares of the clip."""
STEEPEST = 1.5
"""How much the steepest part of `smooth` is steeper than its mean."""
FINE = 20
"""Steps a frame in which speed is summed up to a way."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Motion:
    """The car in T frames, and the path that it follows."""

    route: str
    manoeuvre: str
    path: Path
    turn_starts_m: float | None
    """Where on the path the turn at a crossing begins"""
    times_s: np.ndarray
    """(T,)"""
    along_m: np.ndarray
    """(T,) on the path, 0 in the first frame"""
    speed_mps: np.ndarray
    """(T,)"""

    @property
    def places_m(self) -> np.ndarray:
        """(T, 2)"""
        return self.path.at(self.along_m)[0]

    @property
    def yaw(self) -> np.ndarray:
        """(T,) radians, unwrapped"""
        return self.path.at(self.along_m)[1]

    @property
    def yaw_rate_radps(self) -> np.ndarray:
        """(T,)"""
        return self.speed_mps * self.path.at(self.along_m)[2]

    @property
    def steering_deg(self) -> np.ndarray:
        """(T,) of the steering wheel, to the left positive"""
        return STEERING_RATIO * np.degrees(np.arctan(WHEEL_BASE_M * self.path.at(self.along_m)[2]))


def draw_motion(config: DriveConfig, rng: np.random.Generator) -> Motion:
    """Draw a route, its path and the speed on it; the path begins at the origin, along x but in a bend."""
    route = _choose(ROUTES, config.weights(ROUTES), rng)
    manoeuvre = _choose(MANOEUVRES, config.weights(MANOEUVRES), rng)
    along = sample(-BEHIND_M, AHEAD_M)
    if route in TURN_M:
        manoeuvre = "start" if manoeuvre in ("start", "stop_and_go") else "cruise"
        angle = np.pi / 2 if route == "left" else -np.pi / 2
        turn = bend(along, 0.0, TURN_M[route], angle)
    else:
        turn = _draw_bends(along, rng) if route == "bend" else np.zeros_like(along)
    sharpest = np.abs(turn).max()
    fastest = min(config.speed_mps[1], np.sqrt(config.max_lateral / sharpest)) if sharpest else config.speed_mps[1]
    knots_s, knots_mps = _draw_speed(config, manoeuvre, fastest, rng)
    last_s = (config.num_frames - 1) / config.frame_rate
    times = np.arange(config.num_frames) / config.frame_rate
    fine = np.linspace(0, last_s, FINE * (config.num_frames - 1) + 1)
    speed = speed_at(fine, knots_s, knots_mps)
    way = np.concatenate([[0], np.cumsum((speed[1:] + speed[:-1]) / 2 * np.diff(fine))])
    starts = None
    if route in TURN_M:
        begins_s = rng.uniform(*TURN_BEGINS_S)
        starts = float(np.interp(begins_s, fine, way) + min(begins_s, 0) * max(speed[0], 1.0))
        turn = bend(along, starts, TURN_M[route], angle)
    return Motion(
        route=route,
        manoeuvre=manoeuvre,
        path=follow(along, turn, np.zeros(2), 0.0 if starts is None else _yaw_at_zero(along, turn)),
        turn_starts_m=starts,
        times_s=times,
        along_m=way[::FINE],
        speed_mps=speed[::FINE],
    )


def speed_at(times_s: np.ndarray, knots_s: np.ndarray, knots_mps: np.ndarray) -> np.ndarray:
    """Speed (K,) at times (K,): smooth between knots (M,), so that nobody accelerates at once."""
    after = np.searchsorted(knots_s, times_s).clip(1, len(knots_s) - 1)
    before = after - 1
    share = smooth((times_s - knots_s[before]) / (knots_s[after] - knots_s[before]))
    return knots_mps[before] + share * (knots_mps[after] - knots_mps[before])


def pose_of(place_m: np.ndarray, yaw: float, config: DriveConfig) -> np.ndarray:
    """Camera to world (3, 4) of the car at a place (2,); the camera's axes are x right, y down, z forward."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    right, down, forward = (sin, -cos, 0), (0, 0, -1), (cos, sin, 0)
    return np.stack([right, down, forward, (*place_m, config.camera_height_m)], -1)


def _yaw_at_zero(along: np.ndarray, turn: np.ndarray) -> float:
    """The direction at length 0 of a path that comes along x: a clip may begin within a turn."""
    turned = np.concatenate([[0], np.cumsum((turn[1:] + turn[:-1]) / 2 * np.diff(along))])
    return float(np.interp(0.0, along, turned))


def _draw_bends(along: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Curvature (N,) of a winding street: bends of 15 to 60 degrees, one after the other."""
    curvature, place, turned = np.zeros_like(along), -BEHIND_M + rng.uniform(0, 15), 0.0
    while place < AHEAD_M:
        length = rng.uniform(25, 55)
        angle = np.radians(rng.uniform(15, 60)) * (1 if rng.uniform() < 0.5 - turned / np.pi else -1)
        curvature += bend(along, place, length, angle)
        turned += angle  # bent back more often than on: a street does not come round to itself
        place += length + rng.uniform(0, 15)
    return curvature


def _draw_speed(
    config: DriveConfig, manoeuvre: str, fastest: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Knots (M,) of time and speed, the first before the clip and the last behind it."""
    seconds = config.num_frames / config.frame_rate
    slowest = min(config.speed_mps[0], 0.6 * fastest)
    speed = rng.uniform(slowest, fastest)
    time, knots = 0.0, [(-1.0, speed)]
    if manoeuvre == "start":
        speed = 0.0
        time = rng.uniform(0, 0.25) * seconds
        knots = [(-1.0, 0.0), (time, 0.0)]
    elif manoeuvre in ("stop", "stop_and_go"):
        time = rng.uniform(*STANDS_AT[manoeuvre]) * seconds
        begins = time - _needed_s(config, speed, rng)  # may be before the clip
        knots = [(begins - 1.0, speed), (begins, speed), (time, 0.0)]
        if manoeuvre == "stop_and_go":
            time += rng.uniform(0.4, 1.2)
            knots.append((time, 0.0))
        else:
            time = seconds  # and stands
        speed = 0.0
    while time < seconds or len(knots) < 2:
        target = rng.uniform(slowest, fastest)
        if knots[-1][1] > 0:  # under way: it wanders
            target = float(np.clip(speed * rng.uniform(0.6, 1.5), slowest, fastest))
        time = max(time, knots[-1][0]) + max(_needed_s(config, target - speed, rng), rng.uniform(0.8, 2.0))
        knots.append((time, target))
        speed = target
    knots.append((max(time, seconds) + 1.0, knots[-1][1]))
    return np.array(knots).T


def _needed_s(config: DriveConfig, change_mps: float, rng: np.random.Generator) -> float:
    """Seconds for a change of speed, at a share of the largest acceleration."""
    return STEEPEST * abs(change_mps) / (config.max_acceleration * rng.uniform(0.6, 1.0))


def _choose(names: tuple[str, ...], weights: list[float], rng: np.random.Generator) -> str:
    return str(rng.choice(names, p=np.array(weights) / sum(weights)))
