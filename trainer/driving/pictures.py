"""Made clips as files: a film (.mp4, .gif), or a sheet of rows over time (.png).

Legend: T frames, H W pixels.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from eval.drawing import GAP, add_title, contact_sheet
from shards.files import write_bytes
from shards.film import spread
from trainer.video import write_video

SUFFIXES = (".mp4", ".gif", ".png")
NUM_COLUMNS = 9
"""Frames of a row of a sheet, at most."""
LEAST_SIDE = 96
"""Smaller frames are shown so large that a side has at least so many pixels, each pixel a square."""


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
        write_bytes(path, encode_gif(list(side_by_side(list(clips.values()))), rate))
    else:
        write_video(side_by_side(list(clips.values())), Fraction(rate).limit_denominator(1001), path)


def draw_sheet(clips: Mapping[str, np.ndarray]) -> Image.Image:
    """A row for each clip (T, H, W, 3) uint8, its title and the number of the frame above each frame.

    All rows show the same moments; where a clip is shorter, its cells are dark.
    """
    longest = max(len(clip) for clip in clips.values())
    chosen, cells = spread(longest, NUM_COLUMNS), []
    for title, clip in clips.items():
        for time in chosen:
            frame = clip[time] if time < len(clip) else np.zeros_like(clip[0])
            cells.append(add_title(Image.fromarray(enlarge(frame)), f"{title} {time}"))
    return contact_sheet(cells, num_columns=len(chosen))


def enlarge(frame: np.ndarray) -> np.ndarray:
    """A frame (H, W, 3) with each pixel as a square of so many that it can be looked at."""
    times = max(1, -(-LEAST_SIDE // min(frame.shape[:2])))
    return frame.repeat(times, axis=0).repeat(times, axis=1)


def side_by_side(clips: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield frames of a film of clips (T, H, W, 3) of one size from left to right, as they are where there is one.

    A clip that is shorter stays at its last frame.
    """
    for time in range(max(map(len, clips))):
        frames = [clip[min(time, len(clip) - 1)] for clip in clips]
        if len(frames) == 1:
            yield frames[0]
            continue
        gap = np.zeros((frames[0].shape[0], GAP, 3), np.uint8)
        parts = [part for frame in frames for part in (frame, gap)]
        yield np.concatenate(parts[:-1], axis=1)


def encode_gif(frames: Sequence[np.ndarray], rate: float) -> bytes:
    """Frames (H, W, 3) uint8 as an animated GIF that loops, all with one palette."""
    first, *others = map(Image.fromarray, frames)
    buffer = io.BytesIO()
    duration = max(20, round(100 / rate) * 10)  # milliseconds; a GIF counts in hundredths of a second
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
    return buffer.getvalue()
