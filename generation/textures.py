"""Procedural textures for the asset pack: a pattern over noise whose power falls with frequency, in random colours."""

import colorsys

import numpy as np


def make_noise(size: int, rng: np.random.Generator) -> np.ndarray:
    """Tileable 1/f noise (size, size) from 0 to 1."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.normal(size=(size, size))) / frequency
    noise = np.fft.ifft2(spectrum).real
    return (noise - noise.min()) / np.ptp(noise)


def make_spots(size: int, rng: np.random.Generator) -> np.ndarray:
    """Where (size, size) discs of random size lie, wrapping around."""
    row, column = np.mgrid[:size, :size]
    is_spot = np.zeros((size, size), bool)
    for _ in range(rng.integers(20, 60)):
        y, x = rng.uniform(0, size, 2)
        down, right = np.abs(row - y), np.abs(column - x)
        is_spot |= np.hypot(np.minimum(down, size - down), np.minimum(right, size - right)) < rng.uniform(5, 22)
    return is_spot


def make_checkers(size: int, rng: np.random.Generator) -> np.ndarray:
    """A chequered pattern (size, size)."""
    row, column = np.mgrid[:size, :size]
    side = size // (2 * rng.integers(2, 7))
    return (row // side + column // side) % 2 == 0


def make_waves(size: int, rng: np.random.Generator) -> np.ndarray:
    """Bent stripes (size, size)."""
    row, column = np.mgrid[:size, :size] / size * 2 * np.pi
    along, across = rng.integers(2, 9), rng.integers(1, 5)
    return np.sin(along * row + rng.uniform(0.5, 3) * np.sin(across * column)) > rng.uniform(-0.4, 0.4)


PATTERNS = (make_spots, make_checkers, make_waves)


def make_texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """A texture (size, size, 3) uint8: two colours by a random pattern, shaded by noise."""
    hue = rng.uniform()
    colours = [
        colorsys.hsv_to_rgb((hue + shift) % 1, rng.uniform(0.2, 0.9), rng.uniform(0.3, 1.0))
        for shift in (0.0, rng.uniform(0.15, 0.85))
    ]
    is_first = PATTERNS[rng.integers(len(PATTERNS))](size, rng)
    shade = 0.35 + 0.65 * make_noise(size, rng)
    picture = np.where(is_first[..., None], *np.array(colours)) * shade[..., None]
    return np.rint(picture * 255).astype(np.uint8)
