"""What stands on a street: beside the road, never where the camera passes, and another in the other split."""

import numpy as np
import pytest

from generation.driving.config import DriveConfig
from generation.driving.houses import corners_of, is_overlapping
from generation.driving.motion import LANE_M
from generation.driving.roads import HALF_ROAD_M
from generation.driving.solids import build, make_car, pave, plant
from generation.driving.street import make_rng, plan_street, styles
from generation.driving.surfaces import make_front, make_ground, make_sky
from generation.driving.things import CARS

ASSETS = [f"object_{n}" for n in range(9)]


def plan(seed: int, **changes):
    config = DriveConfig(**changes)
    return plan_street(config, ASSETS, make_rng(config, seed, 0))


def distance_outside(place: np.ndarray, corners: np.ndarray) -> float:
    """How far a place (2,) is outside of a rectangle of corners (4, 2); negative inside."""
    centre = corners.mean(0)
    one, other = corners[1] - corners[0], corners[2] - corners[1]
    local = [abs((place - centre) @ side) / np.linalg.norm(side) - np.linalg.norm(side) / 2 for side in (one, other)]
    return max(local)


@pytest.mark.parametrize("seed", range(20))
def test_the_camera_is_never_near_a_wall_a_tree_or_a_thing(seed):
    street = plan(seed)
    assert len(street.houses) > 5 and len(street.trees) > 3
    for frame, place in enumerate(street.motion.places_m):
        assert min(distance_outside(place, corners_of(house)) for house in street.houses) > 1.5
        assert min(np.linalg.norm(place - tree.place_m) - tree.radius_m for tree in street.trees) > 1
        for thing in street.things:
            where = thing.poses[frame % len(thing.poses)]
            least = CARS[thing.kind][1] / 2 + 1 if thing.kind in CARS else thing.radius_m + 1
            assert np.linalg.norm(place - where[:2]) > least


@pytest.mark.parametrize("seed", range(20))
def test_houses_leave_the_roads_and_each_other_alone(seed):
    street = plan(seed)
    for house in street.houses:
        for road in street.roads:
            assert road.distance_to(corners_of(house)).min() > HALF_ROAD_M + 1
    houses = street.houses
    assert not any(is_overlapping(one, other) for n, one in enumerate(houses) for other in houses[:n])


def test_houses_overlap_where_they_do():
    first, *others = plan(0).houses
    assert is_overlapping(first, first)
    far = next(other for other in others if np.hypot(*np.subtract(other.place_m, first.place_m)) > 30)
    assert not is_overlapping(first, far)


@pytest.mark.parametrize("seed", range(30))
def test_the_car_keeps_to_the_right_lane_before_and_after_a_crossing(seed):
    street = plan(seed)
    path, main = street.motion.path, street.roads[0]
    start, end = path.places_m[:1], path.beside(np.array([60.0]), 0.0)
    assert main.distance_to(start)[0] == pytest.approx(LANE_M / 2, abs=0.1)
    last = street.roads[-1] if street.motion.route in ("left", "right") else main
    assert last.distance_to(end)[0] == pytest.approx(LANE_M / 2, abs=0.1)
    # to the right of the road's middle, as the car goes
    for road, place, yaw in ((main, start[0], path.yaw[0]), (last, end[0], path.at(np.array([60.0]))[1][0])):
        nearest = road.places_m[np.linalg.norm(road.places_m - place, axis=-1).argmin()]
        assert (place - nearest) @ [np.sin(yaw), -np.cos(yaw)] > 1


def test_a_seed_is_a_street_and_the_next_another():
    one, same, other = plan(3), plan(3), plan(4)
    assert one.houses == same.houses and one.trees == same.trees and one.sun == same.sun
    np.testing.assert_array_equal(one.motion.along_m, same.motion.along_m)
    assert one.houses != other.houses


def test_what_only_changes_the_picture_does_not_change_the_street():
    small, large = plan(5), plan(5, width=192, height=128, samples_per_pixel=64)
    assert small.houses == large.houses
    np.testing.assert_array_equal(small.motion.places_m, large.motion.places_m)


@pytest.mark.parametrize("kind", ["front", "ground", "sky"])
def test_styles_of_the_test_split_are_in_no_training(kind):
    train, test = styles(kind, "train"), styles(kind, "test")
    assert not set(train) & set(test) and len(test) * 3 == len(train)
    seen = {house.front for seed in range(5) for house in plan(seed, split="test").houses}
    assert seen <= set(styles("front", "test"))


def test_styles_look_different_and_each_the_same():
    pictures = [make_front(n) for n in range(8)]
    np.testing.assert_array_equal(pictures[3], make_front(3))
    assert all(np.abs(one.astype(int) - pictures[0]).mean() > 5 for one in pictures[1:])
    assert set(make_ground(0)) == {"asphalt", "paving", "grass"}
    sky = make_sky(2)
    assert sky.shape == (256, 512, 3) and sky[:100].mean() > sky[128:].mean(), "bright above, hills below"


def test_things_that_move_have_a_pose_a_frame_and_parked_ones_one():
    things = [thing for seed in range(12) for thing in plan(seed).things]
    assert {len(thing.poses) for thing in things} == {1, 40}
    moving = [thing for thing in things if len(thing.poses) > 1]
    assert all(np.linalg.norm(thing.poses[-1, :2] - thing.poses[0, :2]) > 2 for thing in moving)
    for car in (thing for thing in moving if thing.kind in CARS):  # they drive where they look
        step = np.diff(car.poses[:, :2], axis=0)
        ahead = np.stack([np.cos(car.poses[:-1, 2]), np.sin(car.poses[:-1, 2])], -1)
        assert ((step * ahead).sum(-1) > 0.99 * np.linalg.norm(step, axis=-1)).all()
    assert {thing.asset_id for thing in things} - {None} <= set(ASSETS)


def test_meshes_are_whole():
    street = plan(1)
    layers = pave(street.roads, street.crossing_m)
    assert set(layers) == {"grass", "asphalt", "paving", "light", "dark"}
    meshes = [*layers.values(), build(street.houses[0]), *make_car("van").values(), *plant(street.trees[0])]
    for mesh in meshes:
        assert mesh.faces.min() >= 0 and mesh.faces.max() < len(mesh.vertices)
        assert mesh.uv.shape == (*mesh.faces.shape, 2) and np.isfinite(mesh.vertices).all()
    house = street.houses[0]
    np.testing.assert_allclose(sorted(build(house).vertices[:4, 0]), sorted(corners_of(house)[:, 0]))


def test_no_paint_or_kerb_lies_on_the_other_road():
    street = next(each for each in map(plan, range(20)) if each.crossing_m is not None)
    lines = pave(street.roads, None)["light"]
    middle = lines.vertices[lines.faces].mean(1)[:, :2]
    distance = np.stack([road.distance_to(middle) for road in street.roads])
    assert (distance.max(0) > HALF_ROAD_M).all(), "each piece is off one of the two roads"
