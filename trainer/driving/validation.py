"""Validation on drives during a training: clips made from their first frame, told their true actions."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shards import ClipStore
from trainer.batch import Batch, collate
from trainer.config import DRIVING_ERRORS, DRIVING_SCORES
from trainer.driving.config import DrivingData
from trainer.driving.samples import settings_of, window_of_clip
from trainer.models.vista.edm import draw_noise
from trainer.models.vista.model import Vista, scale_frames
from trainer.models.vista.objective import losses_at
from trainer.models.vista.priors import mask_conditions
from trainer.validation import Validator

SAMPLING_STEPS = 10
LEVELS = (-1.0, 0.0, 1.0)
"""Noise levels of the denoising loss: so many deviations from the mean of the logarithms that training draws."""


class DriveWindows:
    """The first window of each clip of a packed data set: `names`, `path`, `dataset` and `sha256` name them."""

    def __init__(self, index: Path, data: DrivingData):
        self.store, self.data = ClipStore(index), data
        self.path, self.dataset = index, self.store.dataset
        self.names, self.sha256 = self.store.keys, self.store.sha256

    def window(self, name: str) -> Batch:
        """A batch of one."""
        return collate([window_of_clip(self.store.read(self.store.number_of(name)), 0, self.data)])


class DrivingValidator(Validator):
    """A benchmark of drives: the first window of its first clips."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured."""
        return (*DRIVING_SCORES, *DRIVING_ERRORS)

    def open_truth(self) -> DriveWindows:
        """The packed drives of validation.dataset."""
        return DriveWindows(self.run.validation_index, settings_of(self.recipe.data))

    def say_facts(self) -> dict[str, Any]:
        """What else decides the scores: how clips are cut and made."""
        self.num_steps = self.config.sampling_steps or SAMPLING_STEPS
        sizes = {name: getattr(self.truth.data, name) for name in ("height", "width", "num_frames", "frame_step")}
        return {"sampling_steps": self.num_steps} | sizes

    def score(self, model: Vista, name: str) -> list[float]:
        """The measures of one clip; its noise is a function of its name alone."""
        device = next(model.parameters()).device
        batch = {key: value.to(device) for key, value in self.truth.window(name).items()}
        with torch.no_grad():
            made = model.make(batch, self.num_steps, seeded(name), guidance=1.0)[:, 1:]
            true = scale_frames(batch["frames"])
            psnr, copied = psnr_of(made, true[:, 1:]), psnr_of(true[:, :1].expand_as(made), true[:, 1:])
            return [psnr, psnr - copied, copied, denoising_loss(model, batch, seeded(name))]


def seeded(name: str) -> torch.Generator:
    """A generator that is the same whenever a clip is made."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def psnr_of(made: torch.Tensor, true: torch.Tensor) -> float:
    """The mean over frames of PSNR, dB, of frames (1, T, 3, H, W) in [-1, 1]."""
    error = (made - true).square().mean((0, 2, 3, 4)).clamp(min=1e-10)
    return float((10 * torch.log10(4 / error)).mean())


def denoising_loss(model: Vista, batch: Batch, generator: torch.Generator) -> float:
    """The losses of one clip whose first frame is given, the mean over noise levels LEVELS."""
    clean, objective = model.to_space(scale_frames(batch["frames"])), model.config.objective
    sigmas = np.exp([objective.log_sigma_mean + objective.log_sigma_std * level for level in LEVELS])
    given = mask_conditions(torch.ones(1, dtype=torch.int64, device=clean.device), clean.shape[1])
    condition, found = model.condition(batch), []
    for sigma in torch.tensor(sigmas, dtype=torch.float32, device=clean.device)[:, None]:
        noise = draw_noise(tuple(clean.shape), generator, offset=objective.noise_offset).to(clean.device)
        parts = losses_at(model.unet, clean, condition, sigma, noise, given, objective, model.config.tokens)
        found.append(float(sum(parts.values())))
    return sum(found) / len(found)
