"""The published CoTracker3 (facebookresearch/co-tracker, from a checkout) for benchmarks/cotracker3_speed.py.

Nothing of it is changed, and nothing of it is here: it is measured with our weights, losses and all by its own files.
"""

import importlib
import sys
from pathlib import Path

import torch
from torch import nn

from trainer.models.cotracker3.config import Cotracker3Config

FOLDER = Path("cotracker") / "models" / "core" / "cotracker"


def check(checkout: Path) -> None:
    """Raise ValueError where `checkout` holds no cotracker/models/core/cotracker/cotracker3_online.py."""
    if not (checkout / FOLDER / "cotracker3_online.py").is_file():
        raise ValueError(
            f"{checkout} has no {FOLDER}/cotracker3_online.py; clone facebookresearch/co-tracker and give its folder"
        )


def load(checkout: Path, config: Cotracker3Config, state: dict[str, torch.Tensor]) -> nn.Module:
    """Its offline or online model with weights `state`, all of whose keys must match.

    Raises ValueError as `check` does.
    """
    check(checkout)
    sys.path.insert(0, str(checkout))
    kind = "online" if config.online else "offline"
    module = importlib.import_module(f"cotracker.models.core.cotracker.cotracker3_{kind}")
    build = getattr(module, f"CoTrackerThree{kind.capitalize()}")
    model = build(
        window_len=config.window,
        stride=4,
        corr_radius=config.radius,
        corr_levels=config.num_levels,
        num_virtual_tracks=config.num_virtual_tracks,
        model_resolution=config.input_size,
    )
    model.load_state_dict(state, strict=True)
    return model


def sum_losses(model: nn.Module, config: Cotracker3Config, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The weighted sum of its losses of the offline model, as its training script sums them.

    batch: video (B, T, 3, H, W) 0..255, queries (B, N, 3) and tracks (B, T, N, 2) in pixels whose centres are whole,
    visible (B, T, N) bool.
    """
    losses = importlib.import_module("cotracker.models.core.cotracker.losses")
    *_, (points, visibility, confidence, counted) = model(
        batch["video"], batch["queries"], iters=config.num_iterations, is_train=True
    )
    truth, visible = [batch["tracks"]], [batch["visible"].float()]
    seen, hidden = [counted * visible[0]], [counted * (1 - visible[0])]
    return (
        config.lambda_visible * losses.sequence_loss(points, truth, seen, gamma=config.gamma, add_huber_loss=True)
        + config.lambda_invisible * losses.sequence_loss(points, truth, hidden, gamma=config.gamma)
        + config.lambda_visibility * losses.sequence_BCE_loss(visibility, visible)
        + config.lambda_confidence * losses.sequence_prob_loss(points, confidence, truth, visible).mean()
    )
