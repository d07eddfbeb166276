"""Augmentations of a training window: numpy in, numpy out, every draw from the generator that is passed in.

Legend: T frames, N points, H W pixels. Points are (x, y) pixels, raster convention.
"""

import numpy as np
from PIL import Image

from trainer.config import DataConfig

Window = tuple[np.ndarray, np.ndarray, np.ndarray]
"""video (T, H, W, 3) uint8, tracks (T, N, 2) float32, visible (T, N) bool"""

GREY = 128


def augment(window: Window, config: DataConfig, rng: np.random.Generator) -> Window:
    """Erase, jitter, zoom and flip one window, in this order; shapes stay."""
    window = erase(window, config.eraser_probability, rng)
    if rng.random() < config.jitter_probability:
        window = (jitter(window[0], config, rng), *window[1:])
    window = zoom(window, config.zoom_range, rng)
    return flip(window, rng) if config.flip else window


def erase(window: Window, probability: float, rng: np.random.Generator, *, largest: float = 0.2) -> Window:
    """Fill 1 to 10 rectangles a frame (never in the first) with their mean colour; points inside become invisible.

    The published recipe draws sides from 2 to 100 px of 512; `largest` is that bound as a share of the frame's side.
    """
    video, tracks, visible = window
    video, visible = video.copy(), visible.copy()
    num_frames, height, width = video.shape[:3]
    for frame in range(1, num_frames):
        if rng.random() >= probability:
            continue
        for _ in range(rng.integers(1, 11)):
            centre = rng.uniform((0, 0), (width, height))
            half = rng.uniform((1, 1), (max(2.0, largest * width), max(2.0, largest * height))) / 2
            x0, y0 = np.maximum(centre - half, 0).astype(int)
            x1, y1 = np.minimum(centre + half, (width, height)).astype(int)
            if x1 <= x0 or y1 <= y0:
                continue
            patch = video[frame, y0:y1, x0:x1]
            patch[:] = patch.mean((0, 1)).astype(np.uint8)
            x, y = tracks[frame, :, 0], tracks[frame, :, 1]
            visible[frame] &= ~((x >= x0) & (x < x1) & (y >= y0) & (y < y1))
    return video, tracks, visible


def jitter(video: np.ndarray, config: DataConfig, rng: np.random.Generator) -> np.ndarray:
    """Scale brightness, contrast and saturation by one draw each for the whole window; (T, H, W, 3) uint8."""
    frames = video.astype(np.float32)
    frames *= 1 + config.brightness * rng.uniform(-1, 1)
    mean = frames.mean()
    frames = mean + (frames - mean) * (1 + config.contrast * rng.uniform(-1, 1))
    grey = (frames @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]  # (T, H, W, 1), ITU-R BT.601
    frames = grey + (frames - grey) * (1 + config.saturation * rng.uniform(-1, 1))
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def zoom(window: Window, bounds: tuple[float, float], rng: np.random.Generator) -> Window:
    """Magnify by U(bounds) and cut a frame of the old size at a uniform place; below 1 the border is grey.

    Points outside the new frame become invisible.
    """
    video, tracks, visible = window
    height, width = video.shape[1:3]
    scale = rng.uniform(*bounds)
    place = rng.uniform(size=2)
    if bounds == (1.0, 1.0):
        return window
    window_width, window_height = width / scale, height / scale
    left, top = place * (width - window_width, height - window_height)
    box = (left, top, left + window_width, top + window_height)
    frames = np.stack([_cut(frame, box) for frame in video])
    moved = ((tracks - np.array([left, top])) * scale).astype(np.float32)
    return frames, moved, visible & is_inside(moved, width, height)


def _cut(frame: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """Resample the rectangle `box` (x0, y0, x1, y1) of a frame to the frame's own size, grey where it is outside."""
    height, width = frame.shape[:2]
    x0, y0, x1, y1 = box
    transform = ((x1 - x0) / width, 0, x0, 0, (y1 - y0) / height, y0)
    return np.asarray(
        Image.fromarray(frame).transform(
            (width, height), Image.Transform.AFFINE, transform, Image.Resampling.BILINEAR, fillcolor=(GREY, GREY, GREY)
        )
    )


def flip(window: Window, rng: np.random.Generator) -> Window:
    """Mirror horizontally and vertically, each with probability 1/2; raster coordinates map x to W - x exactly."""
    video, tracks, visible = window
    height, width = video.shape[1:3]
    horizontal, vertical = rng.random(2) < 0.5
    tracks = tracks.copy()
    if horizontal:
        video = video[:, :, ::-1]
        tracks[..., 0] = width - tracks[..., 0]
    if vertical:
        video = video[:, ::-1]
        tracks[..., 1] = height - tracks[..., 1]
    return np.ascontiguousarray(video), tracks, visible


def is_inside(tracks: np.ndarray, width: int, height: int) -> np.ndarray:
    """Whether points (..., 2) lie in the frame [0, W) x [0, H)."""
    x, y = tracks[..., 0], tracks[..., 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)
