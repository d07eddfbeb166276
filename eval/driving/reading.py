"""What is read from the rollouts of one window, beside its true frames: likeness, and motion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.driving.columns import COMPARISONS
from eval.driving.following import travel
from eval.driving.metrics import copy_frames, psnr, ssim
from eval.driving.motion import recover_steps
from eval.driving.rollouts import MAKE_AGAIN, WINDOW, Rollouts
from eval.driving.truth import DriveTruth

AXES = ("ahead", "turn")
"""Of steps, in their order."""


@dataclass(frozen=True, kw_only=True)
class WindowReading:
    """What is read from one window's rollouts and its true frames."""

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


def check_same(rollouts: Rollouts, truth: DriveTruth) -> None:
    """Raise ValueError for rollouts of another truth."""
    if rollouts.dataset_digest != truth.sha256:
        raise ValueError(
            f"{rollouts.path}: made for another truth ({rollouts.dataset_digest[:12]}..., {truth.path} is "
            f"{truth.sha256[:12]}...); {MAKE_AGAIN}"
        )


def true_frames(rollouts: Rollouts, truth: DriveTruth, key: str, number: int = 0) -> np.ndarray:
    """The frames (T, H, W, 3) uint8 that a window of the rollouts is held against."""
    return truth.window(key, *(rollouts.settings[name] for name in WINDOW), rollouts.first(key, number))[0]


def read_window(rollouts: Rollouts, truth: DriveTruth, key: str, number: int) -> WindowReading:
    """Compare the rollouts of a window with its true frames, and read the motion in all of them."""
    settings, true = rollouts.settings, true_frames(rollouts, truth, key, number)
    span, num_given = (settings["num_frames"], settings["frame_step"]), settings["num_given"]
    made = {told: rollouts.frames(key, told, number) for told in rollouts.told}
    compared = made | {"copy": copy_frames(true, num_given)}
    whose = {told: (rollouts.told_key(key, told, number), rollouts.told_first(key, told, number)) for told in made}
    return WindowReading(
        psnr={told: psnr(frames[num_given:], true[num_given:]) for told, frames in compared.items()},
        ssim={told: float(ssim(frames[num_given:], true[num_given:]).mean()) for told, frames in compared.items()},
        steps={told: recover_steps(frames) for told, frames in {None: true, **made}.items()},
        own=truth.steps(key, *span, rollouts.first(key, number)),
        told={told: other and truth.steps(other, *span, first) for told, (other, first) in whose.items()},
        rewards={told: rollouts.reward(key, told, number) for told in made},
    )


def pair_travel(reading: WindowReading, scales: np.ndarray, num_given: int) -> dict[str, np.ndarray]:
    """By the names of COMPARISONS: way ahead and turn, read and expected (T', 2 axes, 2); none where not known."""
    pairs = {}
    for name, (told, against, _) in COMPARISONS.items():
        expected = reading.own if against == "own" else reading.told.get(told)
        if told in reading.steps and expected is not None:
            read = travel(reading.steps[told] * scales, num_given)
            pairs[name] = np.stack([read, travel(expected, num_given)], -1)
    return pairs


def window_values(reading: WindowReading, pairs: dict[str, np.ndarray]) -> dict[str, float | None]:
    """The metrics of one window by their keys in METRICS; None where they are not known."""
    mean_psnr = {told: float(values.mean()) for told, values in reading.psnr.items()}
    values: dict[str, float | None] = {f"psnr_{told}": value for told, value in mean_psnr.items()}
    values |= {f"ssim_{told}": value for told, value in reading.ssim.items()}
    others = [told for told in ("copy", "shuffled", "none") if told in mean_psnr and "true" in mean_psnr]
    values |= {f"over_{told}": mean_psnr["true"] - mean_psnr[told] for told in others}
    for name, pair in pairs.items():
        errors = np.abs(pair[..., 0] - pair[..., 1]).mean(0)  # (2,)
        values |= {f"{axis}_error_{name}": number_or_none(error) for axis, error in zip(AXES, errors, strict=True)}
    rewards = {told: reward for told, reward in reading.rewards.items() if reward is not None}
    values |= {f"reward_{told}": reward for told, reward in rewards.items()}
    values |= {
        f"reward_over_{told}": rewards["true"] - reward
        for told, reward in rewards.items()
        if told != "true" and "true" in rewards
    }
    return values


def number_or_none(value: float) -> float | None:
    """A number as JSON has it: None where it is NaN or infinite."""
    return float(value) if np.isfinite(value) else None
