"""The thresholds of object tracking, and the published choices of them (LBM, section 4.5)."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from trainer.config import build, suggestion

COMPARED_SIZE = (384, 512)
"""Height and width of the frame in whose pixels lengths and areas are compared with thresholds: LBM's input. Positions
themselves stay in source pixels."""


@dataclass(frozen=True, kw_only=True)
class ObjectSettings:
    """Thresholds of the object tracker; the defaults are the demo's. Lengths are pixels of a 512x384 frame."""

    init_score: float = 0.1
    """A box that belongs to no track begins one if its score is above this."""
    object_score: float = 0.1
    """Boxes with scores up to this are not looked at."""
    match_score: float = 0.1
    """A box joins a track if their match is above this."""
    num_points: int = 20
    """Points followed per track."""
    memo_tracklet_frames: int = 30
    """A track that had no box for this many frames ends."""
    memo_point_frames: int = 3
    """A point that was outside of its track's box (or hidden) for this many frames in which there was one is sampled
    anew."""
    max_distance: float = 100.0
    """Pixels that a box may be from the track's last one before the match is weakened."""
    frames_per_second: float = 30.0
    other_label_factor: float = 0.5
    """Weight of a match between different categories."""
    min_area_ratio: float = 0.1
    """Lower bound of the ratio of areas (track to box) in a match; the upper one is 1."""
    distractor_score: float = 0.5
    distractor_overlap: float = 0.3
    """A box with a score below the former whose IoU with a box of higher score is above the latter is dropped."""
    min_area: float = 50.0
    """Smaller boxes are dropped; square pixels."""
    max_aspect: float = 10.0
    """Boxes whose longer side is more than this many times the shorter one are dropped."""
    min_points_inside: int = 0
    """A match needs at least this many of the track's points in the box. Published: 0, so that two softmaxes over few
    candidates can join a box to a track with none of its points."""
    seed: int = 0
    """Seed of the places of points."""

    def __post_init__(self) -> None:
        for name, lowest in {
            "num_points": 1, "memo_tracklet_frames": 1, "memo_point_frames": 1, "min_points_inside": 0, "seed": 0,
            "min_area": 0, "max_aspect": 1, "max_distance": 0, "init_score": 0, "object_score": 0, "match_score": 0,
        }.items():  # fmt: skip
            if not getattr(self, name) >= lowest:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {lowest}")
        for name in ("other_label_factor", "min_area_ratio", "distractor_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} must lie in 0..1")
        if not self.frames_per_second > 0:
            raise ValueError(f"frames_per_second={self.frames_per_second} must be above 0")


_TAO = {"init_score": 0.01, "object_score": 0.01, "match_score": 0.01, "num_points": 16, "memo_tracklet_frames": 10}
PRESETS: dict[str, dict[str, float | int]] = {
    "demo": {},
    "tao": _TAO,
    "ovtb": _TAO,
    "bft": _TAO | {"init_score": 0.3, "object_score": 0.2, "memo_point_frames": 2},
}
"""What each published setting changes."""


def make_settings(preset: str, overrides: Sequence[str] = ()) -> ObjectSettings:
    """The settings of a preset, changed by `key=value` words; ValueError for unknown names and unfit values."""
    if preset not in PRESETS:
        raise ValueError(f"there is no preset '{preset}', {suggestion(preset, PRESETS)}")
    values = asdict(build(ObjectSettings, PRESETS[preset]))
    for word in overrides:
        key, is_pair, text = word.partition("=")
        if not is_pair:
            raise ValueError(f"'{word}': expected key=value; keys: {', '.join(values)}")
        try:
            values[key] = json.loads(text)
        except json.JSONDecodeError:
            raise ValueError(f"'{word}': the value is not a number") from None
    return build(ObjectSettings, values)
