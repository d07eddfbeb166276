"""Images of people that labels name: their place, their content, and a camera known by its focal length."""

from pathlib import Path, PurePosixPath

import numpy as np

from shards.codecs import decode_rgb


def place_of_image(folder: Path, name: str) -> Path:
    """The file of an image that labels name; ValueError for one that is not there or outside of the folder.

    Labels of Human3.6M say S1/images/..., and the images may lie in S1/... .
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"image {name!r} leads out of the folder of images")
    if relative.suffix == ".smc":
        raise ValueError(f"image {name}: take the images out of HuMMan's .smc files, and name these in image_path")
    for candidate in (relative, PurePosixPath(*(part for part in relative.parts if part != "images"))):
        if (folder / candidate).is_file():
            return folder / candidate
    raise ValueError(f"{folder / relative}: this image is missing; give the folder that it starts from with --images")


def read_image(path: Path) -> np.ndarray:
    """An image as (H, W, 3) uint8; ValueError that names it."""
    try:
        return decode_rgb(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def intrinsics_of_focal(focal_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """K (3, 3) of one or two focal lengths, the principal point in the middle of the image."""
    first, last = float(focal_px[0]), float(focal_px[-1])
    return np.array([[first, 0, width / 2], [0, last, height / 2], [0, 0, 1]])
