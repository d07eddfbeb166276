"""Pictures that the street is painted with: fronts of houses, asphalt, paving, grass, leaves, sky. numpy only.

A style is a number: its picture is the same in every drive. Tiles repeat at their edges. All pictures are (H, W, 3)
uint8, top row first.
"""

import colorsys

import numpy as np

from generation.textures import make_noise

TILE = 64
"""Pixels of a tile's side."""
FRONT_M = 6.0
"""Width and height of a front's tile: two windows by two storeys."""
GROUND_M = 8.0
"""Side of a tile of asphalt, paving and grass."""
SKY_SIZE = (256, 512)
HORIZON_HILLS = 0.035
"""How high hills stand over the horizon, as a share of the panorama's height."""


def make_front(style: int) -> np.ndarray:
    """A wall with windows, bands between storeys and brick or plaster, in colours of the style."""
    rng = np.random.default_rng([1, style])
    wall = _colour(rng, (0.1, 0.75), (0.5, 1.0))
    frame, glass = _colour(rng, (0.0, 0.4), (0.6, 1.0)), _colour(rng, (0.1, 0.5), (0.15, 0.4))
    picture = wall * (0.75 + 0.4 * make_noise(TILE, rng)[..., None])
    if rng.uniform() < 0.5:  # rows of bricks
        picture[:: rng.integers(3, 6)] *= 0.75
    half = TILE // 2
    width, height = rng.integers(12, 24), rng.integers(12, 24)
    left, top = (half - width) // 2, rng.integers(3, half - height - 2)
    band = _colour(rng, (0.0, 0.8), (0.2, 1.0))
    for row in (0, half):
        picture[row : row + 3] = band
        for column in (0, half):
            y, x = row + top, column + left
            picture[y - 2 : y + height + 2, x - 2 : x + width + 2] = frame
            picture[y : y + height, x : x + width] = glass * rng.uniform(0.6, 1.6)
    return _bytes(picture)


def make_ground(style: int) -> dict[str, np.ndarray]:
    """Tiles of `asphalt`, `paving` and `grass` of one style."""
    rng = np.random.default_rng([2, style])
    asphalt = _colour(rng, (0.0, 0.12), (0.32, 0.45)) * _patches(rng, 0.6)
    paving = _colour(rng, (0.05, 0.4), (0.5, 0.85)) * _patches(rng, 0.35)
    slab = int(rng.choice([8, 16]))
    row, column = np.mgrid[:TILE, :TILE] // slab
    paving *= np.where((row + column) % 2, 0.72, 1.0)[..., None]
    hue = rng.uniform(0.12, 0.36)
    grass = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 0.8), rng.uniform(0.4, 0.7))) * _patches(rng, 0.8)
    return {"asphalt": _bytes(asphalt), "paving": _bytes(paving), "grass": _bytes(grass)}


def make_leaves(seed: int) -> np.ndarray:
    """Grey spots that a crown's colour is multiplied with."""
    return _bytes(np.ones(3) * _patches(np.random.default_rng([3, seed]), 1.0))


def make_sky(style: int) -> np.ndarray:
    """A panorama (H, 2 H, 3): sky that is paler at the horizon, clouds, and hills all around it."""
    rng = np.random.default_rng([4, style])
    height, width = SKY_SIZE
    up = 1 - 2 * (np.arange(height)[:, None, None] + 0.5) / height  # 1 straight up, -1 straight down
    is_blue = rng.uniform() < 0.75
    hue, most = (rng.uniform(0.52, 0.66), 0.8) if is_blue else (rng.uniform(0.0, 0.12), 0.45)
    high = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.3, most), rng.uniform(0.7, 0.95)))
    low = 0.35 * high + 0.65 * np.array([1.0, 0.97, 0.9])
    picture = low + (high - low) * np.clip(up, 0, 1) ** 0.6 + np.zeros((1, width, 1))
    cover, noise = rng.uniform(0.35, 0.7), make_noise(width, rng)[:height]
    cloud = np.clip((noise - cover) / 0.15, 0, 1)[..., None] * np.clip(up / 0.1, 0, 1)
    picture = picture * (1 - cloud) + cloud * rng.uniform(0.85, 1.0)
    wave = make_noise(width, rng)[0]
    top = HORIZON_HILLS * (0.3 + 1.2 * (wave - wave.min()) / np.ptp(wave))
    hills = _colour(rng, (0.1, 0.5), (0.3, 0.6)) * (0.8 + 0.4 * noise[..., None])
    return _bytes(np.where(up / 2 < top[None, :, None], hills, picture))


def _patches(rng: np.random.Generator, contrast: float) -> np.ndarray:
    """Factors (TILE, TILE, 1) around 1: spots of all sizes."""
    noise = make_noise(TILE, rng)
    return 1 + contrast * (noise - noise.mean())[..., None] * 2


def _colour(rng: np.random.Generator, saturation: tuple[float, float], value: tuple[float, float]) -> np.ndarray:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)))


def _bytes(picture: np.ndarray) -> np.ndarray:
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
