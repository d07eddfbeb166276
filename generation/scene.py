"""What a scene holds, drawn from one generator: pure sampling, no simulator and no renderer.

Metres, z up. Everything that is drawn ends in the plan, and the plan in the clip's metadata.
"""

from dataclasses import dataclass

import numpy as np

from generation.config import CAMERAS, MoviConfig

STATIC_REGION = ((-7.0, -7.0, 0.0), (7.0, 7.0, 10.0))
DYNAMIC_REGION = ((-5.0, -5.0, 1.0), (5.0, 5.0, 5.0))
VELOCITY_RANGE = ((-4.0, -4.0, 0.0), (4.0, 4.0, 0.0))


@dataclass(frozen=True, kw_only=True)
class PlannedObject:
    """An object of the asset pack and its size; where it lies is decided by the simulator."""

    asset_id: str
    size: float
    """Longest edge of the bounding box, metres."""
    is_dynamic: bool
    velocity: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Metres a second, before the pull towards the scene's centre."""


@dataclass(frozen=True, kw_only=True)
class ScenePlan:
    """One scene: light, objects, camera path."""

    hdri: str
    camera: str
    motion_blur: float
    objects: tuple[PlannedObject, ...]
    camera_positions: np.ndarray
    """(num_frames + 2, 3): one frame before the first to one after the last, so that flow at the ends is right."""
    camera_targets: np.ndarray
    """(num_frames + 2, 3): what the camera looks at."""


def plan_scene(config: MoviConfig, objects: list[str], hdris: list[str], rng: np.random.RandomState) -> ScenePlan:
    """Draw a scene in the published order; `objects` and `hdris` are the ids of the split."""
    motion_blur = float(rng.uniform()) * config.max_motion_blur  # drawn even if unused: the rest must not shift
    hdri = str(rng.choice(hdris))
    camera = choose_camera(config, rng)
    positions, targets = plan_camera(config, camera, rng)
    num_static = rng.randint(config.min_static, config.max_static + 1)
    num_dynamic = rng.randint(config.min_dynamic, config.max_dynamic + 1)
    planned = []
    for number in range(num_static + num_dynamic):
        is_dynamic = number >= num_static
        planned.append(
            PlannedObject(
                asset_id=str(rng.choice(objects)),
                size=float(rng.uniform(config.min_size, config.max_size)),
                is_dynamic=is_dynamic,
                velocity=tuple(rng.uniform(*VELOCITY_RANGE).tolist()) if is_dynamic else (0.0, 0.0, 0.0),
            )
        )
    return ScenePlan(
        hdri=hdri,
        camera=camera,
        motion_blur=motion_blur,
        objects=tuple(planned),
        camera_positions=positions,
        camera_targets=targets,
    )


def make_rng(config: MoviConfig, seed: int, attempt: int) -> np.random.RandomState:
    """The one generator of a scene (RandomState: its stream is frozen, and Kubric asks for it)."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([config.base_seed, seed, attempt])))


def choose_camera(config: MoviConfig, rng: np.random.RandomState) -> str:
    """The recipe's kind of camera, drawn by its weights where that is `mixed`."""
    weights = np.array([config.weight_fixed, config.weight_linear, config.weight_panning])
    drawn = str(rng.choice(CAMERAS[:3], p=weights / weights.sum()))
    return drawn if config.camera == "mixed" else config.camera


def plan_camera(config: MoviConfig, camera: str, rng: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Positions and look-at targets (num_frames + 2, 3) of the camera, moving at constant speed."""
    share = np.linspace(0, 1, config.num_frames + 2)[:, None]
    if camera == "fixed":
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
