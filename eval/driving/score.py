"""Rollouts + truth -> score json: likeness to the true frames, and whether what was told was followed.

Only made frames count, not those given. Intervals are over clips (bootstrap): they say what other clips of this kind
would give, and nothing of another training or of other noise.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.compare import CONFIDENCE, bootstrap_mean
from eval.driving.columns import COMPARISONS, METRICS
from eval.driving.following import calibrate, correlation, travel, without_common
from eval.driving.metrics import copy_frames, psnr, ssim
from eval.driving.motion import recover_steps
from eval.driving.rollouts import MAKE_AGAIN, Rollouts, read_rollouts
from eval.driving.truth import DriveTruth
from eval.people.summary import NUM_RESAMPLES
from shards.files import sha256_of, write_text

FORMAT = "frameline-driving-score/1"
FIELDS = (
    "benchmark", "model", "truth_sha256", "settings", "told", "num_clips", "mean", "interval", "num_defined",
    "by_frame", "clips",
)  # fmt: skip
"""What every score has."""
AXES = ("ahead", "turn")
"""Of steps, in their order."""


@dataclass(frozen=True, kw_only=True)
class ClipReading:
    """What is read from one clip's rollouts and its true frames."""

    psnr: dict[str, np.ndarray]
    """(T',) dB of each made frame, by what was told, and `copy`"""
    ssim: dict[str, float]
    steps: dict[str | None, np.ndarray]
    """(T, 2) of `recover_steps`, by what was told; None: of the true frames"""
    own: np.ndarray | None
    """(T, 2) true steps; None where no poses are known"""
    told: dict[str | None, np.ndarray | None]
    """(T, 2) steps that were told; None where nothing was, or nothing is known"""
    rewards: dict[str, float | None]


def score_rollouts(path: str | Path, index: str | Path, seed: int = 0) -> dict:
    """Score rollouts against the truth that they were made for; returns the content of the score json.

    Raises ValueError for rollouts of another truth, and of clips or windows that it has not.
    """
    rollouts, truth = read_rollouts(path), DriveTruth(index)
    check_same(rollouts, truth)
    readings = {key: read_clip(rollouts, truth, key) for key in rollouts.keys}
    known = [reading for reading in readings.values() if reading.own is not None]
    scales = calibrate([reading.steps[None] for reading in known], [reading.own for reading in known])
    num_given = rollouts.settings["num_given"]
    pairs = {key: pair_travel(reading, scales, num_given) for key, reading in readings.items()}
    clips = {key: clip_values(reading, pairs[key]) for key, reading in readings.items()}
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
        "scales": {name: _number(scale) for name, scale in zip(("metres", "radians_per_pixel"), scales, strict=True)},
        **summarize(clips, correlate(readings, pairs, seed), seed),
        "by_frame": {
            told: np.mean([reading.psnr[told] for reading in readings.values()], axis=0).tolist()
            for told in (*rollouts.told, "copy")
        },
        "clips": clips,
    }


def check_same(rollouts: Rollouts, truth: DriveTruth) -> None:
    """Raise ValueError for rollouts of another truth."""
    if rollouts.dataset_digest != truth.sha256:
        raise ValueError(
            f"{rollouts.path}: made for another truth ({rollouts.dataset_digest[:12]}..., {truth.path} is "
            f"{truth.sha256[:12]}...); {MAKE_AGAIN}"
        )


def read_clip(rollouts: Rollouts, truth: DriveTruth, key: str) -> ClipReading:
    """Compare the rollouts of a clip with its true frames, and read the motion in all of them."""
    settings, first = rollouts.settings, rollouts.first(key)
    span, num_given = (settings["num_frames"], settings["frame_step"]), settings["num_given"]
    true, _ = truth.window(key, *span, settings["height"], settings["width"], first)
    made = {told: rollouts.frames(key, told) for told in rollouts.told}
    compared = made | {"copy": copy_frames(true, num_given)}
    told_keys = {told: rollouts.told_key(key, told) for told in made}
    return ClipReading(
        psnr={told: psnr(frames[num_given:], true[num_given:]) for told, frames in compared.items()},
        ssim={told: float(ssim(frames[num_given:], true[num_given:]).mean()) for told, frames in compared.items()},
        steps={told: recover_steps(frames) for told, frames in {None: true, **made}.items()},
        own=truth.steps(key, *span, first),
        told={
            told: other and truth.steps(other, *span, _first_of(rollouts, other)) for told, other in told_keys.items()
        },
        rewards={told: rollouts.reward(key, told) for told in made},
    )


def _first_of(rollouts: Rollouts, key: str) -> int:
    """Where the window begins whose actions were told; 0 for a clip that was not rolled out itself."""
    return rollouts.first(key) if key in rollouts.keys else 0


def pair_travel(reading: ClipReading, scales: np.ndarray, num_given: int) -> dict[str, np.ndarray]:
    """By the names of COMPARISONS: way ahead and turn, read and expected (T', 2 axes, 2); none where not known."""
    pairs = {}
    for name, (told, against, _) in COMPARISONS.items():
        expected = reading.own if against == "own" else reading.told.get(told)
        if told in reading.steps and expected is not None:
            read = travel(reading.steps[told] * scales, num_given)
            pairs[name] = np.stack([read, travel(expected, num_given)], -1)
    return pairs


def clip_values(reading: ClipReading, pairs: dict[str, np.ndarray]) -> dict[str, float | None]:
    """The metrics of one clip by their keys in METRICS; None where they are not known."""
    mean_psnr = {told: float(values.mean()) for told, values in reading.psnr.items()}
    values: dict[str, float | None] = {f"psnr_{told}": value for told, value in mean_psnr.items()}
    values |= {f"ssim_{told}": value for told, value in reading.ssim.items()}
    others = [told for told in ("copy", "shuffled", "none") if told in mean_psnr and "true" in mean_psnr]
    values |= {f"over_{told}": mean_psnr["true"] - mean_psnr[told] for told in others}
    for name, pair in pairs.items():
        errors = np.abs(pair[..., 0] - pair[..., 1]).mean(0)  # (2,)
        values |= {f"{axis}_error_{name}": _number(error) for axis, error in zip(AXES, errors, strict=True)}
    values |= {f"reward_{told}": reward for told, reward in reading.rewards.items() if reward is not None}
    return values


def correlate(readings: dict[str, ClipReading], pairs: dict[str, dict[str, np.ndarray]], seed: int) -> dict[str, tuple]:
    """Value, interval and number of frames of every correlation, over the frames of all clips."""
    found = {}
    for name in COMPARISONS:
        of_clips = [pair[name] for pair in pairs.values() if name in pair]
        for number, axis in enumerate(AXES if of_clips else ()):
            one = [pair[:, number] for pair in of_clips if np.isfinite(pair[:, number]).all()]
            found[f"{axis}_correlation_{name}"] = correlation(without_common(one), seed)
    rewarded = []
    for reading in readings.values():
        of_clip = [
            (reward, reading.psnr[told].mean()) for told, reward in reading.rewards.items() if reward is not None
        ]
        rewarded += [np.array(of_clip)] if of_clip else []
    if rewarded:
        found["reward_correlation"] = correlation(rewarded, seed)
    return found


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


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


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
