"""Small videos with something to track, and small models, for the tests of pseudo-labels."""

from pathlib import Path

import cv2
import numpy as np
import torch

from shards.convert import convert_clips
from shards.layouts.choice import Choice
from trainer.checkpoint import save_weights
from trainer.config import compose
from trainer.models import TASKS

SMALL = [
    "model.input_size=[32,32]",
    "model.window=8",
    "model.encoder_widths=[4,8,8,8]",
    "model.feature_dim=8",
    "model.num_levels=2",
    "model.radius=1",
    "model.correlation_dim=8",
    "model.dim=16",
    "model.num_heads=2",
    "model.num_rounds=1",
    "model.num_virtual_tracks=2",
    "model.num_iterations=2",
    "model.num_inference_iterations=2",
]
SMALL_LBM = [
    "model=lbm_small",
    "model.input_size=[32,32]",
    "model.dim=32",
    "model.num_layers=2",
    "model.memory_size=2",
    "model.backbone_width=8",
]


def texture(side: int, seed: int) -> np.ndarray:
    """Soft spots (side, side, 3) uint8 that SIFT finds many of."""
    rng = np.random.default_rng(seed)
    spots = cv2.GaussianBlur(rng.random((side, side, 3)), (0, 0), 1.5)
    return np.uint8(255 * (spots - spots.min()) / np.ptp(spots))


def sliding_video(num_frames: int, size: tuple[int, int], step: tuple[int, int], seed: int) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 in which all moves by `step` (x, y) pixels a frame."""
    picture, (height, width) = texture(160, seed), size
    starts = [(40 - t * step[1], 40 - t * step[0]) for t in range(num_frames)]
    return np.stack([picture[y : y + height, x : x + width] for y, x in starts])


def pack_videos(folder: Path, *, num_videos: int = 2, num_frames: int = 12, size: tuple[int, int] = (64, 64)) -> Path:
    """Pack sliding videos as the data set folder/shards/videos; returns its index."""
    for number in range(num_videos):
        frames = folder / "videos" / f"v{number}"
        frames.mkdir(parents=True)
        for t, frame in enumerate(sliding_video(num_frames, size, (1 + number, 1 - number), number)):
            cv2.imwrite(str(frames / f"{t}.png"), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    out = folder / "shards" / "videos"
    convert_clips("videos", [folder / "videos"], "index", out, choice=Choice(window=num_frames))
    return out / "index.json"


def save_model(path: Path, stage: str, *overrides: str, seed: int = 0) -> torch.nn.Module:
    """A model with random weights, in a file as a training writes it."""
    recipe = compose(stage, [*overrides, "init_from=null"])
    torch.manual_seed(seed)
    model = TASKS[recipe.model["name"]].build(recipe.model)
    save_weights(path, model, recipe)
    return model
