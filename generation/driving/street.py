"""What is along a drive: roads, houses, trees, parked and moving things, drawn from one generator. numpy only."""

from dataclasses import dataclass

import numpy as np

from generation.driving.config import DriveConfig
from generation.driving.motion import LANE_M, Motion, draw_motion
from generation.driving.paths import Path, straight

HALF_ROAD_M = 5.5
"""Two lanes, and a strip at either side where cars park."""
PAVEMENT_M = 3.0
PARKED_M = 4.6
"""How far from the road's middle the middle of what is parked is."""
CROSSING_M = 90.0
"""How far a crossing road goes to either side."""
SEEN_M = 110.0
"""Nothing is built farther than this from the first place of the drive."""
CLEAR_M = 1.2
"""Between the car's path and the outline of anything that stands."""
PASSING_M = 2.2
"""Between the camera and the outline of anything that moves, in every frame."""
NUM_STYLES = {"front": 48, "ground": 16, "sky": 16}
TEST_SHARE = 4
"""Every so many styles of fronts, grounds and skies are held out for the test split, as things of the open pack are."""
CARS = {"car": (4.2, 1.8, 1.45), "van": (5.2, 2.0, 2.3), "small_car": (3.5, 1.65, 1.5)}
"""Length, width and height, metres."""


@dataclass(frozen=True, kw_only=True)
class House:
    """A box with a front on all four sides, its length along the road."""

    place_m: tuple[float, float]
    yaw: float
    size_m: tuple[float, float, float]
    """Length, depth, height"""
    front: int
    """Number of its style"""


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A trunk with a round crown."""

    place_m: tuple[float, float]
    height_m: float
    radius_m: float
    hue: float


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
    roads, crossing = _lay_roads(motion, rng)
    fronts = rng.choice(styles("front", config.split), 6, replace=False)
    houses = _build_houses(roads, motion, fronts, rng)
    trees = _plant_trees(roads, motion, rng)
    parked = _park(config, assets, roads, crossing, motion, rng)
    moving = _move(config, assets, roads, motion, rng)
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


def _lay_roads(motion: Motion, rng: np.random.Generator) -> tuple[tuple[Path, ...], float | None]:
    """The roads, and where on the main one the crossing is: the car is in the middle of its right lane.

    Who turns arrives in the right lane of the road that crosses, so the turn decides where that is.
    """
    path, aside = motion.path, LANE_M / 2
    if motion.route == "bend":
        middle = Path(
            along_m=path.along_m, places_m=path.beside(path.along_m, aside), yaw=path.yaw, curvature=path.curvature
        )
        return (middle,), None
    start, yaw = path.beside(path.along_m[[0]], aside)[0], float(path.yaw[0])  # before any turn
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    first = float(-((path.places_m[0]) @ forward))
    main = straight(start + first * forward, yaw, -first, path.along_m[-1])
    if motion.turn_starts_m is None:
        crossing = float(rng.uniform(6, 70))
    else:
        arrived = path.places_m[-1] - start
        in_lane = aside if motion.route == "left" else -aside
        crossing = float(arrived @ forward - first - in_lane)
    branch = straight(start + (first + crossing) * forward, yaw + np.pi / 2, -CROSSING_M, CROSSING_M)
    return (main, branch), crossing


def _build_houses(
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
                if _is_clear(place, 0.5 + tree.radius_m, motion) and not _is_on(place, others):
                    trees.append(tree)
    return tuple(trees)


def _is_clear(place: np.ndarray, radius_m: float, motion: Motion) -> bool:
    """Whether a circle at a place (2,) is beside the car's path, and near enough to be seen."""
    is_near = np.linalg.norm(place - motion.places_m[0]) < SEEN_M
    return bool(is_near and motion.path.distance_to(place[None])[0] > radius_m + CLEAR_M)


def _is_on(place: np.ndarray, roads: list[Path], margin_m: float = 0.8) -> bool:
    return any(road.distance_to(place[None])[0] < HALF_ROAD_M + margin_m for road in roads)


def _park(
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
        if is_free and _is_clear(place, radius, motion) and not _is_on(place, others, 2.0):
            things.append(_placed(thing, np.array([[*place, yaw]])))
            taken.append((place, thing.radius_m))
    return things


def _move(
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
        moved = _placed(thing, poses)
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


def _placed(thing: Thing, poses: np.ndarray) -> Thing:
    return Thing(
        kind=thing.kind, asset_id=thing.asset_id, size_m=thing.size_m, colour=thing.colour, poses=np.array(poses)
    )
