"""A mesh drawn into pixels by a z-buffer: exact at pixel centres, the same bytes on every machine of one numpy.

Whole groups of triangles of about the same size are tested against the pixels of their boxes at once. Pineda 1988 (edge
functions), Blinn 1992 (1/z is linear in the picture).
"""

from dataclasses import dataclass

import numpy as np

NEAR_M = 0.05
"""Faces with a vertex nearer than this are not drawn."""
CANDIDATES = 1 << 22
"""Pixels tested at once: bounds the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """What one picture shows of a mesh."""

    depth_m: np.ndarray
    """(H, W) float32, z of what is seen; infinite where nothing is"""
    face: np.ndarray
    """(H, W) int32, the face that is seen; -1 where none is"""
    weights: np.ndarray
    """(H, W, 3) float32, weights of the face's vertices at the pixel's centre; 0 where there is none"""

    @property
    def mask(self) -> np.ndarray:
        """(H, W) bool: where something is seen."""
        return self.face >= 0


def draw(
    vertices_m: np.ndarray,
    faces: np.ndarray,
    focal_px: float,
    centre_px: np.ndarray,
    size: tuple[int, int],
    *,
    is_closed: bool = True,
) -> Drawn:
    """Draw one mesh: vertices (V, 3) metres in camera axes, faces (F, 3), into a picture of size (H, W).

    Of a closed mesh faces that look away are left out: something else hides them. Raises ValueError where a number is
    not finite.
    """
    if not (np.isfinite(vertices_m).all() and np.isfinite(centre_px).all() and np.isfinite(focal_px)):
        raise ValueError("a mesh or camera to draw is NaN or infinite somewhere")
    height, width = size
    vertices = np.asarray(vertices_m, np.float64)
    inverse_z = 1 / np.maximum(vertices[:, 2], NEAR_M)
    xy = focal_px * vertices[:, :2] * inverse_z[:, None] + np.asarray(centre_px, np.float64)  # (V, 2)
    corners, z = xy[faces], vertices[:, 2][faces]  # (F, 3, 2), (F, 3)
    # Twice the area; with y down a face that is counter-clockwise from outside has a negative one when it is seen.
    (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
    area = ax * by - ay * bx
    first = np.ceil(corners.min(1) - 0.5).astype(np.int64).clip(0)  # of the pixels whose centres may be inside
    last = np.floor(corners.max(1) - 0.5).astype(np.int64).clip(max=[width - 1, height - 1])
    extent = last - first + 1
    is_drawn = (z.min(1) > NEAR_M) & (extent.min(1) > 0) & ((area < 0) if is_closed else (area != 0))
    found = [
        _test(group, corners, area, inverse_z[faces], first, tuple(shape), (height, width))
        for group, shape in _groups(np.flatnonzero(is_drawn), extent)
    ]
    return _nearest(found, (height, width))


def _groups(numbers: np.ndarray, extent: np.ndarray):
    """Faces with boxes of about one size, and that size (columns, rows): powers of two from 1."""
    if not len(numbers):
        return
    rounded = 1 << np.ceil(np.log2(extent[numbers])).astype(np.int64)  # (n, 2)
    order = np.lexsort(rounded.T)
    numbers, rounded = numbers[order], rounded[order]
    starts = np.flatnonzero(np.r_[True, (np.diff(rounded, axis=0) != 0).any(1)])
    for start, end in zip(starts, [*starts[1:], len(numbers)], strict=True):
        columns, rows = rounded[start]
        step = max(1, CANDIDATES // int(columns * rows))
        for part in range(start, end, step):
            yield numbers[part : min(end, part + step)], (int(columns), int(rows))


def _test(numbers, corners, area, inverse_z, first, shape, size):
    """Pixels (as numbers) inside of the faces, with 1/z, face, and the weights of two of its vertices."""
    columns, rows = shape
    x = first[numbers, 0, None, None] + np.arange(columns)  # (n, 1, columns)
    y = first[numbers, 1, None, None] + np.arange(rows)[:, None]  # (n, rows, 1)
    a, b, c = (corners[numbers, k, :, None, None] for k in range(3))  # (n, 2, 1, 1)
    px, py, scale = x + 0.5, y + 0.5, 1 / area[numbers, None, None]
    wa = ((b[:, 0] - px) * (c[:, 1] - py) - (b[:, 1] - py) * (c[:, 0] - px)) * scale  # (n, rows, columns)
    wb = ((c[:, 0] - px) * (a[:, 1] - py) - (c[:, 1] - py) * (a[:, 0] - px)) * scale
    wc = 1 - wa - wb
    inside = (wa >= 0) & (wb >= 0) & (wc >= 0) & (x < size[1]) & (y < size[0])
    which, row, column = np.nonzero(inside)
    face, wa, wb, wc = numbers[which], wa[inside], wb[inside], wc[inside]
    inverse = inverse_z[face]
    seen = wa * inverse[:, 0] + wb * inverse[:, 1] + wc * inverse[:, 2]  # 1/z at the pixel
    pixel = y[which, row, 0] * size[1] + x[which, 0, column]
    return pixel, seen, face, wa * inverse[:, 0] / seen, wb * inverse[:, 1] / seen


def _nearest(found: list, size: tuple[int, int]) -> Drawn:
    """Of all that was found at a pixel the nearest, of equals the face with the lowest number."""
    num_pixels = size[0] * size[1]
    depth = np.full(num_pixels, np.inf, np.float32)
    face = np.full(num_pixels, -1, np.int32)
    weights = np.zeros((num_pixels, 3), np.float32)
    if found:
        pixel, seen, number, wa, wb = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((-number, seen, pixel))
        last = order[np.r_[np.diff(pixel[order]) != 0, True]] if len(order) else order
        where = pixel[last]
        depth[where], face[where] = 1 / seen[last], number[last]
        weights[where] = np.stack([wa[last], wb[last], 1 - wa[last] - wb[last]], -1)
    return Drawn(depth_m=depth.reshape(size), face=face.reshape(size), weights=weights.reshape(*size, 3))


def vertex_normals(vertices_m: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals (V, 3) float32 that point outwards: means of those of the faces around, weighted by area."""
    corners = vertices_m[faces]
    of_faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])  # (F, 3)
    sums = np.stack(
        [np.bincount(faces.ravel(), np.repeat(of_faces[:, k], 3), minlength=len(vertices_m)) for k in range(3)], -1
    )
    return (sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def parts_seen(drawn: Drawn, parts: np.ndarray) -> np.ndarray:
    """(H, W) uint8: the body part of each pixel, 0 where there is none; `parts` (F,) are the faces' own."""
    return np.where(drawn.mask, parts[drawn.face], 0).astype(np.uint8)
