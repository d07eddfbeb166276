"""Roads of a street: a main road, and often one that crosses it. numpy only."""

import numpy as np

from generation.driving.motion import LANE_M, Motion
from generation.driving.paths import Path, straight

HALF_ROAD_M = 5.5
"""Two lanes, and a strip at either side where cars park."""
PAVEMENT_M = 3.0
CROSSING_M = 90.0
"""How far a crossing road goes to either side."""
SEEN_M = 110.0
"""Nothing is built farther than this from the first place of the drive."""
CLEAR_M = 1.2
"""Between the car's path and the outline of anything that stands."""


def lay_roads(motion: Motion, rng: np.random.Generator) -> tuple[tuple[Path, ...], float | None]:
    """Middles of the roads, the main one first, and where on it the crossing is; the car keeps to its right lane.

    Who turns arrives in the right lane of the road that crosses, so the turn decides where that is.
    """
    path, aside = motion.path, LANE_M / 2
    if motion.route == "bend":  # lengths on it are the car's
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


def is_clear(place: np.ndarray, radius_m: float, motion: Motion) -> bool:
    """Whether a circle at a place (2,) is beside the car's path, and near enough to be seen."""
    is_near = np.linalg.norm(place - motion.places_m[0]) < SEEN_M
    return bool(is_near and motion.path.distance_to(place[None])[0] > radius_m + CLEAR_M)


def is_on(place: np.ndarray, roads: list[Path], margin_m: float = 0.8) -> bool:
    """Whether a place (2,) is on one of the roads, or nearer to it than the margin."""
    return any(road.distance_to(place[None])[0] < HALF_ROAD_M + margin_m for road in roads)
