"""The recipe of a clip: how it is rendered (`MoviConfig`) and how it is annotated (`TrackConfig`).

MoviConfig's defaults are MOVi-F as published (Greff et al. 2022); the other variants are rows of RECIPES, and small
clips are overrides.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

SETTINGS = ("dome", "clevr", "shapes")
CAMERAS = ("fixed", "linear", "panning", "mixed", "clevr")
SPLITS = ("train", "test")
QUALITIES = ("high", "balanced", "fast")
PREFILTERS = ("accurate", "fast", "none")
DEVICES = ("cpu", "cuda", "optix")
Config = TypeVar("Config", "MoviConfig", "TrackConfig")
Box = tuple[float, float, float, float, float, float]
"""Two corners of a box, or two ends of a range: low x, y, z, high x, y, z."""


@dataclass(frozen=True, kw_only=True)
class MoviConfig:
    """What decides a clip's pictures and passes, apart from its seed and the asset pack."""

    setting: str = "dome"
    """dome: scanned objects under an HDRI (MOVi-C to F); clevr: coloured cubes, cylinders and spheres on grey (A);
    shapes: coloured basic shapes on a coloured floor (B)."""
    resolution: int = 512
    """Pixels of the square frame's side."""
    num_frames: int = 24
    frame_rate: int = 12
    """Frames a second; physics always runs at 240 steps a second."""
    samples_per_pixel: int = 64
    device: str = "cpu"
    """What Cycles computes on: cpu, cuda or optix. Another device gives other bytes."""
    denoise: bool = True
    denoise_quality: str = "high"
    """Which of the denoiser's networks: high is Blender's default."""
    denoise_prefilter: str = "none"
    """How the denoiser cleans its guiding images first. Blender's default is accurate; from 16 samples on that changes
    nothing that could be measured (docs/explanation/generation.md), with 4 samples fast brings 1.1 dB."""
    max_bounces: int = 12
    """Of a light path: 12 is Blender's default; 3 saves a third of the time and darkens corners a little."""
    world_map: int = 2048
    """Width of the importance map of the world's light. Blender takes 4096 by itself, at 2.7 CPU-seconds a frame; 2048
    is as good (docs/explanation/generation.md), 512 is half a decibel worse and free."""
    min_static: int = 10
    max_static: int = 20
    min_dynamic: int = 1
    max_dynamic: int = 3
    min_size: float = 0.75
    """Longest edge of an object's bounding box, metres; of basic shapes, their scale."""
    max_size: float = 3.0
    static_region: Box = (-7.0, -7.0, 0.0, 7.0, 7.0, 10.0)
    """Where static objects are put before they fall, metres."""
    dynamic_region: Box = (-5.0, -5.0, 1.0, 5.0, 5.0, 5.0)
    velocity_range: Box = (-4.0, -4.0, 0.0, 4.0, 4.0, 0.0)
    """Of dynamic objects, metres a second; (x, y) of their place is subtracted, so that they fly to the centre."""
    settle_seconds: float = 100 / 12
    """Static objects fall and settle for 100 frames of the published 12 a second."""
    settle_friction: float = 1.0
    settle_restitution: float = 0.0
    friction: float = 0.5
    """Of the static objects once they have settled; thrown ones keep their asset's own."""
    restitution: float = 0.5
    floor_friction: float = 0.3
    floor_restitution: float = 0.5
    camera: str = "linear"
    """fixed (MOVi-B to D), linear: moves and looks at the origin (E, F), panning: the look-at moves too; mixed draws
    one of these; clevr: fixed near CLEVR's place (A)."""
    weight_fixed: float = 1.0
    """How often `mixed` draws a fixed camera, relative to the other two weights."""
    weight_linear: float = 1.0
    weight_panning: float = 1.0
    max_camera_movement: float = 4.0
    """Metres over the whole clip."""
    max_motion_blur: float = 2.0
    """The strength is drawn from 0 to this, and blurs the picture only; 0 is sharp."""
    split: str = "train"
    """Which objects and lights: a tenth is held out for test, where the assets' manifest does not say itself."""
    base_seed: int = 0
    """Seeds of clips are drawn from [base_seed, seed]."""
    save_flow: bool = False
    """Also keep Blender's own optical flow (flow.npz): `python -m generation verify` compares the tracks with it."""

    def __post_init__(self) -> None:
        _check_choices(self, setting=SETTINGS, camera=CAMERAS, split=SPLITS, device=DEVICES)
        _check_choices(self, denoise_quality=QUALITIES, denoise_prefilter=PREFILTERS)
        _check_least(self, 1, "resolution", "num_frames", "frame_rate", "samples_per_pixel", "max_bounces")
        if self.max_static + self.max_dynamic > MAX_OBJECTS:
            raise ValueError(f"max_static + max_dynamic must be at most {MAX_OBJECTS}: ids are stored in 8 bits")
        if self.base_seed < 0:
            raise ValueError(f"base_seed={self.base_seed}: seeds are from 0")
        if STEP_RATE % self.frame_rate:
            raise ValueError(f"frame_rate={self.frame_rate} must divide {STEP_RATE}, the physics steps a second")
        for low, high in (("min_static", "max_static"), ("min_dynamic", "max_dynamic"), ("min_size", "max_size")):
            if not 0 <= getattr(self, low) <= getattr(self, high):
                raise ValueError(f"{low}={getattr(self, low)} and {high}={getattr(self, high)} are no range")
        for name in ("static_region", "dynamic_region", "velocity_range"):
            box = getattr(self, name)
            if any(low > high for low, high in zip(box[:3], box[3:], strict=True)):
                raise ValueError(
                    f"{name}={list(box)}: the first three numbers are the low ends, the others the high ones"
                )
        weights = [self.weight_fixed, self.weight_linear, self.weight_panning]
        if min(weights) < 0 or not sum(weights) > 0:
            raise ValueError("weight_fixed, weight_linear and weight_panning must not be negative, and one above 0")
        for name in ("friction", "restitution"):
            for prefix in ("", "settle_", "floor_"):
                if not 0 <= getattr(self, prefix + name) <= 1:
                    raise ValueError(f"{prefix}{name}={getattr(self, prefix + name)}: from 0 to 1")
        if min(self.max_camera_movement, self.max_motion_blur, self.settle_seconds) < 0:
            raise ValueError("max_camera_movement, max_motion_blur and settle_seconds must not be negative")
        if self.min_size == 0 or self.world_map < 16:
            raise ValueError("min_size must be above 0, world_map at least 16")


@dataclass(frozen=True, kw_only=True)
class TrackConfig:
    """What decides a clip's annotation, apart from its passes: nothing here renders anything again."""

    num_tracks: int = 2048
    sampling_stride: int = 4
    """Queries are drawn from every so many pixels and frames."""
    max_sampled_share: float = 0.1
    """No segment gives more than this share of its candidate pixels as queries, while others can give."""
    dense_frames: tuple[int, ...] = ()
    """Frames all of whose pixels are followed through the clip (negative ones count from the end)."""
    dense_flow: bool = False
    """Also write the displacement of every pixel to the next and from the previous frame."""

    def __post_init__(self) -> None:
        _check_least(self, 1, "num_tracks", "sampling_stride")
        if not 0 < self.max_sampled_share <= 1:
            raise ValueError(f"max_sampled_share={self.max_sampled_share}: above 0, at most 1")


_SHAPES = {
    "resolution": 256,
    "min_static": 0,
    "max_static": 0,
    "min_dynamic": 3,
    "max_dynamic": 10,
    "max_motion_blur": 0.0,
}
RECIPES: dict[str, dict[str, Any]] = {
    "movi_a": _SHAPES | {"setting": "clevr", "camera": "clevr", "min_size": 0.7, "max_size": 1.4},
    "movi_b": _SHAPES | {"setting": "shapes", "camera": "fixed", "min_size": 0.7, "max_size": 1.4},
    "movi_c": _SHAPES | {"camera": "fixed"},
    "movi_d": {"resolution": 256, "camera": "fixed", "max_motion_blur": 0.0},
    "movi_e": {"resolution": 256, "max_motion_blur": 0.0},
    "movi_e_panning": {"resolution": 256, "max_motion_blur": 0.0, "camera": "panning", "max_camera_movement": 8.0},
    "movi_f": {},
    "movi_f_long": {"num_frames": 120},
}
"""What each variant changes of MoviConfig's defaults (Kubric's challenges/movi). movi_e_panning is what TAPIR trains
on, movi_f_long gives the 120-frame clips that CoTracker3 cuts its windows from."""
KUBRIC_ASSETS = "https://storage.googleapis.com/kubric-public/assets"
"""The web address of Kubric's asset bucket."""
STEP_RATE = 240
"""Physics steps a second, whatever the frame rate."""
MAX_OBJECTS = 255


def parse_recipe(recipe: str, words: Iterable[str]) -> MoviConfig:
    """A recipe with `key=value` overrides; raises ValueError with the closest known name or key."""
    if recipe not in RECIPES:
        raise ValueError(f"there is no recipe '{recipe}', {_suggestion(recipe, RECIPES)}")
    return MoviConfig(**RECIPES[recipe] | parse_words(MoviConfig, words))


def parse_tracks(words: Iterable[str]) -> TrackConfig:
    """How to annotate, from `key=value` overrides; raises ValueError with the closest known key."""
    return TrackConfig(**parse_words(TrackConfig, words))


def as_words(values: dict[str, Any]) -> list[str]:
    """YAML values as sorted `key=value` words that the two functions above read."""
    return [f"{key}={_as_text(value)}" for key, value in sorted(values.items())]


def _as_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ",".join(_as_text(each) for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_words(kind: type, words: Iterable[str]) -> dict[str, Any]:
    """Values of a frozen dataclass's fields by `key=value` words; ValueError with the closest known key."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    values = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r}: overrides are written key=value")
        if key not in types:
            raise ValueError(f"unknown key '{key}', {_suggestion(key, types)}")
        values[key] = _parse(key, text, types[key])
    return values


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def _parse(key: str, text: str, kind: Any) -> object:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"{key}={text}: write true or false")
        return text.lower() == "true"
    if kind is Box:
        numbers = text.split(",")
        if len(numbers) != 6:
            raise ValueError(f"{key}={text}: expected six numbers, low x,y,z and high x,y,z")
        return tuple(_parse(key, number, float) for number in numbers)
    if kind == tuple[float, float]:
        numbers = text.split(",")
        if len(numbers) != 2:
            raise ValueError(f"{key}={text}: expected two numbers, low,high")
        return tuple(_parse(key, number, float) for number in numbers)
    if kind == tuple[int, ...]:
        return tuple(_parse(key, number, int) for number in text.split(",") if text)
    try:
        value = kind(text)
    except ValueError:
        raise ValueError(f"{key}={text}: expected {kind.__name__}") from None
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{key}={text}: expected a finite number")
    return value


def _check_choices(config: MoviConfig, **choices: tuple[str, ...]) -> None:
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(f"{name}={getattr(config, name)!r}: use one of {', '.join(known)}")


def _check_least(config: Any, least: int, *names: str) -> None:
    for name in names:
        if not getattr(config, name) >= least:
            raise ValueError(f"{name}={getattr(config, name)} must be at least {least}")


def digest_of(config: Any, source: int | str, making: dict[str, Any]) -> str:
    """sha256 over all that decides a result: recipe, seed or input, and how it is made (asset pack, code, versions).

    `config` is the recipe's dataclass.
    """
    return hashlib.sha256(json.dumps([asdict(config), source, making], sort_keys=True).encode()).hexdigest()
