"""Weights files of tiny untrained world models, whose answers depend on all that they are told."""

from pathlib import Path

import pytest
import torch

from tests.trainer.driving.conftest import Drives
from trainer.checkpoint import save_weights
from trainer.config import compose_launch
from trainer.models import TASKS

LATENTS = [
    "model=vista_small", "model.preset=tiny", "model.frozen=tiny", "model.unet.context_width=24",
    "model.unet.num_frames=5",
    "data.driving.height=32", "data.driving.width=64", "data.driving.num_frames=5", "data.driving.one_kind=true",
]  # fmt: skip
"""Overrides that make it a model of latents as the reference, without motion of frames."""


def write_world(drives: Drives, path: Path, *overrides: str) -> Path:
    """A weights file of the stage with actions; what training begins with zero is drawn, so that it has an effect."""
    words = [word for word in drives.words("vista_phase2_stage1", path.parent) if not word.startswith("stage=")]
    if "model=vista_small" in overrides:
        pytest.importorskip("transformers", reason="Vista's picture encoder needs the extra `vista`")
        words = [word for word in words if not word.startswith("model")]
    recipe, _ = compose_launch("vista_phase2_stage1", [*words, "data.driving.frame_step=1", *overrides])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = TASKS["vista"].build(recipe.model)
        for parameter in model.unet.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
    save_weights(path, model, recipe)
    return path
