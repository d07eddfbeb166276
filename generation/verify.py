"""Does a clip agree with itself? Tracks against the rendered object coordinates, depth, ids and Blender's own flow.

Needs a clip rendered with save_flow=true. The bounds are a good deal wider than what was measured (0.005 px,
0.0003 px of flow), and a good deal narrower than any mistake in a convention would give (half a pixel, a frame).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from generation.annotate import Passes, annotate, back_project, box_frames, follow, project
from generation.config import TrackConfig
from generation.stored import read_metadata, read_passes

BOUNDS = {
    "query_px": 0.02,
    "coordinates_px_p9999": 0.02,
    "query_depth": 0.001,
    "forward_flow_px": 0.01,
    "backward_flow_px": 0.01,
    "surface_px_p90": 2.0,
}
"""Figures that must not be above these. query_px is the largest of all tracks. Of all object pixels (coordinates_px)
one in ten thousand is left out: on edges of faces seen from the side Blender's shading point is up to 0.03 px off."""
LEAST = {"id_agreement": 0.97, "id_within_a_pixel": 0.99}
"""Figures that must not be below these. Under a silhouette a pixel's one id may be the neighbour's; a pixel further the
right id is always there. The smaller the frame, the more of its pixels are silhouettes: see `least_agreement`."""
REFERENCE_SIDE = 256
"""Pixels of the frame's side from which on the bound of id_agreement holds as it stands."""


NEAR = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1)]


@dataclass(frozen=True)
class AnnotatedClip:
    """A clip's passes, its tracks, and Blender's own flow, ready to compare."""

    passes: Passes
    tracks: np.ndarray
    visible: np.ndarray
    query_frame: np.ndarray
    object_id: np.ndarray
    forward_flow: np.ndarray
    backward_flow: np.ndarray


def load_clip(folder: Path, config: TrackConfig | None = None) -> AnnotatedClip:
    """Read a clip folder and annotate it; raises ValueError when it is no complete clip or has no flow."""
    passes, metadata = read_passes(folder), read_metadata(folder)
    if not (folder / "flow.npz").is_file():
        raise ValueError(f"{folder}: rendered without Blender's flow; render the seed again with save_flow=true")
    rng = np.random.default_rng([metadata["recipe"]["base_seed"], metadata["seed"]])
    found = annotate(passes, config or TrackConfig(), rng)
    with np.load(folder / "flow.npz", allow_pickle=False) as file:
        flows = dict(file)
    return AnnotatedClip(passes, found.tracks, found.visible, found.query_frame, found.object_id, **flows)


def measure(clip: AnnotatedClip) -> dict[str, float]:
    """All figures of a clip: largest errors in pixels, relative depth error, shares (0 where nothing is to compare)."""
    at_query = clip.tracks[clip.query_frame, np.arange(clip.tracks.shape[1])].astype(np.float64)  # (N, 2)
    samples = other_samples(clip)
    num_samples = len(samples.t)
    return {
        "side": float(clip.passes.depth_m.shape[1]),
        "query_px": _largest(np.abs(at_query - np.floor(at_query) - 0.5)),
        "query_depth": _largest(query_depth_errors(clip)),
        "coordinates_px_p9999": _percentile(coordinate_errors(clip), 99.99),
        "forward_flow_px": _largest(flow_errors(clip, 1)),
        "backward_flow_px": _largest(flow_errors(clip, -1)),
        "num_other_samples": float(num_samples),
        "id_agreement": float(samples.agrees.mean()) if num_samples else 1.0,
        "id_within_a_pixel": float(samples.is_near.mean()) if num_samples else 1.0,
        "surface_px_p90": _percentile(samples.off_px[samples.agrees], 90),
    }


def pixel_of_query(clip: AnnotatedClip) -> tuple[np.ndarray, np.ndarray]:
    """Row and column (N,) of the pixels that the points were drawn from."""
    at_query = clip.tracks[clip.query_frame, np.arange(clip.tracks.shape[1])]
    column, row = np.floor(at_query).astype(int).T
    return row, column


def coordinate_errors(clip: AnnotatedClip) -> np.ndarray:
    """How far (n,) each object pixel's stored coordinate lands from its pixel's centre: all pixels of all frames."""
    passes, errors = clip.passes, []
    for frame in range(len(passes.depth_m)):
        row, column = np.nonzero(passes.segmentation[frame])
        world = surface_points(passes, np.full(len(row), frame), row, column)
        landed, _, _ = project(passes, world[None], slice(frame, frame + 1))
        errors.append(np.abs(landed[0] - np.stack([column, row], -1) - 0.5).max(-1, initial=0))
    return np.concatenate(errors)


def surface_points(passes: Passes, t: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """World positions (n, 3) of rendered pixels: objects by their coordinates in their box, background by depth."""
    world = back_project(passes, t, row, column)
    ids = passes.segmentation[t, row, column].astype(int)
    is_object = ids > 0
    if is_object.any():
        origin, axes = box_frames(passes.boxes[ids[is_object] - 1, t[is_object]])
        inside = passes.coordinates_at(t[is_object], row[is_object], column[is_object])
        world[is_object] = origin + np.einsum("nij,nj->ni", axes, inside)
    return world


def query_depth_errors(clip: AnnotatedClip) -> np.ndarray:
    """Relative difference (N,) of the points' distance and the rendered depth at their query."""
    row, column = pixel_of_query(clip)
    world = surface_points(clip.passes, clip.query_frame, row, column)
    distance = np.linalg.norm(world - clip.passes.camera_positions[clip.query_frame], axis=-1)
    return np.abs(distance / clip.passes.depth_m[clip.query_frame, row, column] - 1)


def flow_errors(clip: AnnotatedClip, step: int) -> np.ndarray:
    """Displacement (n, 2) of tracks from their query frame to the frame `step` later, less Blender's vectors there."""
    row, column = pixel_of_query(clip)
    flow = clip.forward_flow if step > 0 else clip.backward_flow
    number = np.flatnonzero((clip.query_frame + step >= 0) & (clip.query_frame + step < len(clip.tracks)))
    t = clip.query_frame[number]
    moved = (clip.tracks[t + step, number].astype(np.float64) - clip.tracks[t, number]) * step
    rendered = flow[t, row[number], column[number]]
    # Hidden points far outside are clamped when stored.
    is_near = np.abs(clip.tracks[t + step, number]).max(-1, initial=0) < 2 * clip.passes.depth_m.shape[1]
    return np.abs(moved - rendered)[is_near]


@dataclass(frozen=True)
class OtherSamples:
    """The visible samples of frames other than the query's, n of them."""

    t: np.ndarray
    number: np.ndarray
    agrees: np.ndarray
    """whether the pixel there has the track's id"""
    is_near: np.ndarray
    """whether it or one of its eight neighbours has"""
    off_px: np.ndarray
    """pixels from the track's point to the surface that is rendered there"""


def other_samples(clip: AnnotatedClip) -> OtherSamples:
    """Hold each visible sample of another frame against the ids and the surface rendered at its pixel."""
    passes = clip.passes
    is_other = clip.visible & (np.arange(len(clip.tracks))[:, None] != clip.query_frame)
    t, number = np.nonzero(is_other)
    limits = np.array(passes.depth_m.shape[:0:-1]) - 1
    column, row = np.clip(np.floor(clip.tracks[t, number]).astype(int), 0, limits).T
    around = [np.clip(row + y, 0, limits[1]) * (limits[0] + 1) + np.clip(column + x, 0, limits[0]) for y, x in NEAR]
    ids = passes.segmentation.reshape(len(passes.segmentation), -1)[t, np.array(around)]  # (9, n)
    query_row, query_column = pixel_of_query(clip)
    world = follow(passes, clip.query_frame, query_row, query_column, clip.object_id)[t, number]
    distance = np.linalg.norm(world - passes.camera_positions[t], axis=-1)
    here = surface_points(passes, t, row, column)
    return OtherSamples(
        t=t,
        number=number,
        agrees=passes.segmentation[t, row, column] == clip.object_id[number],
        is_near=(ids == clip.object_id[number]).any(0),
        off_px=np.linalg.norm(here - world, axis=-1) * passes.focal_px / distance,
    )


def _largest(errors: np.ndarray) -> float:
    return float(errors.max()) if errors.size else 0.0


def _percentile(values: np.ndarray, share: float) -> float:
    return float(np.percentile(values, share)) if values.size else 0.0


def violations(figures: dict[str, float]) -> list[str]:
    """One line per figure that is out of its bound; not-a-number counts as out."""
    lines = [
        f"{name} is {figures[name]:.4f}, the bound is {bound}"
        for name, bound in BOUNDS.items()
        if not figures[name] <= bound
    ]
    least = LEAST | {"id_agreement": least_agreement(figures["side"])}
    lines += [
        f"{name} is {figures[name]:.4f}, the bound is {bound:.4f}"
        for name, bound in least.items()
        if not figures[name] >= bound
    ]
    return lines


def least_agreement(side: float) -> float:
    """The bound of id_agreement for frames of a side: objects cover fewer pixels in small ones, and edges stay."""
    return 1 - (1 - LEAST["id_agreement"]) * max(1.0, REFERENCE_SIDE / side) ** 2
