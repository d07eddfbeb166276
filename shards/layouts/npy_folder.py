"""<sequence>/frames and <sequence>/<sequence>.npy: the training layout of LBM, and of CoTracker3's Kubric data.

The npy is a pickled dictionary: coords (N, T, 2) raster pixels as Kubric annotates them, and `visibility` (N, T), which
holds OCCLUSION (true is hidden). LBM asserts 24 frames when it trains; CoTracker3's Kubric release has sequences of
120 frames, 512 x 512, with 2048 tracks. Neither is enforced here.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.depth import metres, quantise
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import (
    clean_name,
    list_images,
    list_sequences,
    naming,
    new_sequence,
    read_codes,
    read_frames,
)
from shards.members import encode_png
from shards.unpickle import load_npy_object


def read_lbm_folders(path: Path, choice: Choice = WHOLE) -> Iterator[Clip]:
    """LBM's training layout: <path>/<seq>/frames/*.png, <seq>/<seq>.npy, and depths/*.png where their scale is known.

    LBM's npy says nothing of the scale of depths/: they are read only where it has our own entry `depth_range`.
    """
    return _read_folders(path, choice, "lbm_folder")


def read_cotracker3_kubric(path: Path, choice: Choice = WHOLE) -> Iterator[Clip]:
    """CoTracker3's Kubric data: <path>/<seq>/frames/*.png or *.jpg and <seq>/<seq>.npy; it has no depth."""
    return _read_folders(path, choice, "cotracker3_kubric")


def _read_folders(path: Path, choice: Choice, layout: str) -> Iterator[Clip]:
    for folder in list_sequences(path, "frames"):
        with naming(folder):
            annotation = _read_annotation(folder)
            frames = list_images(folder / "frames")
            tracks, visible = _read_tracks(annotation, folder, len(frames))
            ranges = choice.ranges(len(frames))
            has_depth = layout == "lbm_folder" and choice.with_depth and "depth_range" in annotation
            codes = list_images(folder / "depths") if has_depth else []
            if has_depth and len(codes) != len(frames):
                raise ValueError(f"{folder / 'depths'}: {len(codes)} files for {len(frames)} frames")
        for chosen in ranges:
            part = slice(chosen.start, chosen.stop)
            cut = {} if len(chosen) == len(frames) else {"frames": [chosen.start, chosen.stop]}
            with naming(folder):
                clip = Clip(
                    key=choice.name(clean_name(folder.name), chosen),
                    video=read_frames(frames[part]),
                    tracks=tracks[part],
                    visible=visible[part],
                    depth_m=metres(read_codes(codes[part]), *_range_of(annotation)) if has_depth else None,
                    metadata={"source": layout} | cut,
                )
            yield clip


def _read_annotation(folder: Path) -> dict[str, Any]:
    path = folder / f"{folder.name}.npy"
    if not path.is_file():
        raise ValueError(f"{path}: not there; the annotation has the name of its folder")
    annotation = load_npy_object(path)
    if not isinstance(annotation, dict) or not {"coords", "visibility"} <= annotation.keys():
        raise ValueError(f"{path}: expected a dictionary with coords and visibility")
    return annotation


def _read_tracks(annotation: dict[str, Any], folder: Path, num_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Tracks (T, N, 2) and visible (T, N)."""
    coords, is_hidden = np.asarray(annotation["coords"]), np.asarray(annotation["visibility"])
    if coords.ndim != 3 or coords.shape[1:] != (num_frames, 2) or is_hidden.shape != coords.shape[:2]:
        raise ValueError(
            f"{folder / folder.name}.npy: coords {coords.shape} and visibility {is_hidden.shape}, "
            f"expected (N, {num_frames}, 2) and (N, {num_frames}) for the {num_frames} frames"
        )
    if not len(coords):
        raise ValueError(f"{folder / folder.name}.npy: has 0 tracks")
    tracks = np.ascontiguousarray(coords.transpose(1, 0, 2), np.float32)
    return tracks, ~np.ascontiguousarray(is_hidden.T, bool)


def _range_of(annotation: dict[str, Any]) -> tuple[float, float]:
    low, high = (float(value) for value in annotation["depth_range"])
    return low, high


def write_lbm_folders(clips: Iterable[Clip], out: Path) -> int:
    """Write LBM's training layout; returns the number of clips.

    depths/ are 16-bit codes over the clip's own range, which LBM ignores; the range is an entry of its own in the npy.
    """
    return sum(_write_folder(clip, out, has_depth=clip.depth_m is not None) for clip in clips)


def write_cotracker3_kubric(clips: Iterable[Clip], out: Path) -> int:
    """Write the layout of CoTracker3's Kubric data, which has no place for depth; returns the number of clips."""
    return sum(_write_folder(clip, out, has_depth=False) for clip in clips)


def _write_folder(clip: Clip, out: Path, *, has_depth: bool) -> int:
    annotation: dict[str, Any] = {
        "coords": np.ascontiguousarray(clip.tracks.transpose(1, 0, 2)),
        "visibility": np.ascontiguousarray(~clip.visible.T),
    }
    with new_sequence(out, clip.key) as folder:
        _write_images(folder / "frames", clip.video)
        if has_depth:
            codes, low, high = quantise(clip.depth_m)
            _write_images(folder / "depths", codes)
            annotation["depth_range"] = [low, high]
        np.save(folder / f"{clip.key}.npy", np.array(annotation, dtype=object), allow_pickle=True)
    return 1


def _write_images(folder: Path, images: np.ndarray) -> None:
    folder.mkdir()
    for t, image in enumerate(images):
        (folder / f"{t:03d}.png").write_bytes(encode_png(image))
