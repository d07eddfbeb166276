"""Read a rendered clip folder back, as the annotator and the checks need it."""

import json
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from generation.annotate import Passes
from generation.folder import FORMAT, LEVELS, REMAINDERS
from generation.geometry import box_corners, rotation_matrices


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished clip; ValueError with the next command where there is none of this format."""
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    except FileNotFoundError:
        raise ValueError(f"{folder}: no complete clip (manifest.json is missing); render it again") from None
    except ValueError as error:
        raise ValueError(
            f"{folder / 'manifest.json'}: not JSON ({error}); delete {folder} and render it again"
        ) from None
    if manifest.get("format") != FORMAT:
        raise ValueError(f"{folder}: format {manifest.get('format')!r}, expected {FORMAT!r}; render it again")
    return manifest


def read_metadata(folder: Path) -> dict[str, Any]:
    """The content of metadata.json of a finished clip."""
    read_manifest(folder)
    return json.loads((folder / "metadata.json").read_bytes())


def read_images(folder: Path) -> np.ndarray:
    """All images of a folder of a clip, (T, H, W[, 3])."""
    return np.stack([iio.imread(path) for path in sorted(folder.glob("*.png"))])


def read_depth(folder: Path, metadata: dict[str, Any], remainder: np.ndarray | float = 0.0) -> np.ndarray:
    """Distance to the camera's centre (T, H, W) float32, metres; finer with the remainder (T, H, W) of passes.npz."""
    low, high = metadata["depth_range"]
    codes = read_images(folder / "depths") + remainder / REMAINDERS
    return (low + codes * ((high - low) / LEVELS)).astype(np.float32)


def read_passes(folder: Path) -> Passes:
    """What the annotator needs of a clip; ValueError where a file is missing or damaged."""
    metadata = read_metadata(folder)
    camera = metadata["camera"]
    num_frames = len(camera["positions"])
    boxes = [
        box_corners(*(np.array(body[name]) for name in ("bounds", "positions", "quaternions_wxyz")))
        for body in metadata["instances"]
    ]
    try:
        with np.load(folder / "passes.npz", allow_pickle=False) as file:
            kept = dict(file)
        depth_m, segmentation = (
            read_depth(folder, metadata, kept["depth_remainder"]),
            read_images(folder / "segmentations"),
        )
    except Exception as error:  # damaged archives and images raise anything
        raise ValueError(f"{folder}: cannot be read ({error}); delete it and render it again") from None
    if not len(depth_m) == len(segmentation) == len(kept["normals"]) == num_frames:
        raise ValueError(f"{folder}: not all of its {num_frames} frames are there; delete it and render it again")
    return Passes(
        depth_m=depth_m,
        segmentation=segmentation,
        coordinates=kept["object_coordinates"],
        normals=kept["normals"],
        boxes=np.array(boxes).reshape(-1, num_frames, 8, 3),
        camera_positions=np.array(camera["positions"]),
        camera_rotations=rotation_matrices(np.array(camera["quaternions_wxyz"])),
        focal_px=camera["focal_px"],
    )
