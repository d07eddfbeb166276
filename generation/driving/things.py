"""Cars and objects of the asset pack on a street: parked ones, and moving ones that leave the camera alone.

numpy only.
"""

from dataclasses import dataclass, replace

import numpy as np

from generation.driving.config import DriveConfig
from generation.driving.motion import LANE_M, Motion
from generation.driving.paths import Path
from generation.driving.roads import HALF_ROAD_M, PAVEMENT_M, is_clear, is_on

CARS = {"car": (4.2, 1.8, 1.45), "van": (5.2, 2.0, 2.3), "small_car": (3.5, 1.65, 1.5)}
"""Length, width and height, metres."""
PARKED_M = 4.6
"""How far from the road's middle the middle of what is parked is."""
PASSING_M = 2.2
"""Between the camera and the outline of anything that moves, in every frame."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thing:
    """A car, or an object of the asset pack; its poses are of all frames where it moves, else one."""

    kind: str
    """A name of CARS, or `asset`"""
    asset_id: str | None
    size_m: float
    """Longest edge"""
    colour: tuple[float, float, float]
    """RGB from 0 to 1, of a car"""
    poses: np.ndarray
    """(T, 3) or (1, 3): x, y, yaw"""

    @property
    def radius_m(self) -> float:
        """Of a circle around it, seen from above."""
        return float(np.hypot(*CARS[self.kind][:2]) / 2) if self.kind in CARS else 0.75 * self.size_m


def park(
    config: DriveConfig,
    assets: list[str],
    roads: tuple[Path, ...],
    crossing: float | None,
    motion: Motion,
    rng: np.random.Generator,
) -> list[Thing]:
    """Cars at the kerb, and things of the pack there or on the pavement; none touches another or the car's path."""
    things: list[Thing] = []
    taken: list[tuple[np.ndarray, float]] = []
    wanted = int(rng.integers(config.max_parked // 3, config.max_parked + 1))
    for _ in range(4 * wanted):
        if len(things) == wanted:
            break
        number = int(rng.integers(len(roads)))
        road, side = roads[number], int(rng.choice([-1, 1]))
        along = float(rng.uniform(-5, 60)) if number == 0 else float(rng.uniform(road.along_m[0], road.along_m[-1]))
        thing = _draw_thing(assets, 0.35, rng)
        aside = PARKED_M if thing.kind in CARS else rng.uniform(PARKED_M, HALF_ROAD_M + PAVEMENT_M - 1)
        place = road.beside(np.array([along]), side * aside)[0]
        yaw = float(road.at(np.array([along]))[1][0]) + (0.0 if side < 0 else np.pi)
        others = [other for n, other in enumerate(roads) if n != number]
        is_free = all(np.linalg.norm(place - where) > radius + thing.radius_m for where, radius in taken)
        radius = CARS[thing.kind][1] / 2 if thing.kind in CARS else thing.radius_m
        if is_free and is_clear(place, radius, motion) and not is_on(place, others, 2.0):
            things.append(replace(thing, poses=np.array([[*place, yaw]])))
            taken.append((place, thing.radius_m))
    return things


def move(
    config: DriveConfig, assets: list[str], roads: tuple[Path, ...], motion: Motion, rng: np.random.Generator
) -> list[Thing]:
    """Cars that come or drive ahead, and things that are pushed along the pavements; none comes near the camera."""
    things: list[Thing] = []
    for _ in range(rng.integers(0, config.max_moving + 1)):
        road = roads[int(rng.integers(len(roads)))]
        thing = _draw_thing(assets, 0.3, rng)
        if thing.kind in CARS:
            side, pace, aside = int(rng.choice([-1, 1])), rng.uniform(3, 10), LANE_M / 2
        else:
            side, pace, aside = int(rng.choice([-1, 1])), rng.uniform(0.8, 2.0), HALF_ROAD_M + PAVEMENT_M / 2
        start = rng.uniform(0, 50) if road is roads[0] else rng.uniform(road.along_m[0], road.along_m[-1])
        along = start - side * pace * motion.times_s  # traffic keeps to the right: on the left side it comes
        if along.min() < road.along_m[0] or along.max() > road.along_m[-1]:
            continue  # it would stand still where the road ends
        yaw = road.at(along)[1] + (0.0 if side < 0 else np.pi)
        poses = np.column_stack([road.beside(along, side * aside), yaw])
        moved = replace(thing, poses=poses)
        if is_passing(moved, motion) and not any(_meet(moved, other) for other in things):
            things.append(moved)
    return things


def is_passing(thing: Thing, motion: Motion) -> bool:
    """Whether a thing leaves the camera alone in every frame."""
    offset, turn = motion.places_m - thing.poses[:, :2], thing.poses[:, 2]
    if thing.kind not in CARS:
        return bool((np.linalg.norm(offset, axis=-1) > thing.radius_m + PASSING_M).all())
    # A rectangle: beside each other two cars are nearer than the circle around one.
    length, width, _ = CARS[thing.kind]
    ahead = np.abs(offset[:, 0] * np.cos(turn) + offset[:, 1] * np.sin(turn)) - length / 2
    aside = np.abs(offset[:, 1] * np.cos(turn) - offset[:, 0] * np.sin(turn)) - width / 2
    return bool((np.maximum(ahead, aside) > PASSING_M).all())


def _meet(one: Thing, other: Thing) -> bool:
    distance = np.linalg.norm(one.poses[:, :2] - other.poses[:, :2], axis=-1)
    return bool((distance < one.radius_m + other.radius_m).any())


def _draw_thing(assets: list[str], asset_share: float, rng: np.random.Generator) -> Thing:
    """A car of some colour, or a thing of the pack, without a place."""
    is_asset = rng.uniform() < asset_share
    colour = tuple(float(each) for each in rng.uniform(0.03, 1.0, 3))
    asset_id, size = str(rng.choice(assets)), float(rng.uniform(1.0, 2.2))
    kind = str(rng.choice(sorted(CARS)))
    return Thing(
        kind="asset" if is_asset else kind,
        asset_id=asset_id if is_asset else None,
        size_m=size if is_asset else CARS[kind][0],
        colour=colour,
        poses=np.zeros((0, 3)),
    )
