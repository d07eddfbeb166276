"""The recipe of a clip; the defaults are MOVi-F as published (Greff et al. 2022), small clips are overrides."""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

CAMERAS = ("fixed", "linear", "panning", "mixed")
SPLITS = ("train", "test")
QUALITIES = ("high", "fast")


@dataclass(frozen=True, kw_only=True)
class MoviConfig:
    """What decides a clip's content, apart from its seed and the asset pack."""

    resolution: int = 512
    """Pixels of the square frame's side."""
    num_frames: int = 24
    frame_rate: int = 12
    """Frames a second; physics always runs at 240 steps a second."""
    samples_per_pixel: int = 64
    denoise: bool = True
    denoise_quality: str = "high"
    """high is Blender's default; fast neither cleans the guiding images first nor uses the large network."""
    max_bounces: int = 12
    """Of a light path: 12 is Blender's default; 3 saves a third of the time and darkens corners a little."""
    world_map: int = 256
    """Side of the importance map of the world's light: Blender's own 1024 costs 3 CPU-seconds a frame."""
    min_static: int = 10
    max_static: int = 20
    min_dynamic: int = 1
    max_dynamic: int = 3
    min_size: float = 0.75
    """Longest edge of an object's bounding box, metres."""
    max_size: float = 3.0
    camera: str = "linear"
    """fixed (MOVi-D), linear: moves and looks at the origin (MOVi-E, F), panning: the look-at moves too; or mixed."""
    weight_fixed: float = 1.0
    """How often `mixed` draws a fixed camera, relative to the other two weights."""
    weight_linear: float = 1.0
    weight_panning: float = 1.0
    max_camera_movement: float = 4.0
    """Metres over the whole clip."""
    max_motion_blur: float = 2.0
    """The strength is drawn from 0 to this, and blurs the picture only; 0 is sharp."""
    num_tracks: int = 2048
    sampling_stride: int = 4
    """Queries are drawn from every so many pixels and frames."""
    split: str = "train"
    """Which objects and lights: a tenth is held out for test, where the assets' manifest does not say itself."""
    base_seed: int = 0
    """Seeds of clips are drawn from [base_seed, seed]."""
    save_passes: bool = False
    """Also keep object coordinates, normals and optical flow (passes.npz)."""

    def __post_init__(self) -> None:
        for name, known in (("camera", CAMERAS), ("split", SPLITS), ("denoise_quality", QUALITIES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: use one of {', '.join(known)}")
        for name in ("resolution", "num_frames", "frame_rate", "samples_per_pixel", "num_tracks", "sampling_stride"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")
        if self.max_static + self.max_dynamic > MAX_OBJECTS:
            raise ValueError(f"max_static + max_dynamic must be at most {MAX_OBJECTS}: ids are stored in 8 bits")
        if self.base_seed < 0:
            raise ValueError(f"base_seed={self.base_seed}: seeds are from 0")
        if STEP_RATE % self.frame_rate:
            raise ValueError(f"frame_rate={self.frame_rate} must divide {STEP_RATE}, the physics steps a second")
        for low, high in (("min_static", "max_static"), ("min_dynamic", "max_dynamic"), ("min_size", "max_size")):
            if not 0 <= getattr(self, low) <= getattr(self, high):
                raise ValueError(f"{low}={getattr(self, low)} and {high}={getattr(self, high)} are no range")
        weights = [self.weight_fixed, self.weight_linear, self.weight_panning]
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError("weight_fixed, weight_linear and weight_panning must not be negative, and one above 0")
        if min(self.max_camera_movement, self.max_motion_blur) < 0 or self.min_size == 0 or self.world_map < 16:
            raise ValueError("max_camera_movement and max_motion_blur from 0, min_size above 0, world_map from 16")


STEP_RATE = 240
"""Physics steps a second, whatever the frame rate."""
SETTLE_SECONDS = 100 / 12
"""Static objects fall and settle for 100 frames of the published 12 a second."""
MAX_OBJECTS = 255


def parse_overrides(words: Iterable[str]) -> MoviConfig:
    """The recipe with `key=value` overrides; raises ValueError with the closest known key."""
    types = {field.name: field.type for field in dataclasses.fields(MoviConfig)}
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r}: overrides are written key=value")
        if key not in types:
            close = difflib.get_close_matches(key, types, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(types)}"
            raise ValueError(f"unknown key '{key}', {hint}")
        values[key] = _parse(key, text, types[key])
    return MoviConfig(**values)


def _parse(key: str, text: str, kind: type) -> object:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}={text}: write true or false")
        return text.lower() == "true"
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{key}={text}: expected {kind.__name__}") from None
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{key}={text}: expected a finite number")
    return value


def digest_of(config: MoviConfig, seed: int, making: dict[str, Any]) -> str:
    """sha256 over all that decides a clip: recipe, seed, and how it is made (asset pack, code, versions)."""
    return hashlib.sha256(json.dumps([asdict(config), seed, making], sort_keys=True).encode()).hexdigest()
