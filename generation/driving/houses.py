"""Rows of houses along roads: boxes that leave the roads and each other alone. numpy only."""

from dataclasses import dataclass

import numpy as np

from generation.driving.motion import Motion
from generation.driving.paths import Path
from generation.driving.roads import HALF_ROAD_M, PAVEMENT_M, SEEN_M


@dataclass(frozen=True, kw_only=True)
class House:
    """A box with a front on all four sides, its length along the road."""

    place_m: tuple[float, float]
    yaw: float
    size_m: tuple[float, float, float]
    """Length, depth, height"""
    front: int
    """Number of its style"""


def build_houses(
    roads: tuple[Path, ...], motion: Motion, fronts: np.ndarray, rng: np.random.Generator
) -> tuple[House, ...]:
    """Rows of houses along both sides of every road; none reaches onto a road or into another house."""
    houses: list[House] = []
    for road in roads:
        for side in (-1, 1):
            along = road.along_m[0] + rng.uniform(0, 6)
            while along < road.along_m[-1]:
                length, depth = rng.uniform(7, 15), rng.uniform(7, 12)
                height = rng.uniform(5, 17)
                aside = HALF_ROAD_M + PAVEMENT_M + rng.uniform(0, 1.5) + depth / 2
                middle = np.array([along + length / 2])
                place = road.beside(middle, side * aside)[0]
                yaw = float(road.at(middle)[1][0])
                house = House(
                    place_m=tuple(place.tolist()),
                    yaw=yaw,
                    size_m=(length, depth, height),
                    front=int(rng.choice(fronts)),
                )
                if _has_room(house, roads, houses, motion):
                    houses.append(house)
                along += length + (rng.uniform(3, 10) if rng.uniform() < 0.25 else rng.uniform(0, 0.8))
    return tuple(houses)


def _has_room(house: House, roads: tuple[Path, ...], houses: list[House], motion: Motion) -> bool:
    if np.linalg.norm(np.array(house.place_m) - motion.places_m[0]) > SEEN_M:
        return False
    outline = _points_of(house)
    if min(road.distance_to(outline).min() for road in roads) < HALF_ROAD_M + PAVEMENT_M - 0.5:
        return False
    return not any(is_overlapping(house, other) for other in houses)


def corners_of(house: House) -> np.ndarray:
    """(4, 2) corners of a house, around."""
    length, depth, _ = house.size_m
    cos, sin = np.cos(house.yaw), np.sin(house.yaw)
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [length / 2, depth / 2]
    return square @ np.array([[cos, sin], [-sin, cos]]) + house.place_m


def _points_of(house: House) -> np.ndarray:
    """Points (K, 2) of its outline, 1 to 2 m from each other."""
    corners = corners_of(house)
    share = np.linspace(0, 1, 8, endpoint=False)[:, None, None]
    return (corners * (1 - share) + np.roll(corners, -1, 0) * share).reshape(-1, 2)


def is_overlapping(one: House, other: House) -> bool:
    """Whether two houses share ground: no line along a wall of either separates them."""
    reach = (np.hypot(*one.size_m[:2]) + np.hypot(*other.size_m[:2])) / 2
    if np.hypot(*np.subtract(one.place_m, other.place_m)) > reach:
        return False
    corners = [corners_of(house) for house in (one, other)]
    for yaw in (one.yaw, one.yaw + np.pi / 2, other.yaw, other.yaw + np.pi / 2):
        first, second = (each @ np.array([np.cos(yaw), np.sin(yaw)]) for each in corners)
        if first.max() <= second.min() or second.max() <= first.min():
            return False
    return True
