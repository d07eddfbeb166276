"""PointOdyssey: rgbs/rgb_00000.jpg, depths/depth_00000.png and anno.npz in a folder of each sequence.

Facts are those of y-zheng18/point_odyssey (utils/reprojection.py, utils/gen_tracking.py): depth is z along the camera's
axis, metres = code / 65535 * 1000 (a step of 15 mm); extrinsics (T, 4, 4) take the world to a camera with x right, y
down, z forward; points are projected with intrinsics (T, 3, 3) and looked up at the floor of their position, which is
raster convention, so that positions are taken as they are. Legend: T frames, N points.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from shards.clip import Clip
from shards.layouts.camera import (
    camera_metadata,
    distance_from_z,
    intrinsics_of,
    world_to_camera_of,
    z_from_distance,
)
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import (
    clean_name,
    list_images,
    list_sequences,
    naming,
    new_sequence,
    read_codes,
    read_frames,
    read_npz,
)
from shards.members import encode_png

ANNOTATION = "anno.npz"
LEVELS, FARTHEST_M = 65535, 1000.0
JPEG_QUALITY = 95
SHAPES = {
    "trajs_2d": (None, 2),
    "visibs": (None,),
    "valids": (None,),
    "intrinsics": (3, 3),
    "extrinsics": (4, 4),
}
"""Shape behind the frames; None stands for N."""


def read_point_odyssey(path: Path, choice: Choice = WHOLE) -> Iterator[Clip]:
    """PointOdyssey: <path>/<seq>/rgbs, depths and anno.npz; long sequences are read a window at a time.

    A track that is not finite or not valid in every frame of a clip is left out of that clip, and
    metadata["num_dropped_tracks"] counts them. z becomes the distance to the camera's centre.
    """
    for folder in list_sequences(path, ANNOTATION):
        annotation = _read_annotation(folder / ANNOTATION)
        num_frames = len(annotation["trajs_2d"])
        frames = _list_frames(folder / "rgbs", "rgb_", num_frames)
        with_depth = choice.with_depth and (folder / "depths").is_dir()
        depths = _list_frames(folder / "depths", "depth_", num_frames) if with_depth else []
        with naming(folder):
            ranges = choice.ranges(num_frames)
        for chosen in ranges:
            part = slice(chosen.start, chosen.stop)
            with naming(folder):
                clip = _make_clip(
                    choice.name(clean_name(folder.name), chosen),
                    {name: array[part] for name, array in annotation.items()},
                    frames[part],
                    depths[part],
                    chosen,
                )
            yield clip


def _read_annotation(path: Path) -> dict[str, np.ndarray]:
    arrays = read_npz(path, list(SHAPES))
    num_frames, num_points = arrays["trajs_2d"].shape[:2] if arrays["trajs_2d"].ndim == 3 else (0, 0)
    for name, tail in SHAPES.items():
        expected = (num_frames, *(num_points if length is None else length for length in tail))
        if arrays[name].shape != expected or not num_frames:
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, expected (T, N, 2) and others to fit it")
    if not num_points:
        raise ValueError(f"{path}: has 0 tracks")
    return arrays


def _list_frames(folder: Path, start: str, num_frames: int) -> list[Path]:
    files = list_images(folder, start)
    if len(files) != num_frames:
        raise ValueError(f"{folder}: {len(files)} frames, and {ANNOTATION} has {num_frames}")
    return files


def _make_clip(
    key: str, annotation: dict[str, np.ndarray], frames: list[Path], depths: list[Path], chosen: range
) -> Clip:
    tracks = annotation["trajs_2d"].astype(np.float32)
    is_kept = np.isfinite(tracks).all((0, 2)) & (annotation["valids"] != 0).all(0)  # (N,)
    intrinsics, extrinsics = (annotation[name].astype(np.float64) for name in ("intrinsics", "extrinsics"))
    has_camera = np.isfinite(intrinsics).all() and np.isfinite(extrinsics).all()
    return Clip(
        key=key,
        video=read_frames(frames),
        tracks=np.ascontiguousarray(tracks[:, is_kept]),
        visible=np.ascontiguousarray(annotation["visibs"][:, is_kept] != 0),
        depth_m=_read_depth(depths, intrinsics) if depths else None,
        metadata={
            "source": "point_odyssey",
            "frames": [chosen.start, chosen.stop],
            "num_dropped_tracks": int((~is_kept).sum()),
            **({"camera": camera_metadata(intrinsics, extrinsics)} if has_camera else {}),
        },
    )


def _read_depth(paths: list[Path], intrinsics: np.ndarray) -> np.ndarray:
    codes = read_codes(paths)
    if not codes.all():
        t = int((codes == 0).any((1, 2)).argmax())
        raise ValueError(f"{paths[t]}: {int((codes[t] == 0).sum())} pixels have no depth (code 0); use --no-depth")
    return distance_from_z(codes * (FARTHEST_M / LEVELS), intrinsics)


def write_point_odyssey(clips: Iterable[Clip], out: Path) -> int:
    """Write PointOdyssey's layout; returns the number of clips.

    Frames become JPEGs (quality 95), depth codes of 15 mm that end at 1000 m. trajs_3d (T, N, 3) is NaN: a clip does
    not know it. A clip without a camera in its metadata has NaN intrinsics and extrinsics, and may have no depth.
    Raises ValueError for that, and for depth that does not fit the codes.
    """
    return sum(_write_sequence(clip, out) for clip in clips)


def _write_sequence(clip: Clip, out: Path) -> int:
    num_frames, num_points = clip.visible.shape
    intrinsics, extrinsics = intrinsics_of(clip), world_to_camera_of(clip)
    with new_sequence(out, clip.key) as folder:
        (folder / "rgbs").mkdir()
        for t, frame in enumerate(clip.video):
            Image.fromarray(frame).save(folder / "rgbs" / f"rgb_{t:05d}.jpg", "jpeg", quality=JPEG_QUALITY)
        if clip.depth_m is not None:
            if intrinsics is None:
                raise ValueError(f"clip {clip.key}: depth along the axis needs a camera's intrinsics; use --no-depth")
            (folder / "depths").mkdir()
            for t, codes in enumerate(_encode_depth(clip, intrinsics)):
                (folder / "depths" / f"depth_{t:05d}.png").write_bytes(encode_png(codes))
        np.savez_compressed(
            folder / ANNOTATION,
            trajs_2d=clip.tracks,
            trajs_3d=np.full((num_frames, num_points, 3), np.nan, np.float32),
            visibs=clip.visible,
            valids=np.ones((num_frames, num_points), bool),
            intrinsics=np.full((num_frames, 3, 3), np.nan) if intrinsics is None else intrinsics,
            extrinsics=np.full((num_frames, 4, 4), np.nan) if extrinsics is None else extrinsics,
        )
    return 1


def _encode_depth(clip: Clip, intrinsics: np.ndarray) -> np.ndarray:
    codes = np.rint(z_from_distance(clip.depth_m, intrinsics).astype(np.float64) * (LEVELS / FARTHEST_M))
    if codes.min() < 1 or codes.max() > LEVELS:
        nearest, farthest = codes.min() * FARTHEST_M / LEVELS, codes.max() * FARTHEST_M / LEVELS
        raise ValueError(
            f"clip {clip.key}: z of {nearest:.3f} to {farthest:.3f} m "
            f"does not fit codes of 0.015 to {FARTHEST_M:.0f} m; use --no-depth"
        )
    return codes.astype(np.uint16)
