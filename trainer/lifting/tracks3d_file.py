"""tracks3d.npz, tracks in space, and the same as a PLY file that viewers of point clouds open.

Legend: N points, T frames.
"""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from eval.predictions import write_array
from shards.files import appearing, write_bytes
from shards.film import point_colours

FORMAT = "frameline-tracks3d/1"
AXES = ("camera", "world")


@dataclass(frozen=True, kw_only=True)
class SpaceTracks:
    """points_m (N, T, 3) float32 in metres, NaN where not `lifted`; lifted, at_edge and visible (N, T) bool; axes:
    "world", or "camera" (x right, y down, z forward) of each frame; start_frame: number in the video of the first."""

    points_m: np.ndarray
    lifted: np.ndarray
    at_edge: np.ndarray
    visible: np.ndarray
    axes: str
    start_frame: int


def write_tracks3d(path: Path, tracks: SpaceTracks) -> None:
    """Write a tracks3d.npz that appears whole or not at all; equal tracks give equal bytes."""
    with appearing(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        write_array(archive, "format", np.array(FORMAT))
        for name, value in vars(tracks).items():
            write_array(archive, name, np.asarray(value))


def read_tracks3d(path: str | Path) -> SpaceTracks:
    """Read a tracks3d.npz; raises FileNotFoundError, and ValueError for another file or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zipfile.zlib.error) as error:
        raise ValueError(f"{path}: not a readable tracks3d.npz ({error}); lift again") from None
    missing = {field.name for field in fields(SpaceTracks)} - found.keys()
    if str(found.pop("format", None)) != FORMAT or missing:
        raise ValueError(f"{path}: not a file of format {FORMAT}; lift again")
    axes, start_frame = str(found.pop("axes")), int(found.pop("start_frame"))
    shape = found["visible"].shape
    masks_fit = all(found[name].shape == shape for name in ("lifted", "at_edge"))
    if len(shape) != 2 or found["points_m"].shape != (*shape, 3) or not masks_fit or axes not in AXES:
        raise ValueError(f"{path}: points {found['points_m'].shape} and visible {shape} do not fit; lift again")
    return SpaceTracks(**found, axes=axes, start_frame=start_frame)


def write_ply(path: Path, tracks: SpaceTracks) -> None:
    """Write lifted positions as coloured vertices, and edges between the positions of a point in frames that follow.

    Binary PLY 1.0: vertex x y z (float, metres), red green blue (uchar); edge vertex1 vertex2 (int).
    """
    number = np.full(tracks.lifted.shape, -1, "<i4")  # (N, T)
    number[tracks.lifted] = np.arange(tracks.lifted.sum())
    colours = np.array(point_colours(len(number)), np.uint8).reshape(-1, 3)
    vertex = np.empty(tracks.lifted.sum(), [("position", "<f4", 3), ("colour", "u1", 3)])
    vertex["position"] = tracks.points_m[tracks.lifted]
    vertex["colour"] = colours[np.nonzero(tracks.lifted)[0]]
    follow = tracks.lifted[:, :-1] & tracks.lifted[:, 1:]
    edge = np.stack([number[:, :-1][follow], number[:, 1:][follow]], axis=1)
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {tracks.axes} axes, metres",
        f"element vertex {len(vertex)}",
        *(f"property float {name}" for name in "xyz"),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element edge {len(edge)}",
        *(f"property int vertex{end}" for end in (1, 2)),
        "end_header\n",
    ]
    write_bytes(path, "\n".join(header).encode() + vertex.tobytes() + edge.tobytes())
