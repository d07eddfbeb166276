"""Samples during a training: a held-out window as it was and as the model makes it, the same one each time."""

from pathlib import Path

import torch

from shards.driving.reading import RATE_HZ
from trainer.config import Recipe
from trainer.distributed import Process
from trainer.driving.making import generator_of, to_pictures
from trainer.driving.pictures import write_clips
from trainer.driving.samples import settings_of
from trainer.driving.validation import SAMPLING_STEPS, DriveWindows, given_in_samples
from trainer.models.vista.model import Vista
from trainer.run import Run
from trainer.validation import evaluating


class DriveDrawer:
    """Draws the first window of the first clip of validation.dataset, told its true actions, without guidance."""

    def __init__(self, recipe: Recipe, run: Run, process: Process):
        self.every, self.process, self.folder = recipe.logging.sample_every, process, run.folder / "samples"
        self.num_steps = recipe.validation.sampling_steps or SAMPLING_STEPS
        self.windows = DriveWindows(run.validation_index, settings_of(recipe.data))

    def is_due(self, done: int) -> bool:
        """Every so many steps, and in the beginning after 1, 2, 4, 8 ... of them, as the reference."""
        return done % self.every == 0 or (done < self.every and done & (done - 1) == 0)

    def files(self, step: int) -> tuple[Path, Path]:
        """The sheet and the film of a step."""
        return self.folder / f"step-{step:08}.png", self.folder / f"step-{step:08}.mp4"

    def draw(self, model: Vista, step: int) -> None:
        """Rank 0 writes a sheet of the given, made and true frames, and a film of the made beside the true ones."""
        if not self.process.is_main:
            return
        name, device = self.windows.names[0], next(model.parameters()).device
        batch = {key: value.to(device) for key, value in self.windows.window(name).items()}
        true = batch["frames"][0].permute(0, 2, 3, 1).cpu().numpy()
        num_given = given_in_samples(model)
        given = {**batch, "frames": batch["frames"][:, :num_given]}
        with torch.no_grad(), evaluating(model):
            made = model.roll_out([given], len(true), self.num_steps, generator_of(0, name), guidance=1.0)
            made = to_pictures(model, made)[0]
        sheet, film = self.files(step)
        write_clips(sheet, {"given": true[:num_given], "made": made, "true": true}, RATE_HZ)
        write_clips(film, {"made": made, "true": true}, RATE_HZ)
