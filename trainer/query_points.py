"""Points to track as a person writes them: `grid:20`, a CSV file, or `x,y;x,y`."""

import csv
import re
from pathlib import Path

import numpy as np

GRID = "grid:"
COLUMNS = {"t", "x", "y"}
FORMS = "write grid:20, a file.csv with the header x,y or t,x,y, or positions 'x,y;x,y'"


def parse_points(text: str, frame_size: tuple[int, int]) -> np.ndarray:
    """Queries (N, 3) float64 as (t, y, x) for a video of this (height, width), source pixels in raster convention.

    `grid:G` gives the centres of G x G equal cells, row by row, in frame 0; a CSV file has the columns x, y and perhaps
    t, the frame; `x,y;x,y` are positions in frame 0. Raises ValueError for what is none of these, and for no points.
    """
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
