"""Metrics of frames -> means over frames, by distance too, with intervals over clips.

A clip of drawn people is one body in one pose: its frames are no independent draws, so whole clips are resampled
(cluster bootstrap, percentile interval; Efron and Tibshirani, An Introduction to the Bootstrap, 1993). It says what
other clips of this kind would give; nothing of another training. Where each clip is one image (labels of photographs),
images of one person count as independent, and intervals are too narrow.
"""

from __future__ import annotations

import itertools

import numpy as np

from eval.compare import CONFIDENCE

NUM_RESAMPLES = 2000
DISTANCES_M = (0.5, 0.75, 1.0, 1.5, 3.0, 10.0)
"""Edges of the bins of true T_z: near pictures are what BLADE is about."""


def summarize(values: dict[str, np.ndarray], clips: np.ndarray, depth_m: np.ndarray, seed: int = 0) -> dict:
    """Means of metrics, each (B,) with NaN where undefined, for frames of these clips (B,) and true depths (B,).

    Returns `mean` and `interval` (None for under two clips) and `num_defined` by metric, `by_distance` with the same
    for each bin of distance, and `clips`, the means of each clip. The same seed, the same numbers.
    """
    names, clip = np.unique(clips, return_inverse=True)
    table = np.stack(list(values.values()), 1)  # (B, M)
    share = np.full(len(names), 1 / len(names))
    drawn = np.random.default_rng(seed).multinomial(len(names), share, NUM_RESAMPLES).astype(np.float64)  # (R, C)
    everything, of_clips = _summarize(table, clip, drawn, list(values))
    by_distance = {}
    for low, high in itertools.pairwise(DISTANCES_M):
        inside = (depth_m >= low) & (depth_m < high)
        summary, _ = _summarize(table[inside], clip[inside], drawn, list(values))
        by_distance[f"{low:g}-{high:g} m"] = {"num_frames": int(inside.sum())} | summary
    clips_by_name = {str(name): _by_metric(list(values), row) for name, row in zip(names, of_clips, strict=True)}
    return everything | {"confidence": CONFIDENCE, "by_distance": by_distance, "clips": clips_by_name}


def _summarize(table: np.ndarray, clip: np.ndarray, drawn: np.ndarray, metrics: list[str]) -> tuple[dict, np.ndarray]:
    """The summary of frames (B, M) of clips (B,), and the means of the clips (C, M); drawn (R, C) says how often."""
    is_defined = np.isfinite(table)
    sums, counts = np.zeros((2, drawn.shape[1], table.shape[1]))  # (C, M) each
    np.add.at(sums, clip, np.where(is_defined, table, 0))
    np.add.at(counts, clip, is_defined)
    resampled = divide(drawn @ sums, drawn @ counts)  # (R, M)
    is_known = (counts > 0).sum(0) >= 2
    tail = (1 - CONFIDENCE) / 2
    ends = np.nanquantile(np.where(is_known, resampled, 0), [tail, 1 - tail], axis=0)  # (2, M)
    summary = {
        "mean": _by_metric(metrics, divide(sums.sum(0), counts.sum(0))),
        "interval": {
            metric: [float(low), float(high)] if known else None
            for metric, known, low, high in zip(metrics, is_known, *ends, strict=True)
        },
        "num_defined": {metric: int(count) for metric, count in zip(metrics, counts.sum(0), strict=True)},
    }
    return summary, divide(sums, counts)


def divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """sums / counts, NaN where nothing was counted."""
    return np.where(counts > 0, sums / np.where(counts > 0, counts, 1), np.nan)


def _by_metric(metrics: list[str], values: np.ndarray) -> dict[str, float | None]:
    return {m: float(value) if np.isfinite(value) else None for m, value in zip(metrics, values, strict=True)}
