"""Labels of a step: one teacher is drawn, and says where the points of the batch are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from shards import ClipStore
from trainer.batch import Batch
from trainer.config import Recipe
from trainer.predict import load_model
from trainer.pseudo.config import PREDICTIONS
from trainer.pseudo.teachers import FileTeacher, ModelTeacher, Teacher


class Labeller:
    """The teachers of a training. Which of them labels, and what it draws, follows from seed, step and clips alone:
    a resumed training asks the same ones, and all ranks ask the same in the same step."""

    def __init__(self, teachers: Sequence[Teacher], seed: int):
        self.teachers, self.seed = list(teachers), seed

    def teacher_of(self, step: int) -> Teacher:
        """The teacher of a step, each as likely as the others."""
        return self.teachers[np.random.default_rng([self.seed, step]).integers(len(self.teachers))]

    def label(self, batch: Batch, step: int) -> Batch:
        """A batch of `make_video_sample` as one with tracks: video, queries, tracks, visible, valid, on its device."""
        rng = np.random.default_rng([self.seed, step, *batch["clip"].tolist()])
        return {"video": batch["video"], **vars(self.teacher_of(step).label(batch, rng))}


def make_labeller(recipe: Recipe, files: Sequence[Path], index: Path, device: torch.device) -> Labeller | None:
    """The teachers of a recipe on the device; None where it has none, and clips bring their own tracks.

    Raises ValueError for a model that has no mask of what counts, for files that are no teachers, and for predictions
    that lack a clip.
    """
    if recipe.pseudo_labels is None:
        return None
    if recipe.model.get("name") != "cotracker3":
        raise ValueError(f"stage {recipe.stage}: pseudo_labels train cotracker3 only, not {recipe.model.get('name')}")
    teachers: list[Teacher] = []
    for name, path in zip(recipe.pseudo_labels.teachers, files, strict=True):
        if path.suffix == PREDICTIONS:
            teachers.append(FileTeacher(name, path, ClipStore(index)))
        else:
            model, _ = load_model(path, device)
            teachers.append(ModelTeacher(name, model, recipe.pseudo_labels.visible_above))
    return Labeller(teachers, recipe.training.seed)
