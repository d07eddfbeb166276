"""Dynamic Replica: frame_annotations_<split>.jgz, images, depths and trajectories/*.pth, in CO3D's manner.

Facts are those of facebookresearch/dynamic_stereo (datasets/dynamic_stereo_datasets.py): depth PNGs hold the bits of
float16, z along the camera's axis, 0 where there is none; cameras are PyTorch3D's (x left, y up, row vectors:
x_camera = x_world R + T), intrinsics in its NDC. A trajectory file of a frame, of the left camera only, has traj_2d
(N, 3), of which x and y are read, verts_inds_vis (N,) and img (H, W, 3); the same N points in every frame.

Assumption: traj_2d is PyTorch3D's screen space, which is raster convention (nothing published says so). Legend: T
frames, N points, H W pixels.
"""

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.files import write_bytes
from shards.layouts.camera import (
    camera_metadata,
    distance_from_z,
    intrinsics_of,
    world_to_camera_of,
    z_from_distance,
)
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import clean_name, naming, new_sequence, read_codes, read_frames
from shards.members import encode_png
from shards.torchfile import load_torch, save_torch

PYTORCH3D_TO_HERE = np.diag([-1.0, -1.0, 1.0])
CAMERA = "left"


def read_dynamic_replica(path: Path, choice: Choice = WHOLE) -> Iterator[Clip]:
    """Dynamic Replica: a frame_annotations_<split>.jgz, or the folder that holds it; the left camera, with tracks.

    A track that is not finite in every frame of a clip is left out of it, and metadata["num_dropped_tracks"] counts
    them; a point outside the picture is not visible. z becomes the distance to the camera's centre.
    """
    index = _find_index(path)
    for name, rows in _read_sequences(index).items():
        with naming(index, f"sequence {name!r}"):
            ranges = choice.ranges(len(rows))
        for chosen in ranges:
            with naming(index, f"sequence {name!r}"):
                key = choice.name(clean_name(name), chosen)
                clip = _make_clip(key, rows[chosen.start : chosen.stop], _base(index, rows[0]), chosen, choice)
            yield clip


def _find_index(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = sorted(path.glob("frame_annotations_*.jgz"))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ValueError(f"{path}: expected one frame_annotations_<split>.jgz in it, found {names}; give the file")
    return found[0]


def _read_sequences(index: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of the left camera (or of one without a name) by sequence, in the order of their frames."""
    try:
        with gzip.open(index, "rt", encoding="utf-8") as file:
            content = json.load(file)
    except (EOFError, zlib.error, ValueError, gzip.BadGzipFile) as error:
        raise ValueError(f"{index}: not whole gzipped JSON ({error}); fetch it again") from None
    sequences: dict[str, list[dict[str, Any]]] = {}
    with naming(index):
        for row in content:
            if row.get("camera_name") in (CAMERA, None):
                sequences.setdefault(str(row["sequence_name"]), []).append(row)
        for name, rows in sequences.items():
            rows.sort(key=lambda row: row["frame_number"])
            numbers = [row["frame_number"] for row in rows]
            if numbers != list(range(len(rows))):
                raise ValueError(f"sequence {name!r}: frames {numbers[:9]}... are not 0, 1, 2, ...")
    if not sequences:
        raise ValueError(f"{index}: lists no frame of the {CAMERA} camera")
    return sequences


def _base(index: Path, row: dict[str, Any]) -> Path:
    """The folder that paths start from: the list's own, or the one of its split beside it."""
    split = index.parent / index.name.removeprefix("frame_annotations_").removesuffix(".jgz")
    image = row["image"]["path"]
    return split if not (index.parent / image).is_file() and (split / image).is_file() else index.parent


def _locate(base: Path, row: dict[str, Any], kind: str) -> Path:
    inner = PurePosixPath(row[kind]["path"])
    if inner.is_absolute() or ".." in inner.parts:
        raise ValueError(f"path {str(inner)!r} leads out of the data set")
    if not (base / inner).is_file():
        raise ValueError(f"{base / inner}: not there")
    return base / inner


def _make_clip(key: str, rows: list[dict[str, Any]], base: Path, chosen: range, choice: Choice) -> Clip:
    if any(not row.get("trajectories") for row in rows):
        raise ValueError("a frame has no trajectories, which this split may lack; 0 tracks")
    video = read_frames([_locate(base, row, "image") for row in rows])
    height, width = video.shape[1:3]
    tracks, visible = _read_tracks([_locate(base, row, "trajectories") for row in rows])
    is_kept = np.isfinite(tracks).all((0, 2))
    visible &= (tracks >= 0).all(-1) & (tracks <= (width, height)).all(-1)
    metadata: dict[str, Any] = {
        "source": "dynamic_replica",
        "frames": [chosen.start, chosen.stop],
        "num_dropped_tracks": int((~is_kept).sum()),
    }
    depth_m = None
    if all(row.get("viewpoint") for row in rows):
        intrinsics = np.stack([_intrinsics(row["viewpoint"], height, width) for row in rows])
        transforms = np.stack([_world_to_camera(row["viewpoint"]) for row in rows])
        metadata["camera"] = camera_metadata(intrinsics, transforms)
    if choice.with_depth and all(row.get("depth") for row in rows):
        if "camera" not in metadata:
            raise ValueError("has depth and no viewpoint; use --no-depth")
        depth_m = _read_depth([_locate(base, row, "depth") for row in rows], intrinsics)
    return Clip(
        key=key,
        video=video,
        tracks=np.ascontiguousarray(tracks[:, is_kept]),
        visible=np.ascontiguousarray(visible[:, is_kept]),
        depth_m=depth_m,
        metadata=metadata,
    )


def _read_tracks(paths: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (T, N, 2) and visible (T, N) of the files of all frames."""
    tracks, visible = [], []
    for path in paths:
        with naming(path):
            content = load_torch(path)
            points, seen = np.asarray(content["traj_2d"]), np.asarray(content["verts_inds_vis"])
            if points.ndim != 2 or points.shape[1] not in (2, 3) or seen.shape != points.shape[:1] or not len(points):
                raise ValueError(f"traj_2d {points.shape} and verts_inds_vis {seen.shape}, expected (N, 3) and (N,)")
            if tracks and len(points) != len(tracks[0]):
                raise ValueError(f"has {len(points)} tracks, the first frame has {len(tracks[0])}")
            tracks.append(points[:, :2].astype(np.float32))
            visible.append(seen != 0)
    return np.stack(tracks), np.stack(visible)


def _read_depth(paths: list[Path], intrinsics: np.ndarray) -> np.ndarray:
    z = read_codes(paths).view(np.float16).astype(np.float32)
    is_bad = ~(np.isfinite(z) & (z > 0))
    if is_bad.any():
        t = int(is_bad.any((1, 2)).argmax())
        raise ValueError(f"{paths[t]}: {int(is_bad[t].sum())} pixels have no depth; use --no-depth")
    return distance_from_z(z, intrinsics)


def _intrinsics(viewpoint: dict[str, Any], height: int, width: int) -> np.ndarray:
    """PyTorch3D's NDC -> K (3, 3) in raster pixels."""
    half = np.array([width, height]) / 2
    layout = str(viewpoint["intrinsics_format"]).lower()
    if layout not in ("ndc_isotropic", "ndc_norm_image_bounds"):
        raise ValueError(f"intrinsics of format {layout!r}")
    rescale = half if layout == "ndc_norm_image_bounds" else half.min()
    focal = np.asarray(viewpoint["focal_length"], np.float64) * rescale
    centre = half - np.asarray(viewpoint["principal_point"], np.float64) * rescale
    return np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])


def _world_to_camera(viewpoint: dict[str, Any]) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = PYTORCH3D_TO_HERE @ np.asarray(viewpoint["R"], np.float64).T
    transform[:3, 3] = PYTORCH3D_TO_HERE @ np.asarray(viewpoint["T"], np.float64)
    return transform


def write_dynamic_replica(clips: Iterable[Clip], out: Path) -> int:
    """Write one split, out/frame_annotations_<name of out>.jgz, which comes last; returns the number of clips.

    Depth becomes z as float16 (11 bits of precision) and needs a camera in the clip's metadata. The third column of
    traj_2d is NaN, and traj_3d_world and instances are left out: a clip does not know them.
    """
    rows: list[dict[str, Any]] = []
    num_clips = 0
    for clip in clips:
        rows += _write_sequence(clip, out)
        num_clips += 1
    content = gzip.compress(json.dumps(rows).encode(), mtime=0)
    write_bytes(out / f"frame_annotations_{out.resolve().name}.jgz", content)
    return num_clips


def _write_sequence(clip: Clip, out: Path) -> list[dict[str, Any]]:
    name, rows = f"{clip.key}_{CAMERA}", []
    views, z = _viewpoints(clip), _z_bits(clip)
    with new_sequence(out, name) as folder:
        for kind in ("images", "trajectories", *(["depths"] if z is not None else [])):
            (folder / kind).mkdir()
        for t, frame in enumerate(clip.video):
            files = {"image": f"images/{name}-{t:04d}.png", "trajectories": f"trajectories/{t:06d}.pth"}
            (folder / files["image"]).write_bytes(encode_png(frame))
            points = np.concatenate([clip.tracks[t], np.full((clip.tracks.shape[1], 1), np.nan, np.float32)], 1)
            content = {"traj_2d": points, "verts_inds_vis": clip.visible[t], "img": frame}
            save_torch(folder / files["trajectories"], content)
            if z is not None:
                files["depth"] = f"depths/{name}_{t:04d}.geometric.png"
                (folder / files["depth"]).write_bytes(encode_png(z[t]))
            rows.append(
                {
                    "sequence_name": clip.key,
                    "frame_number": t,
                    "frame_timestamp": t / 30,
                    "camera_name": CAMERA,
                    "viewpoint": views[t] if views else None,
                    **{kind: {"path": f"{name}/{file}"} for kind, file in files.items()},
                }
            )
            rows[-1]["image"]["size"] = list(clip.video.shape[1:3])
    return rows


def _viewpoints(clip: Clip) -> list[dict[str, Any]] | None:
    intrinsics, transforms = intrinsics_of(clip), world_to_camera_of(clip)
    if intrinsics is None or transforms is None:
        return None
    half = np.array(clip.video.shape[2:0:-1]) / 2
    views = []
    for k, transform in zip(intrinsics, transforms, strict=True):
        views.append(
            {
                "R": (PYTORCH3D_TO_HERE @ transform[:3, :3]).T.tolist(),
                "T": (PYTORCH3D_TO_HERE @ transform[:3, 3]).tolist(),
                "focal_length": (np.array([k[0, 0], k[1, 1]]) / half.min()).tolist(),
                "principal_point": ((half - k[:2, 2]) / half.min()).tolist(),
                "intrinsics_format": "ndc_isotropic",
            }
        )
    return views


def _z_bits(clip: Clip) -> np.ndarray | None:
    """Depth along the axis as float16 in the bits of uint16, (T, H, W)."""
    if clip.depth_m is None:
        return None
    intrinsics = intrinsics_of(clip)
    if intrinsics is None or world_to_camera_of(clip) is None:
        raise ValueError(f"clip {clip.key}: depth along the axis needs a camera in the metadata; use --no-depth")
    z = z_from_distance(clip.depth_m, intrinsics)
    if z.min() < np.finfo(np.float16).tiny or z.max() > np.finfo(np.float16).max:
        raise ValueError(f"clip {clip.key}: z of {z.min()} to {z.max()} m does not fit float16; use --no-depth")
    return z.astype(np.float16).view(np.uint16)
