"""Point tracks with occlusion from rendered passes: numpy only (the algorithm of Kubric's point-tracking challenge).

Legend: T frames, H W pixels, K instances (id 0 is the background, instance k has id k + 1), N points. Raster pixels:
the centre of pixel (row, column) is (column + 0.5, row + 0.5). The camera looks along -z with y up:
x = W/2 + f X / (-Z), y = H/2 - f Y / (-Z).
"""

from dataclasses import dataclass

import numpy as np

MAX_SAMPLED_SHARE = 0.1
"""No segment gives more than this share of its candidate pixels as queries."""
DEPTH_TOLERANCE = 0.99
"""A point is hidden when all four neighbouring pixels are nearer than this share of its distance."""
ROUGH_NORMAL = 0.05
"""Difference of normals between diagonal neighbours beyond which the facing test is not trusted."""
MAX_OVERSHOOT = 4.0
"""Hidden points far outside are clamped to this many frame sides: a point beside the camera projects to infinity."""


@dataclass(frozen=True, kw_only=True)
class Passes:
    """What annotation needs of a rendered clip."""

    depth_m: np.ndarray
    """(T, H, W) distance to the camera's centre"""
    segmentation: np.ndarray
    """(T, H, W) ids"""
    coordinates: np.ndarray
    """(T, H, W, 3) position in the instance's bounding box, 0..1"""
    normals: np.ndarray
    """(T, H, W, 3) world space"""
    boxes: np.ndarray
    """(K, T, 8, 3) world corners in the order of itertools.product(lo/hi x, y, z)"""
    camera_positions: np.ndarray
    """(T, 3)"""
    camera_rotations: np.ndarray
    """(T, 3, 3) camera to world"""
    focal_px: float


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """tracks (T, N, 2) float32 pixels, visible (T, N) bool, query_frame (N,), object_id (N,), world (T, N, 3)."""

    tracks: np.ndarray
    visible: np.ndarray
    query_frame: np.ndarray
    object_id: np.ndarray
    world: np.ndarray


def annotate(passes: Passes, num_tracks: int, stride: int, rng: np.random.Generator) -> Annotation:
    """Draw `num_tracks` queries over all frames, in random order, and follow them."""
    t, row, column = sample_queries(passes.segmentation, num_tracks, stride, rng)
    object_id = passes.segmentation[t, row, column].astype(np.int32)
    world = follow(passes, t, row, column, object_id)  # (T, N, 3)
    tracks, distance, is_behind = project(passes, world)
    visible = ~is_behind & is_seen(passes, tracks, distance, object_id)
    visible &= ~faces_away(passes, world, t, row, column, object_id)
    height, width = passes.depth_m.shape[1:]
    limit = MAX_OVERSHOOT * max(height, width)
    return Annotation(
        tracks=np.clip(np.nan_to_num(tracks), -limit, limit).astype(np.float32),
        visible=visible,
        query_frame=t.astype(np.int32),
        object_id=object_id,
        world=world,
    )


def sample_queries(
    segmentation: np.ndarray, num_tracks: int, stride: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query pixels (t, row, column), each (N,): a grid with a random offset; small segments take their share first.

    No segment gives more than a tenth of its pixels, unless the shares do not add up to `num_tracks`: the rest is then
    drawn from all pixels of the grid that are left, and from all of them again where even those are too few.
    """
    steps = np.minimum(stride, segmentation.shape)
    first = [int(rng.integers(0, step)) for step in steps]
    grid = np.stack(
        np.meshgrid(
            *[np.arange(o, n, s) for o, n, s in zip(first, segmentation.shape, steps, strict=True)], indexing="ij"
        ),
        -1,
    ).reshape(-1, 3)
    ids = segmentation[tuple(grid.T)]
    found, counts = np.unique(ids, return_counts=True)
    order = np.argsort(counts, kind="stable")
    chosen, remaining = [], num_tracks
    for left, place in zip(range(len(order), 0, -1), order, strict=True):
        members = np.flatnonzero(ids == found[place])
        quota = min(round(remaining / left), max(1, round(len(members) * MAX_SAMPLED_SHARE)))
        chosen.append(rng.choice(members, min(quota, len(members)), replace=False))
        remaining -= len(chosen[-1])
    spare = np.setdiff1d(np.arange(len(ids)), np.concatenate(chosen))
    chosen.append(rng.choice(spare, min(remaining, len(spare)), replace=False))
    chosen.append(rng.choice(len(ids), remaining - len(chosen[-1])))
    picked = grid[rng.permutation(np.concatenate(chosen))]
    return picked[:, 0], picked[:, 1], picked[:, 2]


def box_frames(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Origins (..., 3) and axes (..., 3, 3), one column an edge, of boxes given by 8 corners (..., 8, 3)."""
    origin = boxes[..., 0, :]
    axes = np.stack([boxes[..., corner, :] - origin for corner in (4, 2, 1)], -1)
    return origin, axes


def follow(passes: Passes, t: np.ndarray, row: np.ndarray, column: np.ndarray, object_id: np.ndarray) -> np.ndarray:
    """World positions (T, N, 3) of the queried points: the background stays, objects move with their boxes."""
    num_frames = passes.depth_m.shape[0]
    world = np.broadcast_to(back_project(passes, t, row, column), (num_frames, len(t), 3)).copy()
    is_object = object_id > 0
    if is_object.any():
        origin, axes = box_frames(passes.boxes[object_id[is_object] - 1].swapaxes(0, 1))  # (T, n, 3), (T, n, 3, 3)
        inside = passes.coordinates[t, row, column][is_object].astype(np.float64)  # (n, 3)
        world[:, is_object] = origin + np.einsum("tnij,nj->tni", axes, inside)
    return world


def back_project(passes: Passes, t: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """World positions (N, 3) of pixel centres at their depth (distance to the camera's centre)."""
    height, width = passes.depth_m.shape[1:]
    ray = np.stack([column + 0.5 - width / 2, -(row + 0.5 - height / 2), np.full(len(t), -passes.focal_px)], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    local = ray * passes.depth_m[t, row, column][:, None]
    return np.einsum("nij,nj->ni", passes.camera_rotations[t], local) + passes.camera_positions[t]


def project(passes: Passes, world: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (T, N, 2), distances (T, N) to the camera's centre and whether (T, N) a point is behind the camera."""
    height, width = passes.depth_m.shape[1:]
    offset = world - passes.camera_positions[:, None]
    local = np.einsum("tji,tnj->tni", passes.camera_rotations, offset)  # world to camera: the transpose
    forward = -local[..., 2]
    safe = np.where(np.abs(forward) < 1e-6, 1e-6, forward)
    x = width / 2 + passes.focal_px * local[..., 0] / safe
    y = height / 2 - passes.focal_px * local[..., 1] / safe
    return np.stack([x, y], -1), np.linalg.norm(offset, axis=-1), forward <= 0


def is_seen(passes: Passes, tracks: np.ndarray, distance: np.ndarray, object_id: np.ndarray) -> np.ndarray:
    """Whether (T, N) points lie in the frame, not behind a nearer surface, and next to a pixel of their own id."""
    num_frames, height, width = passes.depth_m.shape
    x, y = tracks[..., 0], tracks[..., 1]
    is_inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    left = np.floor(np.nan_to_num(np.clip(x, -1, width + 1)) - 0.5).astype(int)
    top = np.floor(np.nan_to_num(np.clip(y, -1, height + 1)) - 0.5).astype(int)
    frame = np.arange(num_frames)[:, None]
    farthest = np.zeros(x.shape)
    is_own = np.zeros(x.shape, bool)
    for down in (0, 1):
        for right in (0, 1):
            row, column = np.clip(top + down, 0, height - 1), np.clip(left + right, 0, width - 1)
            farthest = np.maximum(farthest, passes.depth_m[frame, row, column])
            is_own |= passes.segmentation[frame, row, column] == object_id
    return is_inside & is_own & (farthest >= DEPTH_TOLERANCE * distance)


def faces_away(
    passes: Passes, world: np.ndarray, t: np.ndarray, row: np.ndarray, column: np.ndarray, object_id: np.ndarray
) -> np.ndarray:
    """Whether (T, N) an object's surface has turned away from the camera since the query.

    Not said of points that faced away at the query already, or whose neighbourhood has rough normals there.
    """
    height, width = passes.depth_m.shape[1:]
    away = np.zeros(world.shape[:2], bool)
    is_object = object_id > 0
    if not is_object.any():
        return away
    t, row, column = t[is_object], row[is_object], column[is_object]
    normal = passes.normals[t, row, column].astype(np.float64)  # (n, 3)
    _, axes = box_frames(passes.boxes[object_id[is_object] - 1].swapaxes(0, 1))
    rotation = axes / np.linalg.norm(axes, axis=-2, keepdims=True)  # (T, n, 3, 3)
    local = np.einsum("nji,nj->ni", rotation[t, np.arange(len(t))], normal)
    turned = np.einsum("tnij,nj->tni", rotation, local)
    view = world[:, is_object] - passes.camera_positions[:, None]
    is_away = (turned * view).sum(-1) > 0  # (T, n)
    num_different = sum(
        np.abs(
            passes.normals[t, np.clip(row + down, 0, height - 1), np.clip(column + right, 0, width - 1)] - normal
        ).max(-1)
        > ROUGH_NORMAL
        for down in (-1, 1)
        for right in (-1, 1)
    )
    trusted = ~is_away[t, np.arange(len(t))] & (num_different <= 2)
    away[:, is_object] = is_away & trusted
    return away
