"""Points to track as a person writes them: `grid:20`, `dense`, a CSV file, or `x,y;x,y`; and a mask around them."""

import csv
import re
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

POINTS, GRID, DENSE = "points", "grid:", "dense"
"""What queries are, which decides what is tracked along: points or what a mask holds, a grid, all pixels."""
COLUMNS = {"t", "x", "y"}
FORMS = "write grid:20, dense, a file.csv with the header x,y or t,x,y, or positions 'x,y;x,y'"


def parse_points(text: str, frame_size: tuple[int, int]) -> np.ndarray:
    """Queries (N, 3) float64 as (t, y, x) for a video of this (height, width), source pixels in raster convention.

    `grid:G` gives the centres of G x G equal cells, row by row, in frame 0, and `dense` those of all pixels; a CSV file
    has the columns x, y and perhaps t, the frame; `x,y;x,y` are positions in frame 0. Raises ValueError for what is
    none of these, and for no points.
    """
    if text == DENSE:
        return make_all_pixels(frame_size)
    if text.startswith(GRID):
        return make_grid(text.removeprefix(GRID), frame_size)
    if text.lower().endswith(".csv"):
        return read_csv(Path(text))
    try:
        rows = [[float(number) for number in part.split(",")] for part in text.strip(" ;").split(";")]
    except ValueError:
        rows = []
    if not rows or any(len(row) != 2 for row in rows):
        raise ValueError(f"--points {text!r}: {FORMS}")
    return np.array([(0, y, x) for x, y in rows])


def make_grid(count: str, frame_size: tuple[int, int]) -> np.ndarray:
    """Queries (G * G, 3) as (t, y, x) in frame 0; ValueError where `count` is not a positive number."""
    if not re.fullmatch(r"[1-9]\d{0,3}", count):
        raise ValueError(f"--points {GRID}{count}: the number of points a side, 1 to 9999, as in grid:20")
    centres = (np.arange(int(count)) + 0.5) / int(count)
    y, x = np.meshgrid(centres * frame_size[0], centres * frame_size[1], indexing="ij")
    return np.stack([np.zeros(x.size), y.ravel(), x.ravel()], 1)


def make_all_pixels(frame_size: tuple[int, int]) -> np.ndarray:
    """Queries (H * W, 3) as (t, y, x) in frame 0: the centres of all pixels, row by row."""
    y, x = np.indices(frame_size) + 0.5
    return np.stack([np.zeros(x.size), y.ravel(), x.ravel()], 1)


def read_mask(path: Path, frame_size: tuple[int, int]) -> np.ndarray:
    """A segmentation (H, W) bool from a picture: true where it is not black, or its index not 0.

    Raises ValueError for a file that is no picture of this (height, width).
    """
    try:
        with Image.open(path) as picture:
            labels = np.asarray(picture.convert("RGB") if "A" in picture.getbands() else picture)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"--mask {path}: not a picture that can be read ({error})") from None
    if labels.shape[:2] != tuple(frame_size):
        (height, width), (own_height, own_width) = frame_size, labels.shape[:2]
        raise ValueError(f"--mask {path}: is {own_width}x{own_height}, the video {width}x{height}; they must be equal")
    return labels.any(2) if labels.ndim == 3 else labels != 0


def keep_inside(query_tyx: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The queries (N, 3) (t, y, x) whose pixel is true in the mask (H, W); ValueError where none is."""
    row, column = np.floor(query_tyx[:, 1:]).astype(int).T
    inside = mask[np.minimum(row, mask.shape[0] - 1), np.minimum(column, mask.shape[1] - 1)]
    if not inside.any():
        raise ValueError(f"none of the {len(inside)} points lies in the mask; give a finer grid, or dense")
    return query_tyx[inside]


def read_csv(path: Path) -> np.ndarray:
    """Queries (N, 3) as (t, y, x) of a file with the columns x, y and perhaps t (default 0), in any order."""
    try:
        lines = [line for line in csv.reader(path.read_text(encoding="utf-8-sig").splitlines()) if line]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV file that can be read ({error})") from None
    header = [name.strip().lower() for name in lines[0]] if lines else []
    if len(set(header)) != len(header) or not {"x", "y"} <= set(header) <= COLUMNS:
        raise ValueError(f"{path}: the first line must name the columns x,y or t,x,y, not {','.join(header)!r}")
    rows = [_read_row(path, number, header, line) for number, line in enumerate(lines[1:], 1)]
    if not rows:
        raise ValueError(f"{path}: no points in it")
    return np.array(rows)


def _read_row(path: Path, number: int, header: list[str], line: list[str]) -> tuple[float, float, float]:
    try:
        row = {"t": 0.0} | {name: float(value) for name, value in zip(header, line, strict=True)}
    except ValueError:
        raise ValueError(
            f"{path}: point {number}, {','.join(line)!r}: expected {','.join(header)} as numbers"
        ) from None
    if not (row["t"] >= 0 and row["t"].is_integer()):
        raise ValueError(f"{path}: point {number}: t={row['t']:g} must be a frame, 0 or a whole number above")
    return row["t"], row["y"], row["x"]
