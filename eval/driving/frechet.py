"""Frechet distance between made and true frames, as FID and FVD measure it, with features of your choice.

FID (Heusel et al. 2017) takes features of an Inception network, FVD (Unterthiner et al. 2018) of an I3D network.
Weights of neither come with this project, and there is no default: numbers of other features are no FID and no FVD. A
caller names a function, `module:function`, which takes frames (N, T, H, W, 3) uint8 and returns features (N, D).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from eval.driving.reading import check_same, true_frames
from eval.driving.rollouts import Rollouts, read_rollouts
from eval.driving.truth import DriveTruth

WINDOWS_AT_ONCE = 8


def load_extractor(name: str, option: str = "--extractor") -> Callable[..., np.ndarray]:
    """The function `module:function` that an option of the command line names; ValueError where there is none."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{option} {name}: no function by this name ({error}); write module:function") from None
    if not callable(found):
        raise ValueError(f"{option} {name}: this is no function, but {type(found).__name__}")
    return found


def frechet_distance(made: np.ndarray, true: np.ndarray) -> float:
    """Squared Frechet distance of Gaussians with the means and covariances of features (N, D) and (M, D).

    |m - m'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2), where only symmetric matrices have their roots taken.
    """
    shift = made.mean(0, dtype=np.float64) - true.mean(0, dtype=np.float64)
    spread_made, spread_true = (
        np.cov(each.astype(np.float64), rowvar=False).reshape(2 * each.shape[1:]) for each in (made, true)
    )
    root = _root(spread_made)
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ spread_true @ root), 0, None)).sum()
    return float(shift @ shift + np.trace(spread_made) + np.trace(spread_true) - 2 * shared)


def _root(matrix: np.ndarray) -> np.ndarray:
    """The root of a symmetric matrix (D, D) whose eigenvalues are not negative, but for rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T


def measure(
    path: str | Path,
    index: str | Path,
    extractor: str,
    *,
    told: str = "true",
    by_frame: bool = False,
    allow_few: bool = False,
) -> dict:
    """Distance between the rollouts that were told `told` and the true windows of the same clips.

    by_frame: each made frame is a sample of its own, a clip of one frame, as for FID; else each whole window is one,
    with the given frames, as for FVD. Raises ValueError where samples are no more than features: covariances have no
    inverse then, and the distance is mostly an error; with `allow_few` the result says `is_biased`.
    """
    rollouts, truth = read_rollouts(path), DriveTruth(index)
    check_same(rollouts, truth)
    if told not in rollouts.told:
        raise ValueError(f"{path}: nothing was told {told!r} there; choose one of {', '.join(rollouts.told)}")
    extract = load_extractor(extractor)
    made, true = [], []
    for some_made, some_true in _batches(rollouts, truth, told):
        for features, frames in ((made, some_made), (true, some_true)):
            num_given = rollouts.settings["num_given"]
            samples = frames[:, num_given:].reshape(-1, 1, *frames.shape[2:]) if by_frame else frames
            features.append(check_features(extract(samples), len(samples), extractor))
    made, true = np.concatenate(made), np.concatenate(true)
    num_samples, num_features = made.shape
    if num_samples <= num_features and not allow_few:
        raise ValueError(
            f"{path}: {num_samples} samples of {num_features} features have no covariance worth the name; roll out "
            "more than that, or say --allow-few for a number that compares with nothing"
        )
    return {
        "distance": frechet_distance(made, true),
        "extractor": extractor,
        "told": told,
        "samples": "frames" if by_frame else "windows",
        "num_samples": num_samples,
        "num_features": num_features,
        "is_biased": num_samples <= num_features,
        "model": rollouts.model,
        "benchmark": truth.dataset,
        "truth_sha256": truth.sha256,
        "settings": rollouts.settings,
    }


def check_features(features: np.ndarray, num_samples: int, extractor: str) -> np.ndarray:
    """The features, if they are (N, D) finite numbers of N samples; else ValueError."""
    features = np.asarray(features)
    if features.ndim != 2 or len(features) != num_samples or not np.issubdtype(features.dtype, np.floating):
        expected = f"expected floats of shape ({num_samples}, D)"
        raise ValueError(f"--extractor {extractor}: returned {features.dtype} of shape {features.shape}, {expected}")
    if not np.isfinite(features).all():
        raise ValueError(f"--extractor {extractor}: returned NaN or infinite features")
    return features


def _batches(rollouts: Rollouts, truth: DriveTruth, told: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Made and true windows (N, T, H, W, 3), WINDOWS_AT_ONCE at a time."""
    for start in range(0, len(rollouts.windows), WINDOWS_AT_ONCE):
        windows = rollouts.windows[start : start + WINDOWS_AT_ONCE]
        made = np.stack([rollouts.frames(key, told, number) for key, number in windows])
        yield made, np.stack([true_frames(rollouts, truth, *window) for window in windows])
