"""The basic shapes of MOVi-A and B as meshes, by their names in KuBasic; `spot` and `teapot` are not among them.

Legend: V vertices, F triangles. Parts that meet at a sharp edge share no vertices, so that smooth shading stops there.
"""

from collections.abc import Callable

import numpy as np

Mesh = tuple[np.ndarray, np.ndarray]
"""vertices (V, 3), triangles (F, 3)"""
SECTORS = 64


def join(*meshes: Mesh) -> Mesh:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(vertices) for vertices, _ in meshes)])
    triangles = [part + start for (_, part), start in zip(meshes, starts, strict=False)]
    return np.concatenate([vertices for vertices, _ in meshes]), np.concatenate(triangles)


def make_sheet(points: np.ndarray, *, wraps_rows: bool = False, wraps_columns: bool = False) -> Mesh:
    """A grid of points (rows, columns, 3) as a sheet of triangles, closed along an axis where it wraps."""
    rows, columns = points.shape[:2]
    row, column = np.meshgrid(
        np.arange(rows - (not wraps_rows)), np.arange(columns - (not wraps_columns)), indexing="ij"
    )
    row, column = row.ravel(), column.ravel()
    here, right = row * columns + column, row * columns + (column + 1) % columns
    down, across = (row + 1) % rows * columns + column, (row + 1) % rows * columns + (column + 1) % columns
    triangles = np.concatenate([np.stack([here, down, across], -1), np.stack([here, across, right], -1)])
    return points.reshape(-1, 3), triangles


def make_disc(outline: np.ndarray) -> Mesh:
    """A fan over a closed outline (V, 3) that its mean sees whole."""
    after = np.roll(np.arange(len(outline)), -1)
    triangles = np.stack([np.full(len(outline), len(outline)), np.arange(len(outline)), after], -1)
    return np.concatenate([outline, outline.mean(0, keepdims=True)]), triangles


def turn(radius: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Points (rows, SECTORS, 3) of a profile (rows,) turned about the z axis."""
    angle = np.linspace(0, 2 * np.pi, SECTORS, endpoint=False)
    x, y = radius[:, None] * np.cos(angle), radius[:, None] * np.sin(angle)
    return np.stack([x, y, np.broadcast_to(z[:, None], x.shape)], -1)


def extrude(outline: np.ndarray, height: float) -> Mesh:
    """An outline (V, 2) around the origin as a prism."""
    low, high = (np.column_stack([outline, np.full(len(outline), z)]) for z in (-height / 2, height / 2))
    sides = [make_sheet(np.stack([low[[i, i - 1]], high[[i, i - 1]]])) for i in range(len(outline))]
    return join(make_disc(low[::-1]), make_disc(high), *sides)


def make_cube() -> Mesh:
    """Edge 1."""
    return extrude(np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]), 1.0)


def make_sphere() -> Mesh:
    """Diameter 1."""
    angle = np.linspace(0, np.pi, SECTORS // 2 + 1)
    return make_sheet(turn(np.sin(angle) / 2, np.cos(angle) / 2), wraps_columns=True)


def make_cylinder() -> Mesh:
    """Diameter and height 1."""
    wall = turn(np.array([0.5, 0.5]), np.array([0.5, -0.5]))
    return join(make_sheet(wall, wraps_columns=True), make_disc(wall[0]), make_disc(wall[1][::-1]))


def make_cone() -> Mesh:
    """Diameter and height 1."""
    wall = turn(np.array([0.0, 0.5]), np.array([0.5, -0.5]))
    return join(make_sheet(wall, wraps_columns=True), make_disc(wall[1][::-1]))


def make_torus() -> Mesh:
    """Diameter 1, a tube of 0.3."""
    angle = np.linspace(0, 2 * np.pi, SECTORS // 2, endpoint=False)
    return make_sheet(turn(0.35 + 0.15 * np.cos(angle), -0.15 * np.sin(angle)), wraps_rows=True, wraps_columns=True)


def make_torus_knot() -> Mesh:
    """The trefoil: a tube that goes three times around while it turns twice."""
    along = np.linspace(0, 2 * np.pi, 4 * SECTORS, endpoint=False)
    radius = 1 + 0.45 * np.cos(3 * along)
    centre = np.stack([radius * np.cos(2 * along), radius * np.sin(2 * along), 0.45 * np.sin(3 * along)], -1)
    forward = np.roll(centre, -1, 0) - np.roll(centre, 1, 0)
    forward /= np.linalg.norm(forward, axis=-1, keepdims=True)
    side = np.cross(forward, (0, 0, 1))
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    up = np.cross(side, forward)
    angle = np.linspace(0, 2 * np.pi, SECTORS // 4, endpoint=False)[:, None]
    points = centre[:, None] + 0.22 * (np.cos(angle) * side[:, None] + np.sin(angle) * up[:, None])
    return make_sheet(points, wraps_rows=True, wraps_columns=True)


def make_gear(num_teeth: int = 10) -> Mesh:
    """A toothed wheel, a quarter as high as wide."""
    step = np.arange(num_teeth)[:, None] + np.array([0.0, 0.2, 0.5, 0.7])
    angle, radius = 2 * np.pi * step / num_teeth, np.array([0.5, 0.5, 0.38, 0.38])
    return extrude(np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1).reshape(-1, 2), 0.25)


def make_sponge() -> Mesh:
    """Menger's sponge of level 2."""
    digits = np.stack(np.meshgrid(*[np.arange(9)] * 3, indexing="ij"), -1)
    is_hole = ((digits % 3 == 1).sum(-1) >= 2) | ((digits // 3 % 3 == 1).sum(-1) >= 2)
    solid = np.pad(~is_hole, 1)
    faces = []
    for axis in range(3):
        one, other = np.delete(np.eye(3, dtype=int), axis, 0)
        for sign in (-1, 1):
            is_open = solid & ~np.roll(solid, -sign, axis)
            corner = np.argwhere(is_open) - 1 + np.eye(3, dtype=int)[axis] * (sign > 0)
            around = (np.zeros(3, int), one, one + other, other)
            square = corner[:, None] + np.stack(around if (sign > 0) == (axis != 1) else around[::-1])
            faces.append(square)
    corners = np.concatenate(faces).reshape(-1, 3) / 9 - 0.5
    first = np.arange(0, len(corners), 4)[:, None]
    return corners, np.concatenate([first + np.array(corners_of) for corners_of in ((0, 1, 2), (0, 2, 3))])


def make_suzanne() -> Mesh:
    """Blender's monkey."""
    import bpy

    bpy.ops.mesh.primitive_monkey_add()
    mesh = bpy.context.active_object.data
    mesh.calc_loop_triangles()
    vertices = np.array([vertex.co[:] for vertex in mesh.vertices])
    return vertices, np.array([triangle.vertices[:] for triangle in mesh.loop_triangles])


SHAPES: dict[str, Callable[[], Mesh]] = {
    "cube": make_cube,
    "cylinder": make_cylinder,
    "sphere": make_sphere,
    "cone": make_cone,
    "torus": make_torus,
    "gear": make_gear,
    "torus_knot": make_torus_knot,
    "sponge": make_sponge,
    "suzanne": make_suzanne,
}
SMOOTH = ("sphere", "cylinder", "cone", "torus", "torus_knot", "suzanne")
