"""Point tracks with occlusion from rendered passes: numpy only (the algorithm of Kubric's point-tracking challenge).

Legend: T frames, H W pixels, K instances (id 0 is the background, instance k has id k + 1), N points. Raster pixels:
the centre of pixel (row, column) is (column + 0.5, row + 0.5). The camera looks along -z with y up:
x = W/2 + f X / (-Z), y = H/2 - f Y / (-Z).
"""

from dataclasses import dataclass

import numpy as np

from generation.config import TrackConfig

DEPTH_TOLERANCE = 0.99
"""A point is hidden when all four neighbouring pixels are nearer than this share of its distance."""
ROUGH_NORMAL = 0.05
"""Difference of normals between diagonal neighbours beyond which the facing test is not trusted."""
CODES = 65535
"""Coordinates and normals may be stored in 16 bits."""
DENSE_CHUNK = 2**15
"""Pixels that are followed at a time: bounds the memory of dense tracks."""
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
    """(T, H, W, 3) position in the instance's bounding box, 0..1; or that as uint16 codes"""
    normals: np.ndarray
    """(T, H, W, 3) world space, -1..1; or that as uint16 codes"""
    boxes: np.ndarray
    """(K, T, 8, 3) world corners in the order of itertools.product(lo/hi x, y, z)"""
    camera_positions: np.ndarray
    """(T, 3)"""
    camera_rotations: np.ndarray
    """(T, 3, 3) camera to world"""
    focal_px: float

    def coordinates_at(self, t: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Positions (N, 3) in the box, 0..1, of pixels (N,)."""
        found = self.coordinates[t, row, column]
        return found / CODES if found.dtype == np.uint16 else found.astype(np.float64)

    def normals_at(self, t: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """World normals (N, 3) of pixels (N,)."""
        found = self.normals[t, row, column]
        return found / CODES * 2 - 1 if found.dtype == np.uint16 else found.astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """Tracks of N points through a clip."""

    tracks: np.ndarray
    """(T, N, 2) float32 pixels (x, y), also where hidden"""
    visible: np.ndarray
    """(T, N) bool"""
    query_frame: np.ndarray
    """(N,) int32: the frame from whose pixels the point was drawn"""
    object_id: np.ndarray
    """(N,) int32: 0 is the background, anything else the foreground"""
    world_m: np.ndarray
    """(T, N, 3) float32 metres, world axes"""


def annotate(passes: Passes, config: TrackConfig, rng: np.random.Generator) -> Annotation:
    """Draw queries over all frames, in random order, and follow them."""
    t, row, column = sample_queries(passes.segmentation, config, rng)
    object_id = passes.segmentation[t, row, column].astype(np.int32)
    tracks, visible, world = follow_pixels(passes, t, row, column)
    return Annotation(
        tracks=tracks,
        visible=visible,
        query_frame=t.astype(np.int32),
        object_id=object_id,
        world_m=world.astype(np.float32),
    )


def follow_pixels(
    passes: Passes, t: np.ndarray, row: np.ndarray, column: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tracks (T, N, 2) float32, visible (T, N) and world positions (T, N, 3) of what is seen at pixels (N,)."""
    object_id = passes.segmentation[t, row, column].astype(np.int32)
    world = follow(passes, t, row, column, object_id)
    pixels, distance, is_behind = project(passes, world)
    visible = ~is_behind & is_seen(passes, pixels, distance, object_id)
    visible &= ~faces_away(passes, world, t, row, column, object_id)
    limit = MAX_OVERSHOOT * max(passes.depth_m.shape[1:])
    return np.clip(np.nan_to_num(pixels), -limit, limit).astype(np.float32), visible, world


def annotate_densely(passes: Passes, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (T, H, W, 2) float32 and visible (T, H, W) of every pixel of one frame, counted from the end if negative.

    Raises ValueError for a frame that the clip does not have.
    """
    num_frames, height, width = passes.depth_m.shape
    if not -num_frames <= frame < num_frames:
        raise ValueError(f"dense frame {frame}: the clip has {num_frames} frames")
    tracks, visible = (
        np.empty((num_frames, height * width, 2), np.float32),
        np.empty((num_frames, height * width), bool),
    )
    for start in range(0, height * width, DENSE_CHUNK):
        pixels = np.arange(start, min(start + DENSE_CHUNK, height * width))
        t = np.full(len(pixels), frame % num_frames)
        tracks[:, pixels], visible[:, pixels], _ = follow_pixels(passes, t, pixels // width, pixels % width)
    return tracks.reshape(num_frames, height, width, 2), visible.reshape(num_frames, height, width)


def flow(passes: Passes, step: int) -> np.ndarray:
    """How far (T, H, W, 2) float32 as (x, y) each pixel moves to the frame `step` later, 0 where there is none.

    Blender's forward flow is `flow(passes, 1)`, its backward flow, p(t) - p(t-1), is `-flow(passes, -1)`.
    """
    num_frames, height, width = passes.depth_m.shape
    result = np.zeros((num_frames, height, width, 2), np.float32)
    row, column = (each.ravel() for each in np.mgrid[:height, :width])
    centre = np.stack([column, row], -1) + 0.5
    for frame in range(max(0, -step), num_frames - max(0, step)):
        t = np.full(len(row), frame)
        target = slice(frame + step, frame + step + 1)
        world = follow(passes, t, row, column, passes.segmentation[frame].ravel().astype(int), target)
        pixels, _, _ = project(passes, world, target)
        result[frame] = (pixels[0] - centre).reshape(height, width, 2)
    return result


def sample_queries(
    segmentation: np.ndarray, config: TrackConfig, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query pixels (t, row, column), each (N,): a grid with a random offset; small segments take their share first.

    No segment gives more than its share of its pixels, unless the shares do not add up to the number of tracks: the
    rest is then drawn from all pixels of the grid that are left, and from all of them again where even those are few.
    """
    steps = np.minimum(config.sampling_stride, segmentation.shape)
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
    chosen, remaining = [], config.num_tracks
    for left, place in zip(range(len(order), 0, -1), order, strict=True):
        members = np.flatnonzero(ids == found[place])
        quota = min(round(remaining / left), max(1, round(len(members) * config.max_sampled_share)))
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


def follow(
    passes: Passes,
    t: np.ndarray,
    row: np.ndarray,
    column: np.ndarray,
    object_id: np.ndarray,
    frames: slice = slice(None),
) -> np.ndarray:
    """World positions (T, N, 3) in `frames` of pixels (N,): the background stays, objects move with their boxes."""
    num_frames = len(passes.depth_m[frames])
    world = np.broadcast_to(back_project(passes, t, row, column), (num_frames, len(t), 3)).copy()
    is_object = object_id > 0
    if is_object.any():
        origin, axes = box_frames(passes.boxes[:, frames])  # (K, T, 3), (K, T, 3, 3)
        inside = passes.coordinates_at(t[is_object], row[is_object], column[is_object])  # (n, 3)
        for instance in np.unique(object_id[is_object]):  # a product a body, not a small one a point
            own = object_id[is_object] == instance
            moved = inside[own] @ axes[instance - 1].swapaxes(-1, -2) + origin[instance - 1][:, None]  # (T, n, 3)
            world[:, np.flatnonzero(is_object)[own]] = moved
    return world


def back_project(passes: Passes, t: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """World positions (N, 3) of pixel centres at their depth (distance to the camera's centre)."""
    height, width = passes.depth_m.shape[1:]
    ray = np.stack([column + 0.5 - width / 2, -(row + 0.5 - height / 2), np.full(len(t), -passes.focal_px)], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    local = ray * passes.depth_m[t, row, column][:, None]
    return np.einsum("nij,nj->ni", passes.camera_rotations[t], local) + passes.camera_positions[t]


def project(
    passes: Passes, world: np.ndarray, frames: slice = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels (T, N, 2), distances (T, N) to the camera's centre and whether (T, N) a point is behind the camera.

    World positions (T, N, 3) are those in `frames`.
    """
    height, width = passes.depth_m.shape[1:]
    offset = world - passes.camera_positions[frames, None]
    local = offset @ passes.camera_rotations[frames]  # world to camera: the transpose, from the right
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
    t, row, column, instance = t[is_object], row[is_object], column[is_object], object_id[is_object] - 1
    normal = passes.normals_at(t, row, column)  # (n, 3)
    _, axes = box_frames(passes.boxes)
    rotation = axes / np.linalg.norm(axes, axis=-2, keepdims=True)  # (K, T, 3, 3)
    local = np.einsum("nji,nj->ni", rotation[instance, t], normal)
    turned = np.empty((len(world), len(t), 3))
    for body in np.unique(instance):
        own = instance == body
        turned[:, own] = local[own] @ rotation[body].swapaxes(-1, -2)
    view = world[:, is_object] - passes.camera_positions[:, None]
    is_away = (turned * view).sum(-1) > 0  # (T, n)
    num_different = sum(
        np.abs(
            passes.normals_at(t, np.clip(row + down, 0, height - 1), np.clip(column + right, 0, width - 1)) - normal
        ).max(-1)
        > ROUGH_NORMAL
        for down in (-1, 1)
        for right in (-1, 1)
    )
    trusted = ~is_away[t, np.arange(len(t))] & (num_different <= 2)
    away[:, is_object] = is_away & trusted
    return away
