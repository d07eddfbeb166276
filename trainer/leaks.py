"""Whether a prediction depends on the other queries of its video: TAP-Vid's rule is that it may not.

Tried, not believed: the same queries are asked again in another order, and again without half of them. Sums in another
order differ in the last digits, which now and then tips a decision; so a few cells may differ, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from torch import nn

from eval.protocol import Truth
from trainer.answers import Asking, answer

TOLERANCE = 0.002
"""Pixels at 256x256. Rounding was seen to move CoTracker3's points by 0.00004, other queries those of random weights by
0.01 and more."""
FEW = 0.01
"""Share of the cells (query, frame) that may differ by more than that, or in visibility."""


def choose_videos(names: Sequence[str], count: int) -> list[str]:
    """Choose `count` names, evenly spread."""
    return [names[number] for number in sorted({*np.linspace(0, len(names) - 1, min(count, len(names))).astype(int)})]


def check_leaks(model: nn.Module, truth: Truth, asking: Asking, num_videos: int) -> int:
    """Ask a sample of videos again, permuted and halved; returns how many had two queries or more.

    Raises ValueError, with the video and the largest difference, when answers depend on the other queries.
    """
    num_checked = 0
    for name in choose_videos(truth.names, num_videos):
        query_points = truth.video(name, asking.query_mode).query_points
        if len(query_points) < 2:
            continue
        num_checked += 1
        frames, seed = truth.frames(name, asking.resolution), crc32(name.encode())
        share, largest = measure_leak(model, frames, query_points, asking, seed)
        if share > FEW:
            raise ValueError(
                f"{truth.path}: {name}: predictions depend on the other queries of the video, against TAP-Vid's rule: "
                f"{share:.1%} of them change, by up to {largest:.2f} pixels, when queries are permuted or left out; "
                "ask one query at a time (--single-point), or declare the model joint (is_joint)"
            )
    return num_checked


def measure_leak(
    model: nn.Module, frames: np.ndarray, query_points: np.ndarray, asking: Asking, seed: int
) -> tuple[float, float]:
    """Share of the cells that change when queries (N, 3) are permuted, or when half of them are left out, whichever is
    more; and the largest change of a position in pixels at 256x256."""
    tracks, occluded = answer(model, frames, query_points, asking)
    order = np.random.default_rng(seed).permutation(len(query_points))
    shares, largest = [], 0.0
    for chosen in (order, order[: len(order) // 2]):
        again, hidden_again = answer(model, frames, query_points[chosen], asking)
        moved = np.linalg.norm(again - tracks[chosen], axis=-1)  # (N or N / 2, T)
        shares.append(np.mean(~(moved <= TOLERANCE) | (hidden_again != occluded[chosen])))
        largest = max(largest, float(moved.max()))
    return float(max(shares)), largest
