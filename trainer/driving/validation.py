"""Validation on drives during a training: clips made from their first frame, told their true actions."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.driving.metrics import copy_frames, psnr
from shards import ClipStore
from trainer.batch import Batch, collate
from trainer.config import DRIVING_ERRORS, DRIVING_SCORES
from trainer.driving.config import DrivingData
from trainer.driving.making import generator_of, most_given, to_pictures
from trainer.driving.samples import settings_of, window_of_clip
from trainer.models.vista.edm import draw_noise
from trainer.models.vista.latents import scale_frames
from trainer.models.vista.model import Vista
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
        device, num_given = next(model.parameters()).device, given_in_samples(model)
        batch = {key: value.to(device) for key, value in self.truth.window(name).items()}
        true = batch["frames"][0].permute(0, 2, 3, 1).cpu().numpy()
        given = {**batch, "frames": batch["frames"][:, :num_given]}
        with torch.no_grad():
            made = model.roll_out([given], len(true), self.num_steps, generator_of(0, name), guidance=1.0)
            found = mean_psnr(to_pictures(model, made)[0], true, num_given)
            copied = mean_psnr(copy_frames(true, num_given), true, num_given)
            return [found, found - copied, copied, denoising_loss(model, batch, generator_of(0, name))]


def given_in_samples(model: Vista) -> int:
    """First frames that a sample is given: one where actions say what follows, else as many as in training."""
    config = model.config
    is_told = config.tokens is not None or config.unet.frame_values
    return 1 if is_told else max(1, most_given(config.objective))


def mean_psnr(made: np.ndarray, true: np.ndarray, num_given: int) -> float:
    """The mean over the frames that were made of PSNR, dB, of frames (T, H, W, 3) uint8."""
    return float(psnr(made[num_given:], true[num_given:]).mean())


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
