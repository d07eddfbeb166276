"""Meshes of a street: strips along a road, boxes of houses, cars, trees. numpy only.

Faces are quadrangles. Legend: V vertices, F faces.
"""

from dataclasses import dataclass

import numpy as np

from generation.driving.houses import House
from generation.driving.motion import LANE_M
from generation.driving.paths import Path
from generation.driving.roads import HALF_ROAD_M, PAVEMENT_M
from generation.driving.street import Tree
from generation.driving.surfaces import FRONT_M, GROUND_M
from generation.driving.things import CARS

QUAD_M = 1.0
"""Length of a strip's faces along the road."""
KERB_M, LINE_M = 0.3, 0.22
"""Widths, wider than real ones: pictures are small."""
DASH = (6, 3)
"""Every so many faces of the middle line begin a dash of so many."""
KERB_STONES = 2
"""So many faces of the kerb are light, then as many dark."""
STRIPE_M, GAP_M = 0.6, 0.6
"""Of a zebra crossing, across the road."""
ZEBRA_M = (6.5, 9.5)
"""How far from the middle of the other road it begins and ends."""
HALF_GROUND_M = 400.0
WHEEL_M = 0.62
"""Height of a wheel, and how high a car's body begins below a third of it."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of one material."""

    vertices: np.ndarray
    """(V, 3)"""
    faces: np.ndarray
    """(F, 4)"""
    uv: np.ndarray
    """(F, 4, 2): place in the material's tile, 1 is its side"""


def join(meshes: list[Mesh]) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]),
        np.concatenate([mesh.uv for mesh in meshes]),
    )


def pave(roads: tuple[Path, ...], crossing_m: float | None) -> dict[str, Mesh]:
    """Ground, roads and what is painted on them, by material: grass, asphalt, paving, light, dark."""
    layers: dict[str, list[Mesh]] = {"grass": [_plane()], "asphalt": [], "paving": [], "light": [], "dark": []}
    for number, road in enumerate(roads):
        others = [other for other in roads if other is not road]
        z = 0.004 * number  # two roads at one height would show through each other
        strip = _Strips(road, others)
        layers["asphalt"].append(strip.make(-HALF_ROAD_M, HALF_ROAD_M, 0.03 + z, cut=False))
        for side in (-1, 1):
            kerb = sorted((side * HALF_ROAD_M, side * (HALF_ROAD_M + KERB_M)))
            paving = sorted((kerb[side > 0], side * (HALF_ROAD_M + PAVEMENT_M)))
            layers["paving"].append(strip.make(*paving, 0.015 + z))
            for colour, phase in (("light", 0), ("dark", 1)):
                layers[colour].append(strip.make(*kerb, 0.05 + z, every=(2 * KERB_STONES, KERB_STONES), phase=phase))
            line = side * LANE_M
            layers["light"].append(strip.make(line - LINE_M / 2, line + LINE_M / 2, 0.05 + z))
        layers["light"].append(strip.make(-LINE_M / 2, LINE_M / 2, 0.05 + z, every=DASH))
        if crossing_m is not None:
            layers["light"] += _zebras(strip, crossing_m if number == 0 else 0.0, 0.06 + z)
    return {name: join(meshes) for name, meshes in layers.items()}


@dataclass(frozen=True)
class _Strips:
    """Strips along a road."""

    road: Path
    others: list[Path]

    def make(
        self, right_m: float, left_m: float, z: float, every: tuple[int, int] = (1, 1), phase: int = 0, cut: bool = True
    ) -> Mesh:
        """The strip between two distances from the middle, left positive; cut where another road is.

        `every` (p, n): of each p faces n are there; `phase` 1 begins n later.
        """
        along = np.arange(self.road.along_m[0], self.road.along_m[-1], QUAD_M)
        kept = (np.arange(len(along) - 1) - phase * every[1]) % every[0] < every[1]
        if cut and self.others:
            middle = self.road.beside(along[:-1] + QUAD_M / 2, (right_m + left_m) / 2)
            kept &= np.min([other.distance_to(middle) for other in self.others], 0) > HALF_ROAD_M + QUAD_M / 2
        return self.part(along, kept, right_m, left_m, z)

    def part(self, along: np.ndarray, kept: np.ndarray, right_m: float, left_m: float, z: float) -> Mesh:
        """Faces between lengths (N,) where `kept` (N - 1,) says so."""
        edges = [
            np.column_stack([self.road.beside(along, aside), np.full(len(along), z)]) for aside in (right_m, left_m)
        ]
        start = np.flatnonzero(kept)
        right, left = start, start + len(along)
        faces = np.stack([right, right + 1, left + 1, left], -1)
        u, v = np.array([right_m, left_m]) / GROUND_M, along / GROUND_M
        corners = [(u[0], v[start]), (u[0], v[start + 1]), (u[1], v[start + 1]), (u[1], v[start])]
        uv = np.stack([np.stack([np.full(len(start), x), y], -1) for x, y in corners], 1)
        return Mesh(np.concatenate(edges), faces, uv)


def _zebras(strip: _Strips, crossing_m: float, z: float) -> list[Mesh]:
    """Stripes across a road before and behind a crossing."""
    edges = np.arange(-LANE_M, LANE_M - STRIPE_M / 2, STRIPE_M + GAP_M)
    return [
        strip.part(np.sort(crossing_m + side * np.array(ZEBRA_M)), np.ones(1, bool), right, right + STRIPE_M, z)
        for side in (-1, 1)
        for right in edges
    ]


def _plane() -> Mesh:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * HALF_GROUND_M
    return Mesh(np.column_stack([corners, np.zeros(4)]), np.array([[0, 1, 2, 3]]), corners[None] / GROUND_M)


def make_box(low: tuple[float, ...], high: tuple[float, ...], tile_m: float = 1.0) -> Mesh:
    """Four walls and a lid; tiles stand upright on the walls."""
    (x0, y0, z0), (x1, y1, z1) = low, high
    vertices = np.array([[x, y, z] for z in (z0, z1) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], np.float64)
    faces = np.array([[0, 1, 5, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [4, 5, 6, 7]])
    length, depth, height = (np.subtract(high, low) / tile_m).tolist()
    walls = [[[0, 0], [wide, 0], [wide, height], [0, height]] for wide in (length, depth, length, depth)]
    lid = [[0, 0], [0.01, 0], [0.01, 0.01], [0, 0.01]]
    return Mesh(vertices, faces, np.array([*walls, lid], np.float64))


def move(mesh: Mesh, place_m: tuple[float, float], yaw: float) -> Mesh:
    """A mesh turned about z, then moved on the ground."""
    cos, sin = np.cos(yaw), np.sin(yaw)
    turned = mesh.vertices @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return Mesh(turned + np.array([*place_m, 0.0]), mesh.faces, mesh.uv)


def build(house: House) -> Mesh:
    """A house where it stands; whole windows on every wall."""
    length, depth, height = house.size_m
    box = make_box((-length / 2, -depth / 2, 0), (length / 2, depth / 2, height), FRONT_M)
    whole = np.maximum(np.rint(box.uv[:4] * 2) / 2, 0.5) * (box.uv[:4] > 0)
    return move(Mesh(box.vertices, box.faces, np.concatenate([whole, box.uv[4:]])), house.place_m, house.yaw)


def make_car(kind: str) -> dict[str, Mesh]:
    """A car at the origin, driving along x, by material: paint, glass, dark."""
    length, width, height = CARS[kind]
    floor, waist = 0.28, 0.28 + 0.42 * height
    front, back = (0.3, -0.48) if kind == "van" else (0.18, -0.38)
    half = width / 2
    body = make_box((-length / 2, -half, floor), (length / 2, half, waist))
    roof = make_box((back * length, -half * 0.86, height - 0.12), (front * length, half * 0.86, height))
    cabin = make_box((back * length, -half * 0.9, waist), (front * length, half * 0.9, height - 0.12))
    wheels = [
        make_box((x * length - WHEEL_M / 2, y - 0.12, 0.0), (x * length + WHEEL_M / 2, y + 0.12, WHEEL_M))
        for x in (-0.3, 0.3)
        for y in (-half + 0.05, half - 0.05)
    ]
    return {"paint": join([body, roof]), "glass": cabin, "dark": join(wheels)}


def plant(tree: Tree) -> tuple[Mesh, Mesh]:
    """Trunk and crown of a tree where it stands."""
    trunk = make_box((-0.16, -0.16, 0), (0.16, 0.16, tree.height_m - 0.5 * tree.radius_m))
    around, up = np.linspace(0, 2 * np.pi, 10, endpoint=False), np.linspace(-1.45, 1.45, 6)
    rings = [
        np.column_stack([np.cos(around) * np.cos(a), np.sin(around) * np.cos(a), np.full(10, 1.15 * np.sin(a))])
        for a in up
    ]
    vertices = np.concatenate(rings) * tree.radius_m + [0, 0, tree.height_m]
    row, column = (each.ravel() for each in np.meshgrid(np.arange(5), np.arange(10), indexing="ij"))
    after = (column + 1) % 10
    faces = np.stack([row * 10 + column, row * 10 + after, (row + 1) * 10 + after, (row + 1) * 10 + column], -1)
    u, v = column / 5, row / 5
    uv = np.stack([np.stack(corner, -1) for corner in ((u, v), (u + 0.2, v), (u + 0.2, v + 0.2), (u, v + 0.2))], 1)
    crown = Mesh(vertices, faces, uv)
    return move(trunk, tree.place_m, 0.0), move(crown, tree.place_m, 0.0)
