"""The recipe of a drive: picture, camera, how the car moves, what is on the street."""

from collections.abc import Iterable
from dataclasses import dataclass

from generation.config import DEVICES, SPLITS, parse_words

DRIVING = "driving"
"""Name of the recipe."""
MANOEUVRES = ("cruise", "start", "stop", "stop_and_go")
ROUTES = ("straight", "left", "right", "bend")


@dataclass(frozen=True, kw_only=True)
class DriveConfig:
    """What decides the pictures and the motion of a drive, apart from its seed and the asset pack."""

    width: int = 96
    """Pixels of the frames."""
    height: int = 64
    num_frames: int = 40
    frame_rate: int = 10
    """Frames a second; 10 as Vista is trained on."""
    samples_per_pixel: int = 8
    max_bounces: int = 2
    """Of a light path; light that comes from walls and ground takes one."""
    denoise: bool = True
    device: str = "cpu"
    """What Cycles computes on: cpu, cuda or optix. Another device gives other bytes."""
    camera_height_m: float = 1.5
    focal_share: float = 0.79
    """Focal length as a share of the frame's width: nuScenes' front camera, 1,266 of 1,600 pixels."""
    weight_straight: float = 1.0
    """How often the route goes straight over a crossing, relative to the other three weights."""
    weight_left: float = 1.0
    weight_right: float = 1.0
    weight_bend: float = 1.0
    """A winding street without a crossing."""
    weight_cruise: float = 3.0
    """How often the speed only wanders, relative to the other three weights. Who turns at a crossing does not stop."""
    weight_start: float = 1.0
    weight_stop: float = 1.0
    weight_stop_and_go: float = 1.0
    speed_mps: tuple[float, float] = (4.0, 13.0)
    """Bounds of the speed where the car is under way."""
    max_acceleration: float = 3.0
    """Along the way, m/s2."""
    max_lateral: float = 3.0
    """Across it, m/s2: turns are driven as slowly as that asks."""
    max_parked: int = 14
    """Cars and things of the asset pack at the kerb, at the most."""
    max_moving: int = 5
    """Other cars on the road, and things of the pack on the pavements."""
    split: str = "train"
    """Which things, fronts, grounds and skies: a quarter of each is held out for test."""
    base_seed: int = 0
    """Seeds of drives are drawn from [base_seed, seed]."""

    def __post_init__(self) -> None:
        for name, known in {"split": SPLITS, "device": DEVICES}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r}: use one of {', '.join(known)}")
        least = {"width": 16, "height": 16, "num_frames": 2, "frame_rate": 1, "samples_per_pixel": 1, "max_bounces": 1}
        for name, number in (least | {"max_parked": 0, "max_moving": 0, "base_seed": 0}).items():
            if getattr(self, name) < number:
                raise ValueError(f"{name}={getattr(self, name)} must be at least {number}")
        low, high = self.speed_mps
        if not 0.5 <= low < high <= 40:
            raise ValueError(f"speed_mps={low},{high}: from 0.5 to 40 m/s, low before high")
        for name in ("max_acceleration", "max_lateral", "camera_height_m", "focal_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} must be above 0")
        for kinds in (ROUTES, MANOEUVRES):
            weights = self.weights(kinds)
            if min(weights) < 0 or not sum(weights) > 0:
                names = ", ".join(f"weight_{kind}" for kind in kinds)
                raise ValueError(f"{names} must not be negative, and one above 0")

    def weights(self, kinds: tuple[str, ...]) -> list[float]:
        """The weights of ROUTES or MANOEUVRES."""
        return [getattr(self, f"weight_{kind}") for kind in kinds]

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.focal_share * self.width


def parse_drive(words: Iterable[str]) -> DriveConfig:
    """The recipe DRIVING with `key=value` overrides; raises ValueError with the closest known key."""
    return DriveConfig(**parse_words(DriveConfig, words))
