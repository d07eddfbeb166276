"""What the page and the server tell each other about points: clicked ones in, followed ones out.

Legend: T frames, N points.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.follow import Rows


def read_clicks(
    clicks: Any, *, num_frames: int, frame_size: tuple[int, int], max_points: int
) -> np.ndarray:  # (N, 3) t, y, x
    """The page's points, a list of {"t": frame, "x": , "y": source pixels}, as (N, 3) float32 in the order (t, y, x).

    frame_size: (H, W). Raises ValueError, in words for the page, for none, for too many, and for one that is not in
    the video.
    """
    if not isinstance(clicks, list) or not clicks:
        raise ValueError("no points: click at least one in the picture")
    if len(clicks) > max_points:
        raise ValueError(f"{len(clicks)} points are too many; at most {max_points}")
    try:
        query_tyx = np.array([[click["t"], click["y"], click["x"]] for click in clicks], np.float32)
    except (KeyError, TypeError, ValueError):
        raise ValueError("points must be a list of numbers t, x, y") from None
    (height, width), frame = frame_size, query_tyx[:, 0]
    is_inside = (frame == np.round(frame)) & (frame >= 0) & (frame < num_frames)
    is_inside &= ((query_tyx[:, 1:] >= 0) & (query_tyx[:, 1:] <= (height, width))).all(1)  # False for NaN too
    if not is_inside.all():
        number = int(np.flatnonzero(~is_inside)[0])
        t, y, x = query_tyx[number]
        raise ValueError(
            f"point {number + 1} at ({x:g}, {y:g}) in frame {t:g} is not in the video of {num_frames} frames, "
            f"{width}x{height} pixels"
        )
    return query_tyx


def describe(rows: Rows) -> list[list[float]]:
    """[point, x, y, visible 0 or 1, uncertainty] of the points of a frame that have begun; points count from 0."""
    return [
        [
            int(n),
            round(float(rows.points[n, 0]), 2),
            round(float(rows.points[n, 1]), 2),
            int(rows.visible[n]),
            round(float(rows.uncertainty[n]), 3),
        ]
        for n in np.flatnonzero(rows.begun)
    ]


def as_csv(tracked: Sequence[Rows]) -> bytes:
    """A table of all frames, with a point's lines where it is tracked; points count from 1, as on the page."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["t", "point", "x", "y", "visible", "uncertainty"])
    for t, rows in enumerate(tracked):
        writer.writerows([t, n + 1, *values] for n, *values in describe(rows))
    return text.getvalue().encode()
