"""Triangle meshes for the asset pack: read OBJ, normalise, project texture coordinates, convex hull, write OBJ.

Legend: V vertices, F triangles. The hull's module of scipy is imported where it is used.
"""

import itertools
from pathlib import Path

import numpy as np


def read_obj(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) and triangles (F, 3) of an OBJ file; polygons become fans, everything else is left out."""
    vertices, triangles = [], []
    for line in path.read_text().splitlines():
        kind, *words = line.split() or [""]
        if kind == "v":
            vertices.append([float(word) for word in words[:3]])
        elif kind == "f":
            corners = [int(word.split("/")[0]) for word in words]
            corners = [corner - 1 if corner > 0 else len(vertices) + corner for corner in corners]
            triangles += [(corners[0], b, c) for b, c in itertools.pairwise(corners[1:])]
    return np.array(vertices), np.array(triangles)


def convex_hull(vertices: np.ndarray) -> tuple[np.ndarray, np.ndarray, float, np.ndarray]:
    """Hull of points (V, 3): its vertices, its triangles, its volume and its centre of mass (3,)."""
    from scipy.spatial import ConvexHull

    hull = ConvexHull(vertices)
    corners = vertices[hull.simplices] - vertices.mean(0)  # (F, 3, 3)
    volumes = np.abs(np.linalg.det(corners)) / 6  # tetrahedra to an inner point
    centre = (volumes[:, None] * corners.sum(1) / 4).sum(0) / volumes.sum() + vertices.mean(0)
    new_index = np.zeros(len(vertices), int)
    new_index[hull.vertices] = np.arange(len(hull.vertices))
    return vertices[hull.vertices], new_index[hull.simplices], float(hull.volume), centre


def normalise(vertices: np.ndarray) -> np.ndarray:
    """Vertices (V, 3) with the hull's centre of mass at the origin and the longest edge of the bounding box 1.

    Bullet turns a body about its origin; rounding makes the bounds those of the written file.
    """
    *_, centre = convex_hull(vertices)
    return np.round((vertices - centre) / np.ptp(vertices, axis=0).max(), 6)


def project_box(vertices: np.ndarray, triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Texture coordinates (3 V, 2) and their triangles (F, 3): each face is seen along its normal's largest axis."""
    corners = vertices[triangles]  # (F, 3, 3)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    axis = np.abs(normal).argmax(-1)
    planes = [vertices[:, [1, 2]], vertices[:, [0, 2]], vertices[:, [0, 1]]]
    return np.concatenate(planes) + 0.5, triangles + axis[:, None] * len(vertices)


def format_obj(
    vertices: np.ndarray,
    triangles: np.ndarray,
    textured: tuple[np.ndarray, np.ndarray] | None = None,
    material: str | None = None,
    is_smooth: bool = False,
) -> str:
    """The text of an OBJ file; `textured` holds texture coordinates (n, 2) and their triangles (F, 3)."""
    lines = ["mtllib visual.mtl"] if material else []
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices]
    lines += [f"usemtl {material}"] if material else []
    lines += ["s 1"] if is_smooth else []
    if textured is None:
        lines += [f"f {a} {b} {c}" for a, b, c in triangles + 1]
    else:
        lines += [f"vt {u:.6f} {v:.6f}" for u, v in textured[0]]
        lines += [
            f"f {a}/{d} {b}/{e} {c}/{f}" for (a, b, c), (d, e, f) in zip(triangles + 1, textured[1] + 1, strict=True)
        ]
    return "\n".join(lines) + "\n"


def make_dome(floor_radius: float, radius: float, num_sectors: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A flat floor at z = 0 that goes over into a half-sphere, seen from inside: vertices (V, 3), triangles (F, 3)."""
    angles = np.linspace(np.radians(5), np.pi / 2, 24)[:-1]
    profile = [(floor_radius * share, 0.0) for share in np.linspace(0, 1, 10)[1:]]
    profile += [(radius * np.cos(angle), radius * np.sin(angle)) for angle in angles]
    turn = np.linspace(0, 2 * np.pi, num_sectors, endpoint=False)
    rings = [np.stack([r * np.cos(turn), r * np.sin(turn), np.full(num_sectors, z)], -1) for r, z in profile]
    vertices = np.concatenate([[(0, 0, 0)], *rings, [(0, 0, radius)]])
    here, after = np.arange(num_sectors), (np.arange(num_sectors) + 1) % num_sectors
    triangles = [np.stack([np.zeros(num_sectors, int), here + 1, after + 1], -1)]
    for ring in range(len(rings) - 1):
        low, high = 1 + ring * num_sectors, 1 + (ring + 1) * num_sectors
        triangles.append(np.stack([low + here, high + here, high + after], -1))
        triangles.append(np.stack([low + here, high + after, low + after], -1))
    last, top = 1 + (len(rings) - 1) * num_sectors, len(vertices) - 1
    triangles.append(np.stack([last + here, np.full(num_sectors, top), last + after], -1))
    return vertices, np.concatenate(triangles)
