"""What a scene holds, drawn from one generator: pure sampling, no simulator and no renderer.

Metres, z up. Everything that is drawn ends in the plan, and the plan in the clip's metadata.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from generation.config import MoviConfig

Colour = tuple[float, float, float]
CLEVR_SHAPES = ("cube", "cylinder", "sphere")
BASIC_SHAPES = (*CLEVR_SHAPES, "cone", "torus", "gear", "torus_knot", "sponge", "spot", "teapot", "suzanne")
"""Shapes of MOVi-A and of MOVi-B, by their names in KuBasic."""
CLEVR_COLOURS = {
    "blue": (42, 75, 215),
    "brown": (129, 74, 25),
    "cyan": (41, 208, 208),
    "gray": (87, 87, 87),
    "green": (29, 105, 20),
    "purple": (129, 38, 192),
    "red": (173, 35, 35),
    "yellow": (255, 238, 5),
}
GREY = (128, 128, 128)
CLEVR_CAMERA = (7.48113, -6.50764, 5.34367)
NUM_LIGHTS = 4
"""CLEVR's sun and three lamps, each moved by up to a metre along each axis."""


@dataclass(frozen=True, kw_only=True)
class PlannedObject:
    """An object of the asset pack and its size; where it lies is decided by the simulator."""

    asset_id: str
    size: float
    """Longest edge of the bounding box, metres; of a basic shape its scale."""
    is_dynamic: bool
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Metres a second, before the pull towards the scene's centre."""
    material: str | None = None
    """metal or rubber; None leaves the asset as it is."""
    colour: Colour | None = None
    """RGB from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """One scene: light, objects, camera path."""

    hdri: str | None
    """The light and the dome's picture; None where lamps light a coloured floor."""
    camera: str
    motion_blur: float
    objects: tuple[PlannedObject, ...]
    camera_positions: np.ndarray
    """(num_frames + 2, 3): one frame before the first to one after the last, so that flow at the ends is right."""
    camera_targets: np.ndarray
    """(num_frames + 2, 3): what the camera looks at."""
    floor_colour: Colour | None = None
    light_offsets: np.ndarray | None = None
    """(4, 3) metres"""


def plan_scene(config: MoviConfig, objects: list[str], hdris: list[str], rng: np.random.RandomState) -> ScenePlan:
    """Draw a scene in the published order; `objects` and `hdris` are the ids of the split.

    Where the setting is of basic shapes `objects` are those that the pack has, and `hdris` are not used.
    """
    motion_blur = float(rng.uniform()) * config.max_motion_blur  # drawn even if unused: the rest must not shift
    is_dome = config.setting == "dome"
    hdri = str(rng.choice(hdris)) if is_dome else None
    floor_colour = None if is_dome else choose_floor_colour(config, rng)
    light_offsets = None if is_dome else rng.uniform(size=(NUM_LIGHTS, 3))
    camera = choose_camera(config, rng)
    positions, targets = plan_camera(config, camera, rng)
    num_static = rng.randint(config.min_static, config.max_static + 1)
    num_dynamic = rng.randint(config.min_dynamic, config.max_dynamic + 1)
    planned = [plan_object(config, objects, n >= num_static, rng) for n in range(num_static + num_dynamic)]
    return ScenePlan(
        hdri=hdri,
        camera=camera,
        motion_blur=motion_blur,
        objects=tuple(planned),
        camera_positions=positions,
        camera_targets=targets,
        floor_colour=floor_colour,
        light_offsets=light_offsets,
    )


def plan_object(config: MoviConfig, objects: list[str], is_dynamic: bool, rng: np.random.RandomState) -> PlannedObject:
    """One object: which, how large, how fast, and for a basic shape of what material and colour."""
    asset_id = str(rng.choice(objects))
    size, material, colour = float(rng.uniform(config.min_size, config.max_size)), None, None
    if config.setting == "clevr":
        size = float(rng.choice([config.min_size, config.max_size]))  # small or large, nothing between
        colour = _from_bytes(CLEVR_COLOURS[rng.choice(sorted(CLEVR_COLOURS))])
    elif config.setting == "shapes":
        colour = random_hue(rng)
    if colour is not None:
        material = str(rng.choice(["metal", "rubber"]))
    low, high = config.velocity_range[:3], config.velocity_range[3:]
    velocity = tuple(rng.uniform(low, high).tolist()) if is_dynamic else (0.0, 0.0, 0.0)
    return PlannedObject(
        asset_id=asset_id, size=size, is_dynamic=is_dynamic, velocity=velocity, material=material, colour=colour
    )


def choose_floor_colour(config: MoviConfig, rng: np.random.RandomState) -> Colour:
    """Grey as in CLEVR, or any hue."""
    hue = random_hue(rng)
    return hue if config.setting == "shapes" else _from_bytes(GREY)


def random_hue(rng: np.random.RandomState) -> Colour:
    """A full colour of uniform hue."""
    return colorsys.hsv_to_rgb(float(rng.uniform()), 1.0, 1.0)


def _from_bytes(colour: tuple[int, int, int]) -> Colour:
    return tuple(value / 255 for value in colour)


def make_rng(config: MoviConfig, seed: int, attempt: int) -> np.random.RandomState:
    """The one generator of a scene (RandomState: its stream is frozen, and Kubric asks for it)."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([config.base_seed, seed, attempt])))


def choose_camera(config: MoviConfig, rng: np.random.RandomState) -> str:
    """The recipe's kind of camera, drawn by its weights where that is `mixed`."""
    weights = np.array([config.weight_fixed, config.weight_linear, config.weight_panning])
    drawn = str(rng.choice(["fixed", "linear", "panning"], p=weights / weights.sum()))
    return drawn if config.camera == "mixed" else config.camera


def plan_camera(config: MoviConfig, camera: str, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Positions and look-at targets (num_frames + 2, 3) of the camera, moving at constant speed."""
    # As published the way has one step more than is made: the camera never quite reaches its end.
    share = (np.arange(config.num_frames + 2) / (config.num_frames + 2))[:, None]
    if camera == "clevr":
        start = end = np.array(CLEVR_CAMERA) + rng.uniform(size=3)
    elif camera == "fixed":
        start = end = sample_half_shell(7.0, 9.0, 0.1, rng)
    else:
        start, end = sample_linear_movement(config.max_camera_movement, rng)
    targets = np.zeros((config.num_frames + 2, 3))
    if camera == "panning":
        first, last = sample_panning(rng)
        targets = first + share * (last - first)
    return start + share * (end - start), targets


def sample_half_shell(inner: float, outer: float, min_z: float, rng: np.random.RandomState) -> np.ndarray:
    """A point (3,) between two radii, uniform in volume, above min_z before it is scaled (as published)."""
    while True:
        direction = rng.normal(0, 1, 3)
        if direction[2] >= min_z:
            radius = rng.uniform(inner**3, outer**3) ** (1 / 3)
            return direction / np.linalg.norm(direction) * radius


def sample_linear_movement(
    max_length: float, rng: np.random.RandomState, inner: float = 8.0, outer: float = 12.0, min_z: float = 0.1
) -> tuple[np.ndarray, np.ndarray]:
    """Start and end (3,) of a straight way of length U(0, max_length), both ends in the half-shell."""
    while True:
        start = sample_half_shell(inner, outer, min_z, rng)
        direction = rng.rand(3) - 0.5
        way = direction / np.linalg.norm(direction) * rng.uniform(0, max_length)
        end = start + way
        if inner <= np.linalg.norm(end) <= outer and end[2] > min_z:
            return start, end


def sample_panning(rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """First and last look-at target (3,) of the panning variant: a way through a point near the origin."""
    through = sample_half_shell(0.0, 1.0, 0.0, rng)
    while True:
        one = sample_half_shell(0.0, 4.0, 0.0, rng)
        if one[2] < 1.0:
            break
    other = through + rng.uniform(0, 0.5) * (through - one)
    return (one, other) if rng.rand() < 0.5 else (other, one)
