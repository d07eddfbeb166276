"""A contact sheet of a clip with its tracks drawn."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from shards.clip import Clip
from shards.files import appearing

COLUMNS = 3
RADIUS = 3


def draw_contact_sheet(clip: Clip, out: Path, *, num_frames: int = 6, num_points: int = 40, side: int = 320) -> None:
    """Write a PNG of evenly spaced frames in rows of three; a filled dot is visible, a ring is hidden."""
    chosen = _spread(len(clip.video), num_frames)
    points = _spread(clip.tracks.shape[1], num_points)
    height, width = clip.video.shape[1:3]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    num_rows = -(-len(chosen) // COLUMNS)
    sheet = Image.new("RGB", (min(COLUMNS, len(chosen)) * size[0], num_rows * size[1]))
    for place, t in enumerate(chosen):
        frame = Image.fromarray(clip.video[t]).resize(size, Image.Resampling.BICUBIC)
        _draw_points(frame, clip.tracks[t, points] * scale, clip.visible[t, points])
        sheet.paste(frame, (place % COLUMNS * size[0], place // COLUMNS * size[1]))
    with appearing(out) as temporary:
        sheet.save(temporary, "png")


def _draw_points(frame: Image.Image, positions: np.ndarray, visible: np.ndarray) -> None:
    """Draw points (N, 2) in raster pixels; one hue a point."""
    draw = ImageDraw.Draw(frame)
    for number, (x, y) in enumerate(positions):
        colour = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(number / len(positions), 1, 1))
        # PIL counts from the centre of the top-left pixel.
        box = (x - 0.5 - RADIUS, y - 0.5 - RADIUS, x - 0.5 + RADIUS, y - 0.5 + RADIUS)
        draw.ellipse(box, fill=colour if visible[number] else None, outline=colour)


def _spread(count: int, at_most: int) -> np.ndarray:
    """Up to `at_most` evenly spaced numbers of 0..count-1."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int))
