"""Perceptual distance of each made frame from its true one, by a function of your choice.

LPIPS (Zhang et al. 2018) is the distance between features of a trained network. Its weights do not come with this
project, and there is no default: numbers of other functions are no LPIPS. A caller names a function, `module:function`,
which takes made and true frames (T, H, W, 3) uint8 and returns (T,) distances, the smaller the more alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from eval.compare import CONFIDENCE, bootstrap_mean
from eval.driving.frechet import load_extractor
from eval.driving.metrics import copy_frames
from eval.driving.reading import check_same, true_frames
from eval.driving.rollouts import TRUE, read_rollouts
from eval.driving.truth import DriveTruth
from eval.people.summary import NUM_RESAMPLES

OPTION = "--distance"
COPY = "copy"


def measure_distances(path: str | Path, index: str | Path, distance: str, *, name: str = "", seed: int = 0) -> dict:
    """Distances between made frames and true ones, for everything that was told and for the last given frame, repeated.

    Returns `mean` over clips (of a clip's windows first) with `interval`; `by_frame`, the same for each made frame;
    `over`, how much larger each is than told the own actions, clip by clip; and `clips`. name: what it is called.
    Raises ValueError for rollouts of another truth, a name that is no function, and answers that are no distances.
    """
    rollouts, truth = read_rollouts(path), DriveTruth(index)
    check_same(rollouts, truth)
    function, num_given = load_extractor(distance, OPTION), rollouts.settings["num_given"]
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for key, number in rollouts.windows:
        true = true_frames(rollouts, truth, key, number)
        made = {told: rollouts.frames(key, told, number) for told in rollouts.told} | {
            COPY: copy_frames(true, num_given)
        }
        for told, frames in made.items():
            answer = check_distances(function(frames[num_given:], true[num_given:]), len(true) - num_given, distance)
            found.setdefault(told, {}).setdefault(key, []).append(answer)
    by_frame = {told: np.array([np.mean(of_clip, 0) for of_clip in clips.values()]) for told, clips in found.items()}
    means = {told: values.mean(1) for told, values in by_frame.items()}  # (N,) of (N, T')
    return {
        "distance": distance,
        "name": name or distance.partition(":")[2],
        "model": rollouts.model,
        "benchmark": truth.dataset,
        "truth_sha256": truth.sha256,
        "settings": rollouts.settings,
        "num_clips": len(rollouts.keys),
        "num_windows": len(rollouts.windows),
        "confidence": CONFIDENCE,
        **summarize(means, seed),
        "over": summarize({told: means[told] - means[TRUE] for told in means if TRUE in means and told != TRUE}, seed),
        "by_frame": {told: summarize_frames(values, seed) for told, values in by_frame.items()},
        "clips": {
            key: {told: float(values[n]) for told, values in means.items()} for n, key in enumerate(rollouts.keys)
        },
    }


def check_distances(distances: np.ndarray, num_frames: int, name: str) -> np.ndarray:
    """The distances as float64, if they are finite numbers (T,) of so many frames; else ValueError."""
    distances = np.asarray(distances)
    if distances.shape != (num_frames,) or not np.issubdtype(distances.dtype, np.floating):
        expected = f"expected floats of shape ({num_frames},), one for each made frame"
        raise ValueError(f"{OPTION} {name}: returned {distances.dtype} of shape {distances.shape}, {expected}")
    if not np.isfinite(distances).all():
        raise ValueError(f"{OPTION} {name}: returned NaN or infinite distances")
    return distances.astype(np.float64)


def summarize(values: Mapping[str, np.ndarray], seed: int) -> dict[str, dict]:
    """`mean` and `interval` (None for a single clip) of values (N,) of clips, by their names."""
    return {
        "mean": {told: float(each.mean()) for told, each in values.items()},
        "interval": {told: interval_of(each, seed) for told, each in values.items()},
    }


def summarize_frames(values: np.ndarray, seed: int) -> dict[str, list]:
    """`mean` and `interval` of each frame of values (N, T')."""
    return {"mean": values.mean(0).tolist(), "interval": [interval_of(each, seed) for each in values.T]}


def interval_of(values: Sequence[float], seed: int) -> list[float] | None:
    """The interval of the mean of values (N,) of clips; None for a single one."""
    return list(bootstrap_mean(values, seed, NUM_RESAMPLES)) if len(values) > 1 else None
