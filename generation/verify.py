"""Does a clip agree with itself? Tracks against the rendered object coordinates, depth, ids and Blender's own flow.

Needs a clip rendered with save_passes=true. The bounds are a good deal wider than what was measured (0.005 px,
0.0003 px of flow), and a good deal narrower than any mistake in a convention would give (half a pixel, a frame).
"""

import json
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from generation.annotate import Passes, back_project, box_frames, follow, project
from generation.geometry import box_corners, rotation_matrices

BOUNDS = {
    "query_px": 0.02,
    "coordinates_px": 0.02,
    "query_depth": 0.001,
    "forward_flow_px": 0.01,
    "backward_flow_px": 0.01,
    "surface_px_p90": 2.0,
}
"""Figures that must not be above these."""
LEAST = {"id_agreement": 0.85, "id_within_a_pixel": 0.99}
"""Figures that must not be below these. Under a silhouette a pixel's one id may be the neighbour's, and the smaller the
frame, the more of its pixels are silhouettes (91 % agree at 128x128); a pixel further the right id is always there."""


NEAR = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


@dataclass(frozen=True)
class StoredClip:
    """What a clip folder holds, ready to compare."""

    passes: Passes
    tracks: np.ndarray
    visible: np.ndarray
    query_frame: np.ndarray
    object_id: np.ndarray
    forward_flow: np.ndarray
    backward_flow: np.ndarray


def load_clip(folder: Path) -> StoredClip:
    """Read a clip folder; raises ValueError when it is no complete clip or has no passes."""
    if not (folder / "manifest.json").is_file():
        raise ValueError(f"{folder}: no complete clip (manifest.json is missing)")
    if not (folder / "passes.npz").is_file():
        raise ValueError(f"{folder}: rendered without passes; render the seed again with save_passes=true")
    metadata = json.loads((folder / "metadata.json").read_bytes())
    low, high = metadata["depth_range"]
    codes = np.stack([iio.imread(path) for path in sorted((folder / "depths").glob("*.png"))])
    with np.load(folder / "passes.npz", allow_pickle=False) as file:
        kept = dict(file)
    with np.load(folder / "tracks.npz", allow_pickle=False) as file:
        tracks = dict(file)
    camera, num_frames = metadata["camera"], len(codes)
    boxes = [
        box_corners(*(np.array(body[name]) for name in ("bounds", "positions", "quaternions_wxyz")))
        for body in metadata["instances"]
    ]
    passes = Passes(
        depth_m=low + codes / 65535 * (high - low),
        segmentation=kept["segmentation"],
        coordinates=kept["object_coordinates"] / 65535,
        normals=kept["normals"] / 65535 * 2 - 1,
        boxes=np.array(boxes).reshape(-1, num_frames, 8, 3),
        camera_positions=np.array(camera["positions"]),
        camera_rotations=rotation_matrices(np.array(camera["quaternions_wxyz"])),
        focal_px=camera["focal_px"],
    )
    flows = {name: kept[name] for name in ("forward_flow", "backward_flow")}
    return StoredClip(passes=passes, **tracks, **flows)


def measure(clip: StoredClip) -> dict[str, float]:
    """All figures of a clip: largest errors in pixels, relative depth error, shares (0 where nothing is to compare)."""
    number = np.arange(clip.tracks.shape[1])
    at_query = clip.tracks[clip.query_frame, number].astype(np.float64)  # (N, 2)
    column, row = np.floor(at_query).astype(int).T
    return {
        "query_px": _largest(np.abs(at_query - np.floor(at_query) - 0.5)),
        "query_depth": _query_depth(clip, row, column),
        "coordinates_px": _largest(coordinate_errors(clip.passes)),
        "forward_flow_px": _flow_error(clip, row, column, clip.forward_flow, 1),
        "backward_flow_px": _flow_error(clip, row, column, clip.backward_flow, -1),
        **_other_frames(clip),
    }


def coordinate_errors(passes: Passes) -> np.ndarray:
    """How far (n,) each object pixel's stored coordinate lands from its pixel's centre: all pixels of all frames."""
    t, row, column = np.nonzero(passes.segmentation)
    world = surface_points(passes, t, row, column)
    landed = np.full((len(t), 2), np.nan)
    for frame in range(len(passes.depth_m)):
        here = t == frame
        pixels, _, _ = project(passes, np.broadcast_to(world[here], (len(passes.depth_m), here.sum(), 3)))
        landed[here] = pixels[frame]
    return np.abs(landed - np.stack([column, row], -1) - 0.5).max(-1, initial=0)


def surface_points(passes: Passes, t: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """World positions (n, 3) of rendered pixels: objects by their coordinates in their box, background by depth."""
    world = back_project(passes, t, row, column)
    ids = passes.segmentation[t, row, column].astype(int)
    is_object = ids > 0
    if is_object.any():
        origin, axes = box_frames(passes.boxes[ids[is_object] - 1, t[is_object]])
        inside = passes.coordinates[t, row, column][is_object]
        world[is_object] = origin + np.einsum("nij,nj->ni", axes, inside)
    return world


def _query_depth(clip: StoredClip, row: np.ndarray, column: np.ndarray) -> float:
    world = surface_points(clip.passes, clip.query_frame, row, column)
    distance = np.linalg.norm(world - clip.passes.camera_positions[clip.query_frame], axis=-1)
    return _largest(np.abs(distance / clip.passes.depth_m[clip.query_frame, row, column] - 1))


def _flow_error(clip: StoredClip, row: np.ndarray, column: np.ndarray, flow: np.ndarray, step: int) -> float:
    """Displacement of the tracks from their query frame to the frame `step` later, against Blender's vectors there."""
    number = np.flatnonzero((clip.query_frame + step >= 0) & (clip.query_frame + step < len(clip.tracks)))
    t = clip.query_frame[number]
    moved = (clip.tracks[t + step, number].astype(np.float64) - clip.tracks[t, number]) * step
    rendered = flow[t, row[number], column[number]]
    # Hidden points far outside are clamped when stored.
    is_near = np.abs(clip.tracks[t + step, number]).max(-1, initial=0) < 2 * clip.passes.depth_m.shape[1]
    return _largest(np.abs(moved - rendered)[is_near])


def _other_frames(clip: StoredClip) -> dict[str, float]:
    """At visible samples of other frames: share whose pixel has the track's id, and distance to the surface there."""
    passes = clip.passes
    is_other = clip.visible & (np.arange(len(clip.tracks))[:, None] != clip.query_frame)
    t, number = np.nonzero(is_other)
    limits = np.array(passes.depth_m.shape[:0:-1]) - 1
    column, row = np.clip(np.floor(clip.tracks[t, number]).astype(int), 0, limits).T
    agrees = passes.segmentation[t, row, column] == clip.object_id[number]
    around = [np.clip(row + y, 0, limits[1]) * (limits[0] + 1) + np.clip(column + x, 0, limits[0]) for y, x in NEAR]
    ids = passes.segmentation.reshape(len(passes.segmentation), -1)[t, np.array(around)]  # (9, n)
    is_near = (ids == clip.object_id[number]).any(0)
    here = surface_points(passes, t, row, column)
    at_query = clip.tracks[clip.query_frame, np.arange(clip.tracks.shape[1])]
    query_column, query_row = np.floor(at_query).astype(int).T
    world = follow(passes, clip.query_frame, query_row, query_column, clip.object_id)[t, number]
    distance = np.linalg.norm(world - passes.camera_positions[t], axis=-1)
    off_px = np.linalg.norm(here - world, axis=-1) * passes.focal_px / distance
    return {
        "num_other_samples": float(len(t)),
        "id_agreement": float(agrees.mean()) if len(t) else 1.0,
        "id_within_a_pixel": float(is_near.mean()) if len(t) else 1.0,
        "surface_px_p90": float(np.percentile(off_px[agrees], 90)) if agrees.any() else 0.0,
    }


def _largest(errors: np.ndarray) -> float:
    return float(errors.max()) if errors.size else 0.0


def violations(figures: dict[str, float]) -> list[str]:
    """One line per figure that is out of its bound; not-a-number counts as out."""
    lines = [
        f"{name} is {figures[name]:.4f}, the bound is {bound}"
        for name, bound in BOUNDS.items()
        if not figures[name] <= bound
    ]
    lines += [
        f"{name} is {figures[name]:.4f}, the bound is {bound}"
        for name, bound in LEAST.items()
        if not figures[name] >= bound
    ]
    return lines
