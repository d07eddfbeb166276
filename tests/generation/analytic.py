"""A scene whose passes are known without a renderer: a turning cube before a wall, seen by a moving camera.

Rays are cast here, one pixel after the other in closed form: a second implementation of what the annotator inverts.
"""

import numpy as np

from generation.annotate import Passes
from generation.geometry import box_corners, rotation_matrices

WALL_Y = 6.0
HALF = 1.0


def make_passes(
    num_frames: int = 6, size: int = 48, *, turn: float = 0.12, drift: float = 0.25, step: float = 0.15
) -> Passes:
    """The camera looks along +y at a cube that turns about z and drifts in x; a wall stands at y = 6."""
    focal_px = 1.1 * size
    t = np.arange(num_frames)
    # Looking along +y with z up: camera axes x, z, -y, a turn of 90 degrees about x.
    looking = np.tile([np.sqrt(0.5), np.sqrt(0.5), 0, 0], (num_frames, 1))
    rotations = rotation_matrices(looking)
    positions = np.stack([step * (t - num_frames / 2), np.full(num_frames, -6.0), np.full(num_frames, 0.7)], -1)
    cube_positions = np.stack([drift * (t - num_frames / 2), np.zeros(num_frames), np.zeros(num_frames)], -1)
    angle = turn * t + 0.3
    cube_turns = np.stack([np.cos(angle / 2), 0 * t, 0 * t, np.sin(angle / 2)], -1)
    boxes = box_corners(np.array([[-HALF] * 3, [HALF] * 3]), cube_positions, cube_turns)
    frames = [
        _cast(size, focal_px, positions[i], rotations[i], cube_positions[i], rotation_matrices(cube_turns[i]))
        for i in t
    ]
    depth, ids, coordinates, normals = (np.stack(part) for part in zip(*frames, strict=True))
    return Passes(
        depth_m=depth,
        segmentation=ids,
        coordinates=coordinates,
        normals=normals,
        boxes=boxes[None],
        camera_positions=positions,
        camera_rotations=rotations,
        focal_px=focal_px,
    )


def _cast(size, focal_px, origin, camera, centre, cube):
    """Depth, ids, coordinates and normals (H, W[, 3]) of one frame: slabs of the cube, then the wall's plane."""
    column, row = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5)
    ray = np.stack([(column - size / 2) / focal_px, -(row - size / 2) / focal_px, -np.ones((size, size))], -1)
    ray = ray / np.linalg.norm(ray, axis=-1, keepdims=True) @ camera.T  # world
    start, along = (origin - centre) @ cube, ray @ cube  # in the cube's axes
    with np.errstate(divide="ignore"):
        enters = np.minimum((-HALF - start) / along, (HALF - start) / along)
        leaves = np.maximum((-HALF - start) / along, (HALF - start) / along)
    near, far = enters.max(-1), leaves.min(-1)
    is_cube = (near < far) & (near > 0)
    distance = np.where(is_cube, near, (WALL_Y - origin[1]) / ray[..., 1])
    hit = start + near[..., None] * along
    face = enters.argmax(-1)
    local = -np.sign(np.take_along_axis(along, face[..., None], -1)) * np.eye(3)[face]
    normal = np.where(is_cube[..., None], local @ cube.T, (0.0, -1.0, 0.0))
    coordinates = np.where(is_cube[..., None], (hit + HALF) / (2 * HALF), 0.0)
    return distance.astype(np.float32), is_cube.astype(np.uint8), coordinates, normal
