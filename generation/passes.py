"""From the files that Blender writes to arrays over time.

Renderer side. Legend: T frames, H W pixels, K bodies of the scene.
"""

from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from generation.exr import CRYPTOMATTE, Layers
from generation.motion import DegenerateSceneError
from generation.renderer import ANNOTATION_FOLDER, IMAGE_FOLDER, PICTURE_FOLDER

FARTHEST_M = 1e9
"""Blender gives 1e10 where a ray meets nothing; inside the dome every ray meets something."""


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """All frames of a clip as they come out of Blender."""

    frames: np.ndarray
    """(T, H, W, 3) uint8"""
    depth_m: np.ndarray
    """(T, H, W) float32: distance to the camera's centre"""
    hashes: np.ndarray
    """(T, H, W) uint32: cryptomatte's hash of the object's name"""
    coordinates: np.ndarray
    """(T, H, W, 3) float32 in the object's box, 0..1"""
    normals: np.ndarray
    """(T, H, W, 3) float32, world space"""
    forward_flow: np.ndarray | None
    """(T, H, W, 2) float32 (x, y) pixels: p(t+1) - p(t)"""
    backward_flow: np.ndarray | None
    """(T, H, W, 2) float32 (x, y) pixels: p(t) - p(t-1)"""


def read_rendered(scratch: Path, num_frames: int, focal_px: float, with_flow: bool) -> Rendered:
    """Read the scratch folder; raises DegenerateSceneError when files are missing or a picture makes no sense."""
    images, pictures, annotations = (
        sorted((scratch / name).glob("*")) for name in (IMAGE_FOLDER, PICTURE_FOLDER, ANNOTATION_FOLDER)
    )
    written = min(len(images), len(pictures), len(annotations))
    if written != num_frames:
        raise DegenerateSceneError(f"Blender wrote {written} of {num_frames} frames")
    frames = np.stack([iio.imread(path)[..., :3] for path in images])
    stacks: dict[str, list[np.ndarray]] = {}
    for picture, annotation in zip(pictures, annotations, strict=True):
        layers = Layers(annotation)
        parts = {
            "z": Layers(picture).read("Depth", "V")[..., 0],
            "hashes": layers.read(CRYPTOMATTE, "R")[..., 0].view(np.uint32),
            "coordinates": layers.read("ObjectCoordinates", "RGB").clip(0, 1),
            "normals": layers.read("Normal", "XYZ"),
        }
        if with_flow:
            parts["forward_flow"], parts["backward_flow"] = layers.flow()
        for name, part in parts.items():
            stacks.setdefault(name, []).append(part)
    arrays = {name: np.stack(parts) for name, parts in stacks.items()}
    if not (arrays["z"] < FARTHEST_M).all():
        raise DegenerateSceneError("some rays meet nothing")
    if frames.max() == 0:
        raise DegenerateSceneError("all frames are black")
    return Rendered(
        frames=frames,
        depth_m=z_to_distance(arrays.pop("z"), focal_px),
        forward_flow=arrays.pop("forward_flow", None),
        backward_flow=arrays.pop("backward_flow", None),
        **arrays,
    )


def z_to_distance(z: np.ndarray, focal_px: float) -> np.ndarray:
    """Distance to the camera's centre (..., H, W) float32 from the distance to its plane, at the pixels' centres."""
    height, width = z.shape[-2:]
    x = (np.arange(width) + 0.5 - width / 2) / focal_px
    y = (np.arange(height) + 0.5 - height / 2) / focal_px
    return (z * np.sqrt(1 + x**2 + y[:, None] ** 2)).astype(np.float32)


def number_instances(hashes: np.ndarray, hash_of_body: list[int]) -> tuple[np.ndarray, list[int]]:
    """Ids (T, H, W) uint8 and the bodies' indices in the order of their ids: most visible pixels first, from 1.

    Bodies that are never seen get no id; 0 is the background.
    """
    counts = [int((hashes == value).sum()) for value in hash_of_body]
    order = [index for index in sorted(range(len(counts)), key=lambda i: (-counts[i], i)) if counts[index]]
    segmentation = np.zeros(hashes.shape, np.uint8)
    for number, index in enumerate(order, start=1):
        segmentation[hashes == hash_of_body[index]] = number
    return segmentation, order
