"""A contact sheet of a clip with its tracks drawn."""

import colorsys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from shards.clip import Clip


def draw_contact_sheet(clip: Clip, out: Path, *, num_frames: int = 6, num_points: int = 40, side: int = 320) -> None:
    """Write a PNG of evenly spaced frames in rows of three; a filled dot is visible, a ring is hidden."""
    chosen = np.unique(np.linspace(0, len(clip.video) - 1, num_frames).round().astype(int))
    points = np.unique(np.linspace(0, clip.tracks.shape[1] - 1, num_points).round().astype(int))
    height, width = clip.video.shape[1:3]
    scale = side / max(height, width)
    size = (round(width * scale), round(height * scale))
    columns = min(3, len(chosen))
    sheet = Image.new("RGB", (columns * size[0], -(-len(chosen) // columns) * size[1]))
    for place, t in enumerate(chosen):
        frame = Image.fromarray(clip.video[t]).resize(size, Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(frame)
        for number, point in enumerate(points):
            x, y = clip.tracks[t, point] * scale
            colour = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(number / len(points), 1, 1))
            box = (x - 3, y - 3, x + 3, y + 3)
            draw.ellipse(box, fill=colour if clip.visible[t, point] else None, outline=colour)
        sheet.paste(frame, (place % columns * size[0], place // columns * size[1]))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
