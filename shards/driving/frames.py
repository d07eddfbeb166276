"""Frames as a driving world model sees them: the same in training, prediction and scoring."""

import numpy as np
from PIL import Image


def fit_frames(video: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 as (T, height, width, 3) uint8: the centre of the aspect ratio asked for, then Lanczos.

    As Vista does it. The centre may begin between two pixels, so that nothing is stretched; frames that have the size
    stay as they are. Raises ValueError for a size below 1 and for what are no frames.
    """
    if height < 1 or width < 1:
        raise ValueError(f"frames of {height}x{width}: give at least 1 of both")
    if video.ndim != 4 or video.shape[3] != 3 or video.dtype != np.uint8 or 0 in video.shape:
        raise ValueError(f"frames are {video.dtype} of shape {video.shape}, expected uint8 (T, H, W, 3), nothing empty")
    if video.shape[1:3] == (height, width):
        return video
    box = centre_box(video.shape[1], video.shape[2], height, width)
    fitted = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS, box) for frame in video]
    return np.stack([np.asarray(frame) for frame in fitted])


def centre_box(height: int, width: int, to_height: int, to_width: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom (raster pixels) of the largest part, in the middle, with the aspect ratio asked for."""
    kept_height, kept_width = min(height, width * to_height / to_width), min(width, height * to_width / to_height)
    left, top = (width - kept_width) / 2, (height - kept_height) / 2
    return left, top, left + kept_width, top + kept_height
