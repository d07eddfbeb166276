"""The recipe of pictures of people: bodies, poses, cameras, looks."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from generation.config import parse_words

BACKGROUNDS = ("noise", "plain", "panorama")
SPLITS = ("train", "test")
RENDERERS = ("z_buffer", "cycles")


@dataclass(frozen=True, kw_only=True)
class PeopleConfig:
    """What decides a clip of a person, apart from its seed and the body file.

    The cameras are those of BEDLAM-CC (BLADE, docs of its data): distances uniform in 1/d, the focal length in
    proportion to the distance, so that a person's size says little of it and the perspective all.
    """

    resolution: int = 128
    """Pixels of the square picture's side."""
    num_frames: int = 8
    """Pictures of a clip: one body in one pose, each from a camera of its own."""
    near_share: float = 0.8
    """Share of the cameras at near distances."""
    near_m: tuple[float, float] = (0.5, 1.0)
    """Near distances of the camera from what it looks at, metres."""
    far_m: tuple[float, float] = (1.0, 10.0)
    focal_mm: float = 15.0
    """Focal length at a distance of 1 m on a sensor of 36 mm; at d metres d times this."""
    focal_jitter: tuple[float, float] = (0.7, 1.3)
    """Bounds of the uniform factor of the focal length."""
    polar: tuple[float, float] = (0.1, 0.7)
    """Bounds of the camera's polar angle as shares of a half turn: 0 is above the person, 0.5 at its height."""
    direction_noise_degrees: float = 5.0
    """Deviation of the direction of view at 1 m; at d metres 1/d of it."""
    target_drop_m: float = 0.4
    """What the camera looks at is so far below a joint of the trunk or the head."""
    min_height_m: float = 0.05
    """Of the camera over the floor."""
    clearance: float = 1.1
    """The camera's distance is at least so many times the person's reach."""
    min_joints: int = 8
    """So many joints at least are in the picture."""
    pose_scale: float = 1.0
    """Of all random rotations of joints: 0 leaves the stances."""
    max_tilt_degrees: float = 15.0
    """Deviation of the whole body from the upright."""
    shape_limit: float = 2.5
    """Shape coefficients are normal with variance 1, cut here."""
    background: str = "noise"
    """noise: a gradient and soft random patches; plain: one colour; panorama: places of an asset pack's HDRIs."""
    split: str = "train"
    """Which panoramas: those of test are held out."""
    background_m: float = 12.0
    """How far along the camera's axis what is behind is, metres."""
    has_floor: bool = True
    sensor_noise: float = 0.02
    """Deviation of a pixel, of 1."""
    supersample: int = 1
    """A pixel's colour is the mean over so many times as many pixels each way."""
    renderer: str = "z_buffer"
    """z_buffer: flat light, in numpy; cycles: soft light and shadows, by Blender. Labels are the z-buffer's."""
    cycles_samples: int = 16
    """Paths a pixel."""

    def __post_init__(self) -> None:
        for name, least in {
            "resolution": 16,
            "num_frames": 1,
            "supersample": 1,
            "min_joints": 1,
            "cycles_samples": 1,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {least}")
        for name in ("near_m", "far_m", "focal_jitter", "polar"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name}={low},{high}: give two positive bounds, the smaller one first")
        if self.polar[1] >= 1:
            raise ValueError(f"polar={self.polar[0]},{self.polar[1]} must end below 1, which is under the floor")
        if not 0 <= self.near_share <= 1:
            raise ValueError(f"near_share={self.near_share} must lie in 0..1")
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background={self.background!r}: use one of {', '.join(BACKGROUNDS)}")
        if self.renderer not in RENDERERS:
            raise ValueError(f"renderer={self.renderer!r}: use one of {', '.join(RENDERERS)}")
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}: use one of {', '.join(SPLITS)}")
        for name in ("focal_mm", "background_m", "clearance", "shape_limit"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)} must be positive")
        if self.background_m <= self.far_m[1]:
            raise ValueError(f"background_m={self.background_m} must be beyond far_m={self.far_m[0]},{self.far_m[1]}")
        for name in ("direction_noise_degrees", "pose_scale", "max_tilt_degrees", "sensor_noise", "min_height_m"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")


def parse_people(words: Iterable[str]) -> PeopleConfig:
    """The recipe from `key=value` words; raises ValueError with the closest known key."""
    return PeopleConfig(**parse_words(PeopleConfig, words))


def from_recipe(recipe: dict) -> PeopleConfig:
    """The recipe that an index names (`recipe.people`); ValueError for keys that this version does not know."""
    known = {field.name for field in dataclasses.fields(PeopleConfig)}
    unknown = sorted(recipe.keys() - known)
    if unknown:
        raise ValueError(f"a recipe of people has the unknown key '{unknown[0]}'; draw the data set again")
    return PeopleConfig(**{key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items()})
