"""A small CoTracker3 with random weights whose points move and differ in visibility, and a film of noise."""

import numpy as np
import torch

from trainer.models import build
from trainer.models.cotracker3.model import Cotracker3

SMALL = {
    "input_size": [64, 96], "encoder_widths": [8, 8, 8, 8], "feature_dim": 16, "num_levels": 3, "radius": 1,
    "correlation_dim": 8, "dim": 16, "num_heads": 2, "num_rounds": 1, "num_virtual_tracks": 4,
    "num_inference_iterations": 2,
}  # fmt: skip
ONLINE = {"online": True, "window": 8}
HEIGHT, WIDTH = 40, 61


def make_model(**changes) -> Cotracker3:
    """In evaluation mode. The heads are far from zero, unlike those of a model that begins to learn: points move by
    pixels, and differ in visibility. (Were they to move by tens of pixels, rounding would grow to pixels, too.)"""
    torch.manual_seed(0)
    model = build("cotracker3", **SMALL, **changes).eval()
    with torch.no_grad():
        model.updateformer.flow_head.weight.normal_(std=0.05)
        model.updateformer.vis_conf_head.weight.normal_(std=0.05)
    return model


def make_video(num_frames: int) -> np.ndarray:
    """Frames (T, H, W, 3) uint8; the width is odd."""
    return np.random.default_rng(1).integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)


def make_points(num_points: int) -> np.ndarray:
    """Points (N, 2) inside the frame."""
    places = np.random.default_rng(2).uniform(0.05, 0.95, (num_points, 2))
    return (places * (WIDTH, HEIGHT)).astype(np.float32)


def track_whole(model, video, points, query_frame):
    """Points (T, N, 2), visible (T, N) and uncertainty (T, N) of `model.track`."""
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None].float()
    queries = torch.from_numpy(np.concatenate([np.array(query_frame)[:, None], points], 1).astype(np.float32))[None]
    tracks = model.track(frames, queries)
    return tracks.points[0].numpy(), tracks.visible[0].numpy(), 1 - tracks.confidence_logit[0].sigmoid().numpy()
