"""Paths on the ground as curvature over length: where they lead, how far from them a place is.

numpy only.
"""

from dataclasses import dataclass

import numpy as np

STEP_M = 0.1
"""Between samples of a path."""
RAMP = 0.25
"""Share of a bend's length in which its curvature grows, and in which it falls: nobody turns the wheel at once."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Path:
    """A path of N samples."""

    along_m: np.ndarray
    """(N,) increasing, the length from the path's own origin"""
    places_m: np.ndarray
    """(N, 2) x and y"""
    yaw: np.ndarray
    """(N,) radians, unwrapped"""
    curvature: np.ndarray
    """(N,) 1/m, to the left positive"""

    def at(self, along_m: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places (K, 2), yaw (K,) and curvature (K,) at lengths (K,); beyond the ends those of the ends."""
        x, y, yaw, curvature = (
            np.interp(along_m, self.along_m, values) for values in (*self.places_m.T, self.yaw, self.curvature)
        )
        return np.stack([x, y], -1), yaw, curvature

    def beside(self, along_m: np.ndarray, left_m: np.ndarray | float) -> np.ndarray:
        """Places (K, 2) at lengths (K,), so far to the left of the path."""
        places, yaw, _ = self.at(along_m)
        return places + np.asarray(left_m)[..., None] * np.stack([-np.sin(yaw), np.cos(yaw)], -1)

    def distance_to(self, places_m: np.ndarray) -> np.ndarray:
        """Distance (K,) of places (K, 2) to the nearest sample, of every tenth: at most 0.13 m too far within 1 m."""
        return np.linalg.norm(places_m[:, None] - self.places_m[::10], axis=-1).min(1)


def follow(along_m: np.ndarray, curvature: np.ndarray, start_m: np.ndarray, yaw: float) -> Path:
    """The path (N,) of a curvature (N,) over lengths (N,) from a place (2,) and a direction at length 0."""
    step = np.diff(along_m)
    turned = np.concatenate([[0], np.cumsum((curvature[1:] + curvature[:-1]) / 2 * step)])
    turned += yaw - np.interp(0.0, along_m, turned)
    middle = (turned[1:] + turned[:-1]) / 2
    steps = np.stack([np.cos(middle), np.sin(middle)], -1) * step[:, None]
    places = np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])
    places += start_m - [np.interp(0.0, along_m, values) for values in places.T]
    return Path(along_m=along_m, places_m=places, yaw=turned, curvature=curvature)


def straight(start_m: np.ndarray, yaw: float, first_m: float, last_m: float) -> Path:
    """A straight path through a place (2,) from length `first_m` to `last_m`."""
    along = sample(first_m, last_m)
    return follow(along, np.zeros_like(along), start_m, yaw)


def sample(first_m: float, last_m: float) -> np.ndarray:
    """Lengths (N,) of a path's samples."""
    return np.arange(round(first_m / STEP_M), round(last_m / STEP_M) + 1) * STEP_M


def bend(along_m: np.ndarray, start_m: float, length_m: float, angle: float) -> np.ndarray:
    """Curvature (N,) of one bend through `angle`: it grows smoothly, stays, and falls as smoothly."""
    share = (along_m - start_m) / length_m
    rise = smooth(share / RAMP) * smooth((1 - share) / RAMP)
    return angle / (length_m * (1 - RAMP)) * rise


def smooth(share: np.ndarray) -> np.ndarray:
    """From 0 at 0 to 1 at 1 without a corner at either end (3 u2 - 2 u3)."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)
