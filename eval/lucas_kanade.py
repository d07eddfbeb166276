"""The pyramidal tracker of Lucas and Kanade by OpenCV: what image gradients alone can follow.

Each point goes from frame to frame, forward from its query and backward from it. A step is believed when the way back
ends where it started (forward-backward error, Kalal et al. 2010); a point whose step is not believed is occluded.
Letters in shapes: T frames, N points.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

WINDOW = (21, 21)  # pixels: OpenCV's own default
PYRAMID_LEVELS = 4  # halved four times: 256 pixels become 16, so that a step may be tens of pixels long
STOP = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.01)  # iterations, pixels
MAX_ERROR_PX = 2.0  # of the way there and back; chosen with the window on rendered training clips


def track_lucas_kanade(
    query_points: np.ndarray, num_frames: int, load_frames: Callable[[], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Follow every query through the video, independently of the other queries.

    query_points (N, 3) as (t, y, x), t rounded half to even; `load_frames()` gives (T, H, W, 3) uint8. Returns tracks
    (N, T, 2) float32 as (x, y) in the frames' pixels, raster convention, and occluded (N, T) bool. At its query frame
    a point is its query, and visible. A point that left the image, or that OpenCV lost, stays where it was last.
    """
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in load_frames()]
    if len(gray) != num_frames:
        raise ValueError(f"{len(gray)} frames were decoded, the annotations have {num_frames}; pack the clips again")
    start = np.rint(query_points[:, 0]).astype(int)  # (N,)
    tracks = np.repeat(query_points[:, None, [2, 1]], num_frames, axis=1).astype(np.float32)  # (N, T, 2)
    occluded = np.zeros(tracks.shape[:2], bool)
    for frame in range(num_frames - 1):
        _step(gray, tracks, occluded, np.flatnonzero(start <= frame), frame, frame + 1)
    for frame in range(num_frames - 1, 0, -1):
        _step(gray, tracks, occluded, np.flatnonzero(start >= frame), frame, frame - 1)
    return tracks, occluded


def _step(
    gray: list[np.ndarray], tracks: np.ndarray, occluded: np.ndarray, points: np.ndarray, here: int, there: int
) -> None:
    """Carry the numbered points from one frame to a neighbouring one, in place."""
    if len(points) == 0:
        return
    before = tracks[points, here]  # (P, 2)
    after, was_found = _flow(gray[here], gray[there], before)
    returned, came_back = _flow(gray[there], gray[here], after)
    size = np.array(gray[there].shape[::-1])
    is_inside = ((after >= 0) & (after <= size)).all(axis=1)
    error = np.linalg.norm(returned - before, axis=1)
    is_believed = was_found & came_back & is_inside & (error < MAX_ERROR_PX)
    tracks[points, there] = np.where((was_found & is_inside)[:, None], after, before)
    occluded[points, there] = ~is_believed


def _flow(image: np.ndarray, other: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where points (P, 2) of `image` are in `other`, (P, 2), and which were found, (P,); raster pixels."""
    # OpenCV's pixel (0, 0) is the centre of the top-left pixel.
    found, status, _ = cv2.calcOpticalFlowPyrLK(
        image, other, points - np.float32(0.5), None, winSize=WINDOW, maxLevel=PYRAMID_LEVELS, criteria=STOP
    )
    was_found = (status[:, 0] == 1) & np.isfinite(found).all(axis=1)
    return np.where(was_found[:, None], found + np.float32(0.5), points), was_found
