"""Which windows of long clips an epoch has: each that fits, or turns and full sets of actions more often."""

import numpy as np

from shards.driving.actions import Actions
from shards.driving.window import actions_of_window
from shards.store import ClipStore

TURNS = ("turn_right", "turn_left")
TURNS_AGAIN, COMPLETE_AGAIN = 5, 2
"""How often Vista's phase 2 repeats turns, and then samples whose speed, angle and goal are all known."""


def list_windows(store: ClipStore, length: int, *, stride: int = 1, is_balanced: bool = False) -> np.ndarray:
    """Windows of `length` frames, one every `stride` frames of each clip: (W, 2) int64, clip number and first frame.

    Balanced, a window comes `repetitions_of` its actions times; drives are read for this, frames are not. The order is
    that of the index: `shards.permutation(W, seed, epoch)` shuffles it. Raises ValueError for a length or stride below
    1, and where no clip is long enough.
    """
    if length < 1 or stride < 1:
        raise ValueError(f"windows of {length} frames, one every {stride}: give at least 1 of both")
    counts = [store.row(number)["num_frames"] for number in range(len(store))]
    windows = [(number, first) for number, count in enumerate(counts) for first in range(0, count - length + 1, stride)]
    if not windows:
        raise ValueError(f"{store.name}: no clip has {length} frames, the longest {max(counts, default=0)}")
    found = np.array(windows, np.int64)
    return np.repeat(found, _repetitions(store, found), axis=0) if is_balanced else found


def _repetitions(store: ClipStore, windows: np.ndarray) -> np.ndarray:
    """How often each of W windows (W, 2) comes."""
    counts = np.ones(len(windows), np.int64)
    for number in np.unique(windows[:, 0]):
        drive = store.read_drive(int(number))
        for place in np.flatnonzero(windows[:, 0] == number):
            counts[place] = repetitions_of(actions_of_window(drive, int(windows[place, 1])))
    return counts


def repetitions_of(actions: Actions) -> int:
    """How often a window with these actions comes: turns 5 times, those with speed, angle and goal twice as often."""
    is_complete = all(value is not None for value in (actions.speed_mps, actions.angle_deg, actions.goal))
    return (TURNS_AGAIN if actions.command in TURNS else 1) * (COMPLETE_AGAIN if is_complete else 1)
