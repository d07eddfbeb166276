"""What is around a drawn person: panoramas of real places (the HDRIs of an asset pack), seen from each camera."""

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

FORMAT = "frameline-panoramas/1"
LARGEST = 1 << 30
"""Bytes of all panoramas of a file together."""
AGAIN = "make it again: python -m generation panoramas --out FILE (or: snakemake FILE)"


@dataclass(frozen=True, kw_only=True, eq=False)
class Panoramas:
    """Pictures of all directions, by split: those of `test` are in no training data."""

    digest: str
    """16 hex digits of the file: what a recipe says of them"""
    pictures: dict[str, np.ndarray]
    """(H, W, 3) uint8 by name: columns are around, the middle one ahead; rows from straight up to straight down"""
    splits: dict[str, tuple[str, ...]]

    def of_split(self, split: str) -> tuple[str, ...]:
        """Names of the panoramas of a split; ValueError where it has none."""
        if not self.splits.get(split):
            raise ValueError(f"there is no panorama of the split '{split}' in this file; {AGAIN}")
        return self.splits[split]


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """One panorama, turned about the vertical."""

    name: str
    picture: np.ndarray
    """(H, W, 3) uint8"""
    turn: float
    """Radians"""

    def seen_along(self, rays: np.ndarray) -> np.ndarray:
        """Colours (H, W, 3) float32 of 1 where rays (H, W, 3) in the person's axes (y down) go, of any length."""
        height, width = self.picture.shape[:2]
        around = np.arctan2(rays[..., 0], rays[..., 2]) + self.turn
        down = np.arctan2(rays[..., 1], np.hypot(rays[..., 0], rays[..., 2]))
        column = (around / (2 * np.pi) + 0.5) % 1 * width - 0.5  # of OpenCV: whole numbers are centres of pixels
        row = ((down / np.pi + 0.5) * height - 0.5).clip(0, height - 1)
        # The first and last columns are neighbours: one of each more, so that nothing is read over the edge.
        wide = cv2.copyMakeBorder(self.picture, 0, 0, 1, 1, cv2.BORDER_WRAP)
        seen = cv2.remap(wide, (column + 1).astype(np.float32), row.astype(np.float32), cv2.INTER_LINEAR)
        return seen.astype(np.float32) / 255


def read_panoramas(path: Path) -> Panoramas:
    """Read what `python -m generation panoramas` wrote; ValueError that names the file for anything else."""
    if not path.is_file():
        raise ValueError(f"{path}: there are no panoramas; {AGAIN}")
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST:
                raise ValueError("it is too large")
        with np.load(path, allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            if about["format"] != FORMAT:
                raise ValueError("another format")
            splits = {split: tuple(about[split]) for split in ("train", "test")}
            names = sorted(name for split in splits.values() for name in split)
            pictures = {name: archive[f"panorama/{name}"] for name in names}
        for name, picture in pictures.items():
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or min(picture.shape) == 0:
                raise ValueError(f"{name} is {picture.shape} {picture.dtype}, expected (H, W, 3) uint8")
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: no panoramas of this version ({error}); {AGAIN}") from None
    return Panoramas(digest=hashlib.sha256(path.read_bytes()).hexdigest()[:16], pictures=pictures, splits=splits)
