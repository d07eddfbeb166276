"""What is along a drive: roads, houses, trees, parked and moving things, drawn from one generator. numpy only."""

from dataclasses import dataclass

import numpy as np

from generation.driving.config import DriveConfig
from generation.driving.houses import House, build_houses
from generation.driving.motion import Motion, draw_motion
from generation.driving.paths import Path
from generation.driving.roads import HALF_ROAD_M, is_clear, is_on, lay_roads
from generation.driving.things import Thing, move, park

NUM_STYLES = {"front": 48, "ground": 16, "sky": 16}
TEST_SHARE = 4
"""Every so many styles of fronts, grounds and skies are held out for the test split, as things of the open pack are."""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A trunk with a round crown."""

    place_m: tuple[float, float]
    height_m: float
    radius_m: float
    hue: float


@dataclass(frozen=True, kw_only=True, eq=False)
class StreetPlan:
    """One drive and all that is seen on it."""

    motion: Motion
    roads: tuple[Path, ...]
    """Middles of the roads; the first is the main road"""
    crossing_m: float | None
    """Where the crossing is on the main road"""
    houses: tuple[House, ...]
    trees: tuple[Tree, ...]
    things: tuple[Thing, ...]
    ground: int
    """Number of its style"""
    sky: int
    sky_turn: float
    sun: tuple[float, float, float]
    """Unit vector to it"""


def plan_street(config: DriveConfig, assets: list[str], rng: np.random.Generator) -> StreetPlan:
    """Draw a drive and its street; `assets` are the ids of the split's objects."""
    motion = draw_motion(config, rng)
    roads, crossing = lay_roads(motion, rng)
    fronts = rng.choice(styles("front", config.split), 6, replace=False)
    houses = build_houses(roads, motion, fronts, rng)
    trees = _plant_trees(roads, motion, rng)
    parked = park(config, assets, roads, crossing, motion, rng)
    moving = move(config, assets, roads, motion, rng)
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(28, 65))
    sun = (np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation))
    return StreetPlan(
        motion=motion,
        roads=roads,
        crossing_m=crossing,
        houses=houses,
        trees=trees,
        things=(*parked, *moving),
        ground=int(rng.choice(styles("ground", config.split))),
        sky=int(rng.choice(styles("sky", config.split))),
        sky_turn=float(rng.uniform(0, 2 * np.pi)),
        sun=tuple(float(each) for each in sun),
    )


def make_rng(config: DriveConfig, seed: int, attempt: int) -> np.random.Generator:
    """The one generator of a street."""
    return np.random.default_rng([config.base_seed, seed, attempt])


def styles(kind: str, split: str) -> list[int]:
    """Numbers of the styles of `front`, `ground` or `sky` that a split may show."""
    return [n for n in range(NUM_STYLES[kind]) if (n % TEST_SHARE == TEST_SHARE - 1) == (split == "test")]


def _plant_trees(roads: tuple[Path, ...], motion: Motion, rng: np.random.Generator) -> tuple[Tree, ...]:
    trees = []
    spacing, hue = rng.uniform(8, 22), rng.uniform(0.2, 0.38)
    for number, road in enumerate(roads):
        for side in (-1, 1):
            for along in np.arange(road.along_m[0], road.along_m[-1], spacing):
                place = road.beside(np.array([along + rng.uniform(-2, 2)]), side * (HALF_ROAD_M + 1.2))[0]
                tree = Tree(
                    place_m=tuple(place.tolist()),
                    height_m=float(rng.uniform(3.5, 6)),
                    radius_m=float(rng.uniform(1.0, 1.7)),
                    hue=float(hue + rng.uniform(-0.05, 0.05)),
                )
                others = [other for n, other in enumerate(roads) if n != number]
                if is_clear(place, 0.5 + tree.radius_m, motion) and not is_on(place, others):
                    trees.append(tree)
    return tuple(trees)
