"""Tracks drawn over frames: stills, film strips and animations, by Pillow alone.

A point's colour is its identity, the same in every panel; a filled dot is visible, a hollow one occluded; the trail
shows where it came from. In a panel of predictions a white line leads from the predicted point to the true one.
"""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Shapes are drawn this much larger and reduced, because Pillow's own lines are not anti-aliased.
SUPERSAMPLING = 4
# Successive hues a golden section apart stay distinct for any number of points.
GOLDEN_SECTION = 0.618033988749895
OUTLINE = (16, 16, 20, 230)
TRUTH_LINE = (255, 255, 255, 220)
TITLE_HEIGHT = 20
GAP = 4
BACKGROUND = (18, 20, 24)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The tracks of one tracker (or of the truth) over a clip, in pixels of the frames they are drawn on.

    tracks: (T, N, 2) as (x, y), raster convention; visible: (T, N) bool; start: (N,) frame from which each point is
    drawn; target: (T, N, 2) true positions to draw the error against, nan where there is none, or None.
    """

    title: str
    tracks: np.ndarray
    visible: np.ndarray
    start: np.ndarray
    target: np.ndarray | None = None


def identity_color(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of the point `index`: bright, and distinct from its neighbours'."""
    red, green, blue = colorsys.hsv_to_rgb((0.03 + index * GOLDEN_SECTION) % 1.0, 0.72, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_tracks(frame: np.ndarray, panel: Panel, frame_index: int, *, radius: float = 3.0, trail: int = 10):
    """Draw the points of `panel` at `frame_index`, with trails of `trail` frames, over frame (H, W, 3) uint8.

    Returns a PIL image of the same size; `radius` is in pixels of the frame.
    """
    image = Image.fromarray(frame).convert("RGBA")
    canvas = Image.new("RGBA", (image.width * SUPERSAMPLING, image.height * SUPERSAMPLING), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    points = np.flatnonzero(frame_index >= panel.start)
    for point in points:
        _draw_trail(draw, panel, point, frame_index, radius, trail)
    for point in points:
        _draw_error(draw, panel, point, frame_index, radius)
    for point in points:
        color = identity_color(int(point))
        _draw_dot(draw, panel.tracks[frame_index, point], color, bool(panel.visible[frame_index, point]), radius)
    overlay = canvas.resize(image.size, Image.Resampling.BOX)
    return Image.alpha_composite(image, overlay).convert("RGB")


def _draw_trail(draw: ImageDraw.ImageDraw, panel: Panel, point: int, now: int, radius: float, trail: int) -> None:
    """Draw the way of one point up to now: older parts fainter, parts where it was hidden thinner."""
    color = identity_color(int(point))
    first = max(int(panel.start[point]), now - trail)
    for time in range(first, now):
        ends = panel.tracks[time : time + 2, point]
        if not np.isfinite(ends).all():
            continue
        alpha = round(80 + 160 * (time + 1 - first) / max(1, now - first))
        width = radius * (0.9 if panel.visible[time : time + 2, point].all() else 0.3)
        _draw_line(draw, ends, (*color, alpha), width)


def _draw_error(draw: ImageDraw.ImageDraw, panel: Panel, point: int, now: int, radius: float) -> None:
    if panel.target is None or not np.isfinite(panel.target[now, point]).all():
        return
    ends = np.stack([panel.tracks[now, point], panel.target[now, point]])
    _draw_line(draw, ends, TRUTH_LINE, radius * 0.35)
    _draw_circle(draw, ends[1], radius * 0.5, fill=TRUTH_LINE)


def _draw_dot(draw: ImageDraw.ImageDraw, xy: np.ndarray, color: tuple, is_visible: bool, radius: float) -> None:
    if not np.isfinite(xy).all():
        return
    if is_visible:
        _draw_circle(draw, xy, radius * 1.25, fill=OUTLINE)
        _draw_circle(draw, xy, radius, fill=(*color, 255))
    else:
        _draw_circle(draw, xy, radius * 1.2, outline=OUTLINE, width=radius * 0.9)
        _draw_circle(draw, xy, radius, outline=(*color, 255), width=radius * 0.45)


def _draw_line(draw: ImageDraw.ImageDraw, ends: np.ndarray, color: tuple, width: float) -> None:
    # In raster convention positions scale, but Pillow counts from pixel centres.
    scaled = [tuple(float(value) * SUPERSAMPLING - 0.5 for value in end) for end in ends]
    draw.line(scaled, fill=color, width=max(1, round(width * SUPERSAMPLING)))


def _draw_circle(draw: ImageDraw.ImageDraw, xy: np.ndarray, radius: float, *, width: float = 0, **paint) -> None:
    x, y = (float(value) * SUPERSAMPLING for value in xy)
    reach = radius * SUPERSAMPLING
    # Pillow takes whole pixels, the last one included: the outer edge is one less than where the circle ends.
    box = round(x - reach), round(y - reach), round(x + reach) - 1, round(y + reach) - 1
    draw.ellipse(box, width=round(width * SUPERSAMPLING), **paint)


def draw_panels(frame: np.ndarray, panels: Sequence[Panel], frame_index: int, *, num_columns: int, trail: int = 10):
    """Draw the same frame once a panel, titled, in a grid of `num_columns`; returns a PIL image."""
    radius = max(2.0, frame.shape[1] / 110)
    cells = [
        add_title(draw_tracks(frame, panel, frame_index, radius=radius, trail=trail), panel.title) for panel in panels
    ]
    return contact_sheet(cells, num_columns=num_columns)


def add_title(image: Image.Image, title: str) -> Image.Image:
    """Put a dark strip with the title above the image."""
    titled = Image.new("RGB", (image.width, image.height + TITLE_HEIGHT), BACKGROUND)
    titled.paste(image, (0, TITLE_HEIGHT))
    ImageDraw.Draw(titled).text(
        (6, TITLE_HEIGHT / 2), title, fill=(235, 238, 242), font=ImageFont.load_default(13), anchor="lm"
    )
    return titled


def contact_sheet(images: Sequence[Image.Image], *, num_columns: int) -> Image.Image:
    """Lay images of one size out in rows of `num_columns`."""
    width, height = images[0].size
    num_rows = -(-len(images) // num_columns)
    size = (num_columns * (width + GAP) - GAP, num_rows * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, BACKGROUND)
    for index, image in enumerate(images):
        row, column = divmod(index, num_columns)
        sheet.paste(image, (column * (width + GAP), row * (height + GAP)))
    return sheet


def draw_film_strip(frames: np.ndarray, panels: Sequence[Panel], frame_indices: Sequence[int], *, trail: int = 10):
    """Draw one row a panel and one column a frame: the still that stands for an animation on paper."""
    radius = max(2.0, frames.shape[2] / 110)
    cells = [
        add_title(draw_tracks(frames[time], panel, time, radius=radius, trail=trail), f"{panel.title}, frame {time}")
        for panel in panels
        for time in frame_indices
    ]
    return contact_sheet(cells, num_columns=len(frame_indices))


def encode_webp(images: Sequence[Image.Image], *, frame_ms: int = 83, quality: int = 60) -> bytes:
    """Encode one image as a still WebP, several as an endless animation; the same images give the same bytes."""
    stream = io.BytesIO()
    options = {"quality": quality, "method": 4}
    if len(images) > 1:
        options |= {"save_all": True, "append_images": list(images[1:]), "duration": frame_ms, "loop": 0}
    images[0].save(stream, "WEBP", **options)
    return stream.getvalue()
