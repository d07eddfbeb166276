"""How the points of a clip move and hide: pure functions of tracks and visibility.

Legend: T frames, N points, S samples. tracks (T, N, 2) pixels as (x, y), raster convention; visible (T, N) bool.
A hidden point's position is not used: annotated videos have no truth for it.
"""

from __future__ import annotations

import numpy as np


def frame_motion(tracks: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Pixels (S,) that a point moves from one frame to the next, for each pair in which it is visible twice."""
    steps = np.linalg.norm(np.diff(tracks.astype(np.float64), axis=0), axis=-1)  # (T - 1, N)
    return steps[visible[1:] & visible[:-1]]


def total_displacement(tracks: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Pixels (S,) between a point's first and last visible position, for points that are visible at least twice."""
    num_frames = len(visible)
    first = visible.argmax(axis=0)  # (N,)
    last = num_frames - 1 - visible[::-1].argmax(axis=0)  # (N,); before `first` nowhere but for points never seen
    points = np.flatnonzero(visible.sum(axis=0) >= 2)
    way = tracks[last[points], points].astype(np.float64) - tracks[first[points], points]
    return np.linalg.norm(way, axis=-1)


def hidden_share(visible: np.ndarray) -> np.ndarray:
    """Share (N,) of the frames in which each point is hidden, 0 to 1."""
    return 1.0 - visible.mean(axis=0)


def count_disappearances(visible: np.ndarray) -> np.ndarray:
    """How often (N,) each point is visible in one frame and hidden in the next."""
    return (visible[:-1] & ~visible[1:]).sum(axis=0)


def longest_visible_run(visible: np.ndarray) -> np.ndarray:
    """Frames (N,) of each point's longest time of being visible without a gap."""
    run = longest = np.zeros(visible.shape[1], int)
    for is_seen in visible:
        run = (run + 1) * is_seen
        longest = np.maximum(longest, run)
    return longest


def position_density(tracks: np.ndarray, visible: np.ndarray, size: tuple[int, int], num_bins: int) -> np.ndarray:
    """Visible positions counted on a grid (num_bins, num_bins) over a frame of size (H, W); rows are y, top first."""
    height, width = size
    x, y = (tracks[..., axis][visible].astype(np.float64) for axis in (0, 1))
    counts, _, _ = np.histogram2d(y, x, bins=num_bins, range=((0, height), (0, width)))
    return counts


def count_visible_outside(tracks: np.ndarray, visible: np.ndarray, size: tuple[int, int]) -> int:
    """How many samples are called visible though they lie outside the frame of size (H, W)."""
    height, width = size
    is_outside = ((tracks < 0) | (tracks > (width, height))).any(axis=-1)
    return int((visible & is_outside).sum())


def thin(values: np.ndarray, at_most: int) -> np.ndarray:
    """At most `at_most` of the values, taken evenly over their order: every one where there are no more."""
    flat = values.reshape(-1)
    if len(flat) <= at_most:
        return flat
    return flat[np.arange(at_most) * len(flat) // at_most]
