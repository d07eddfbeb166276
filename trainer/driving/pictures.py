"""Made clips as files: a film (.mp4, .gif), or a sheet of rows over time (.png).

Legend: T frames, H W pixels.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eval.drawing import add_title, contact_sheet
from eval.driving.drawing import enlarge
from shards.files import write_bytes
from shards.film import spread
from trainer.video import write_video

SUFFIXES = (".mp4", ".gif", ".png")
NUM_COLUMNS = 9
"""Frames of a row of a sheet, at most."""


def check_suffix(path: Path) -> None:
    """ValueError for a name that says no format."""
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"--out {path}: the file's name must end in {', '.join(SUFFIXES)}")


def write_clips(path: Path, clips: Mapping[str, np.ndarray], rate: float) -> None:
    """Write clips (T, H, W, 3) uint8 by title: a film of all side by side, or a sheet with a row for each."""
    check_suffix(path)
    if path.suffix.lower() == ".png":
        buffer = io.BytesIO()
        draw_sheet(clips).save(buffer, "PNG")
        write_bytes(path, buffer.getvalue())
    elif path.suffix.lower() == ".gif":
        write_bytes(path, encode_gif(list(side_by_side(clips)), rate))
    else:
        write_video(side_by_side(clips), Fraction(rate).limit_denominator(1001), path)


def draw_sheet(clips: Mapping[str, np.ndarray]) -> Image.Image:
    """A row for each clip (T, H, W, 3) uint8 below its title, all of the same moments; dark where a clip is over."""
    longest = max(len(clip) for clip in clips.values())
    chosen, rows = spread(longest, NUM_COLUMNS), []
    for title, clip in clips.items():
        frames = [clip[time] if time < len(clip) else np.zeros_like(clip[0]) for time in chosen]
        strip = contact_sheet([enlarge(frame) for frame in frames], num_columns=len(chosen))
        rows.append(add_title(strip, f"{title}: frames {', '.join(map(str, chosen))}"))
    return contact_sheet(rows, num_columns=1)


def side_by_side(clips: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    """Yield frames of a film of clips (T, H, W, 3) by title: one as it is, of several up to three in a row.

    A clip that is shorter stays at its last frame.
    """
    for time in range(max(map(len, clips.values()))):
        frames = {title: clip[min(time, len(clip) - 1)] for title, clip in clips.items()}
        if len(frames) == 1:
            yield from frames.values()
        else:
            cells = [add_title(enlarge(frame), title) for title, frame in frames.items()]
            yield np.asarray(contact_sheet(cells, num_columns=min(len(cells), 3)))


def encode_gif(frames: Sequence[np.ndarray], rate: float) -> bytes:
    """Frames (H, W, 3) uint8 as an animated GIF that loops, all with one palette."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    duration = max(20, round(100 / rate) * 10)  # milliseconds; a GIF counts in hundredths of a second
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
    return buffer.getvalue()
