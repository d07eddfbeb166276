"""Rollouts + truth -> score json: likeness to the true frames, and whether what was told was followed.

Only made frames count, not those given. Where a clip has several windows, its figures are their means. Intervals are
over clips (bootstrap): they say what other clips of this kind would give, and nothing of another training or of other
noise; windows of one clip are no independent draws.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.compare import CONFIDENCE, bootstrap_mean
from eval.driving.columns import COMPARISONS, METRICS
from eval.driving.following import calibrate, correlation, without_common
from eval.driving.reading import (
    AXES,
    WindowReading,
    check_same,
    number_or_none,
    pair_travel,
    read_window,
    window_values,
)
from eval.driving.rollouts import TRUE, Window, read_rollouts
from eval.driving.truth import DriveTruth
from eval.people.summary import NUM_RESAMPLES
from shards.files import sha256_of, write_text

FORMAT = "frameline-driving-score/1"
FIELDS = (
    "benchmark", "model", "truth_sha256", "settings", "told", "num_clips", "windows", "mean", "interval",
    "num_defined", "by_frame", "clips",
)  # fmt: skip
"""What every score has."""


def score_rollouts(path: str | Path, index: str | Path, seed: int = 0) -> dict:
    """Score rollouts against the truth that they were made for; returns the content of the score json.

    Raises ValueError for rollouts of another truth, and of clips or windows that it has not.
    """
    rollouts, truth = read_rollouts(path), DriveTruth(index)
    check_same(rollouts, truth)
    readings = {window: read_window(rollouts, truth, *window) for window in rollouts.windows}
    known = [reading for reading in readings.values() if reading.own is not None]
    scales = calibrate([reading.steps[None] for reading in known], [reading.own for reading in known])
    num_given = rollouts.settings["num_given"]
    pairs = {window: pair_travel(reading, scales, num_given) for window, reading in readings.items()}
    values = {window: window_values(reading, pairs[window]) for window, reading in readings.items()}
    clips = {key: mean_values(of_clip) for key, of_clip in by_clip(values.items()).items()}
    return {
        "format": FORMAT,
        "benchmark": truth.dataset,
        "model": rollouts.model,
        "weights_sha256": rollouts.weights_sha256,
        "truth_sha256": truth.sha256,
        "rollouts_sha256": sha256_of(rollouts.path),
        "settings": rollouts.settings,
        "told": list(rollouts.told),
        "num_clips": len(clips),
        "windows": {key: [rollouts.first(key, number) for number in range(rollouts.num_windows)] for key in clips},
        "scales": {
            name: number_or_none(scale) for name, scale in zip(("metres", "radians_per_pixel"), scales, strict=True)
        },
        **summarize(clips, correlate(readings, pairs, seed), seed),
        "by_frame": {
            told: np.mean([reading.psnr[told] for reading in readings.values()], axis=0).tolist()
            for told in (*rollouts.told, "copy")
        },
        "clips": clips,
    }


def by_clip(of_windows: Iterable[tuple[Window, Any]]) -> dict[str, list[Any]]:
    """What belongs to windows, clip by clip."""
    found: dict[str, list[Any]] = {}
    for (key, _), value in of_windows:
        found.setdefault(key, []).append(value)
    return found


def mean_values(of_windows: Sequence[dict[str, float | None]]) -> dict[str, float | None]:
    """The metrics of a clip: their means over the windows in which they are known, None where they are in none."""
    means: dict[str, float | None] = {}
    for metric in dict.fromkeys(itertools.chain(*of_windows)):
        known = [values[metric] for values in of_windows if values.get(metric) is not None]
        means[metric] = math.fsum(known) / len(known) if known else None
    return means


def correlate(
    readings: dict[Window, WindowReading], pairs: dict[Window, dict[str, np.ndarray]], seed: int
) -> dict[str, tuple]:
    """Value, interval and number of pairs of every correlation: of motion over the frames of all windows, of rewards
    over the rollouts."""
    found = {}
    for name in COMPARISONS:
        of_windows = {window: pair[name] for window, pair in pairs.items() if name in pair}
        for number, axis in enumerate(AXES if of_windows else ()):
            known = {
                window: pair[:, number] for window, pair in of_windows.items() if np.isfinite(pair[:, number]).all()
            }
            centred = zip(known, without_common([*known.values()]), strict=True)
            found[f"{axis}_correlation_{name}"] = correlation_over_clips(centred, seed)
    return found | correlate_rewards(readings, seed)


def correlate_rewards(readings: Mapping[Window, WindowReading], seed: int) -> dict[str, tuple]:
    """Reward against PSNR of the same rollout: over those that were told one thing, then over all; told the clip's own
    actions also against PSNR over copying."""
    of_telling: dict[str, list[tuple[Window, np.ndarray]]] = {}
    for window, reading in readings.items():
        for told, reward in reading.rewards.items():
            if reward is not None:
                pair = np.array([(reward - 1, reading.psnr[told].mean())])  # beside 1, small changes would be lost
                of_telling.setdefault(told, []).append((window, pair))
    found = {f"reward_correlation_{told}": correlation_over_clips(pairs, seed) for told, pairs in of_telling.items()}
    if of_telling:
        found["reward_correlation"] = correlation_over_clips(itertools.chain(*of_telling.values()), seed)
    if TRUE in of_telling:
        copies = {window: (0, reading.psnr["copy"].mean()) for window, reading in readings.items()}
        over = [(window, pair - copies[window]) for window, pair in of_telling[TRUE]]
        found["reward_correlation_over_copy"] = correlation_over_clips(over, seed)
    return found


def correlation_over_clips(of_windows: Iterable[tuple[Window, np.ndarray]], seed: int) -> tuple:
    """`correlation` of the pairs (T, 2) of windows, its interval over clips."""
    return correlation([np.concatenate(pairs) for pairs in by_clip(of_windows).values()], seed)


def summarize(clips: dict[str, dict], correlations: dict[str, tuple], seed: int) -> dict:
    """Means over clips and correlations, intervals (None where there is none), and of how many clips or frames."""
    mean, interval, num_defined = {}, {}, {}
    for metric in METRICS:
        if metric in correlations:
            mean[metric], interval[metric], num_defined[metric] = correlations[metric]
            continue
        if not any(metric in values for values in clips.values()):
            continue
        values = [values[metric] for values in clips.values() if values.get(metric) is not None]
        mean[metric] = math.fsum(values) / len(values) if values else None
        interval[metric] = list(bootstrap_mean(values, seed, NUM_RESAMPLES)) if len(values) > 1 else None
        num_defined[metric] = len(values)
    return {"mean": mean, "interval": interval, "num_defined": num_defined, "confidence": CONFIDENCE}


def write_driving_score(score: dict, path: str | Path) -> Path:
    """Write a score as json, atomically."""
    return write_text(Path(path), json.dumps(score, indent=1, allow_nan=False) + "\n")


def read_driving_score(path: str | Path) -> dict:
    """Read a score json of driving; raises ValueError when the file is not one."""
    try:
        score = json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid json ({error}); score again (python -m eval drives-score)") from None
    if not isinstance(score, dict) or score.get("format") != FORMAT:
        raise ValueError(f"{path}: not a {FORMAT} file; make one by `python -m eval drives-score`")
    missing = [name for name in FIELDS if name not in score]
    if missing:
        raise ValueError(f"{path}: `{missing[0]}` is missing; score again (python -m eval drives-score)")
    return score
