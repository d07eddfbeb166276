"""Where the frames of a sample are cut from a clip: padding, a scale that drifts, a crop that walks, mirrors.

Everything is drawn from annotations alone, before a picture is decoded. Legend: T frames, N points, H W pixels. Points
are (x, y) pixels in raster convention, in which a resize multiplies by new / old and a mirror is x -> W - x, exactly.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from trainer.config import DataConfig

SCALE_LIMITS = (0.2, 2.0)
"""No drift leaves these (lbm's published recipe)."""


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How each of T frames of W x H becomes a crop: pad with black, resize, cut, mirror, in this order."""

    padding: tuple[int, int, int, int]
    """left, top, right, bottom: black pixels"""
    padded: tuple[int, int]
    """width, height after padding"""
    resized: np.ndarray
    """(T, 2) int: width, height after resizing"""
    corner: np.ndarray
    """(T, 2) int: x, y of the crop's top-left corner in the resized frame"""
    crop: tuple[int, int]
    """width, height of the crop"""
    mirrored: tuple[bool, bool] = (False, False)
    """horizontally, vertically"""


def centre_framing(num_frames: int, size: tuple[int, int], config: DataConfig) -> Framing:
    """The crop in the middle of frames of `size` (H, W); a crop larger than the frames has a black border."""
    frame = np.array(size[::-1])
    crop = np.array(crop_of(size, config))
    missing = np.maximum(crop - frame, 0)  # (2,) x, y
    padding = (*(missing // 2), *(missing - missing // 2))
    padded = frame + missing
    return Framing(
        padding=tuple(int(side) for side in padding),
        padded=(int(padded[0]), int(padded[1])),
        resized=np.tile(padded, (num_frames, 1)),
        corner=np.tile((padded - crop) // 2, (num_frames, 1)),
        crop=(int(crop[0]), int(crop[1])),
    )


def crop_of(size: tuple[int, int], config: DataConfig) -> tuple[int, int]:
    """Width and height of a sample that is cut from frames of `size` (H, W)."""
    height, width = config.crop_size or size
    return width, height


def draw_framing(
    tracks: np.ndarray, visible: np.ndarray, size: tuple[int, int], config: DataConfig, rng: np.random.Generator
) -> Framing:
    """Draw the published framing of a window: tracks (T, N, 2), visible (T, N), frames of `size` (H, W).

    The crop starts centred on the mean of the points that are visible in frame 0 (on the frame where none is).
    """
    num_frames = len(tracks)
    left, top, right, bottom = (int(side) for side in rng.integers(0, config.max_padding + 1, 4))
    padded = np.array([size[1] + left + right, size[0] + top + bottom])
    crop = np.array(crop_of(size, config))
    resized = _draw_sizes(num_frames, padded, crop, config, rng)
    seen = tracks[0, visible[0]]
    middle = seen.mean(0) + np.array([left, top]) if len(seen) else padded / 2
    corner = _walk(middle * resized[0] / padded - crop // 2, resized - crop, config.crop_drift, rng)
    mirrored = tuple(bool(draw < 0.5) for draw in rng.random(2)) if config.flip else (False, False)
    return Framing(
        padding=(left, top, right, bottom),
        padded=(int(padded[0]), int(padded[1])),
        resized=resized,
        corner=corner,
        crop=(int(crop[0]), int(crop[1])),
        mirrored=mirrored,
    )


def _draw_sizes(
    num_frames: int, padded: np.ndarray, crop: np.ndarray, config: DataConfig, rng: np.random.Generator
) -> np.ndarray:
    """(T, 2) int widths and heights: one scale, then changes that keep 0.8 of themselves; axes pulled half together.

    Never smaller than the crop and its margin. Each frame hands on the scale that its whole pixels have.
    """
    scale = np.full(2, rng.uniform(*config.scale_range))
    drift = np.zeros(2)
    steps = rng.uniform(-config.scale_drift, config.scale_drift, (num_frames, 2))
    sizes = np.empty((num_frames, 2), int)
    for frame in range(num_frames):
        if frame:
            drift = steps[frame] if frame == 1 else 0.8 * drift + 0.2 * steps[frame]
        scale = scale + drift
        scale = np.clip((scale + scale.mean()) / 2, *SCALE_LIMITS)
        # 1e-9: a scale handed on as size / padded must not lose a pixel to rounding.
        sizes[frame] = np.maximum((padded * scale + 1e-9).astype(int), crop + config.crop_margin)
        scale = sizes[frame] / padded
    return sizes


def _walk(start: np.ndarray, room: np.ndarray, drift: int, rng: np.random.Generator) -> np.ndarray:
    """(T, 2) int corners from `start` on, each clamped to 0..room (T, 2) before the next step is added."""
    steps = rng.integers(-drift, drift + 1, room.shape)
    corners = np.empty(room.shape, int)
    corner, offset = start.astype(int), np.zeros(2, int)
    for frame in range(len(room)):
        if frame:
            offset = steps[frame] if frame == 1 else (0.8 * offset + 0.2 * steps[frame]).astype(int)
        corner = np.clip(corner + offset, 0, room[frame])
        corners[frame] = corner
    return corners


def move_points(tracks: np.ndarray, framing: Framing) -> np.ndarray:
    """Tracks (T, N, 2) of the clip as float32 pixels of the crops; they may lie outside."""
    moved = np.empty(tracks.shape, np.float32)
    for axis in (0, 1):  # apart: a last axis of length 2 is slow
        scale = framing.resized[:, axis, None] / framing.padded[axis]  # (T, 1)
        position = (tracks[..., axis] + float(framing.padding[axis])) * scale - framing.corner[:, axis, None]
        moved[..., axis] = framing.crop[axis] - position if framing.mirrored[axis] else position
    return moved


def is_inside(tracks: np.ndarray, width: int, height: int) -> np.ndarray:
    """Whether points (..., 2) lie in the frame [0, W) x [0, H)."""
    x, y = tracks[..., 0], tracks[..., 1]
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def cut_frame(image: np.ndarray, framing: Framing, frame: int, out: np.ndarray) -> None:
    """Write the crop of one frame (H, W, 3) uint8 into `out` (h, w, 3).

    Measured on a 512x512 frame: cv2.resize of the whole and a copy of the crop take under half of cv2.warpAffine of
    the crop alone, and give the published pixels to the last bit.
    """
    left, top, right, bottom = framing.padding
    if any(framing.padding):
        image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT)
    width, height = framing.resized[frame].tolist()
    if (width, height) != framing.padded:
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    x, y = framing.corner[frame].tolist()
    image = image[y : y + framing.crop[1], x : x + framing.crop[0]]
    horizontal, vertical = framing.mirrored
    if horizontal or vertical:
        cv2.flip(image, -1 if horizontal and vertical else int(horizontal), dst=out)
    else:
        out[:] = image
