"""Look at packed clips: a contact sheet, a film or a page, by the ending of the file's name."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shards.clip import Clip
from shards.files import appearing, write_bytes, write_text
from shards.film import draw_frames, encode_webp, frame_rate, spread, write_mp4
from shards.page import make_page
from shards.store import ClipStore

COLUMNS = 3
SHEET_SIDE, FILM_SIDE = 320, 512
PAGE_CLIPS = 6


def draw_view(store: ClipStore, keys: Sequence[str], out: Path, *, num_points: int = 40) -> None:
    """Write a view of the clips of `keys` (default: the first, or the first six on a page) to `out`.

    Raises ValueError for a name that ends in none of VIEWS, for more than one clip in a picture or film, and for a key
    that is not in the index.
    """
    kind = out.suffix.lower()
    if kind not in VIEWS:
        raise ValueError(f"{out}: name it {', '.join(f'*{ending}' for ending in VIEWS)}, to say what to draw")
    numbers = [store.number_of(key) for key in keys] or list(range(len(store)))[: PAGE_CLIPS if kind == ".html" else 1]
    if kind == ".html":
        write_text(out, make_page(store, numbers, num_points=num_points))
        return
    if len(numbers) > 1:
        raise ValueError(f"{out}: shows one clip, {len(numbers)} are named; name one, or write a page (--out X.html)")
    VIEWS[kind](store.read(numbers[0]), out, num_points)


def draw_contact_sheet(clip: Clip, out: Path, num_points: int = 40, *, num_frames: int = 6) -> None:
    """Write a PNG of evenly spaced frames in rows of three; a filled dot is visible, a ring is hidden."""
    chosen = spread(len(clip.video), num_frames)
    drawn = list(draw_frames(clip, side=SHEET_SIDE, num_points=num_points, frames=chosen))
    height, width = drawn[0].shape[:2]
    num_columns = min(COLUMNS, len(drawn))
    sheet = np.zeros((-(-len(drawn) // num_columns) * height, num_columns * width, 3), np.uint8)
    for place, frame in enumerate(drawn):
        y, x = place // num_columns * height, place % num_columns * width
        sheet[y : y + height, x : x + width] = frame
    with appearing(out) as temporary:
        Image.fromarray(sheet).save(temporary, "png")


def _draw_mp4(clip: Clip, out: Path, num_points: int) -> None:
    write_mp4(draw_frames(clip, side=FILM_SIDE, num_points=num_points), frame_rate(clip), out)


def _draw_webp(clip: Clip, out: Path, num_points: int) -> None:
    frames = draw_frames(clip, side=FILM_SIDE, num_points=num_points)
    write_bytes(out, encode_webp(frames, frame_rate(clip)))


VIEWS: dict[str, Callable[[Clip, Path, int], None] | None] = {
    ".png": draw_contact_sheet,
    ".mp4": _draw_mp4,
    ".webp": _draw_webp,
    ".html": None,  # takes several clips
}
