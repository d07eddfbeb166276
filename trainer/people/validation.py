"""Validation on people during a training: errors of depth, joints and vertices, means over clips."""

import math
from typing import Any

import numpy as np
from torch import nn

from eval.people.metrics import depth_errors, mean_distance
from eval.people.truth import PeopleTruth
from shards.people.body import pose_body
from trainer.config import PEOPLE_ERRORS
from trainer.people.asking import ask
from trainer.people.samples import settings_of
from trainer.validation import Validator


class PeopleValidator(Validator):
    """A benchmark of people: every frame of its first clips, each cropped as in training but without jitter."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured."""
        return PEOPLE_ERRORS

    def open_truth(self) -> PeopleTruth:
        """The packed people of validation.dataset."""
        return PeopleTruth(self.run.validation_index, settings_of(self.recipe.data).body)

    def say_facts(self) -> dict[str, Any]:
        """What else decides the errors: how pictures are cropped."""
        self.people = settings_of(self.recipe.data)
        return {name: getattr(self.people, name) for name in ("image_size", "crop", "box_margin")}

    def score(self, model: nn.Module, name: str) -> list[float]:
        """Errors of one clip in the order of `measures`, means over its frames; NaN for what the model does not say."""
        clip = self.truth.clip(name)
        person, answer = clip.person, ask(model, clip, self.people)
        errors = [math.nan] * 3
        if answer.depth_m is not None:
            errors = [error.mean() for error in depth_errors(answer.depth_m, person.pelvis_m[:, 2]).values()]
        if answer.rotations is None:
            return [*map(float, errors), math.nan, math.nan]
        body = self.truth.body
        found = pose_body(body, answer.shape, answer.rotations)
        true = pose_body(body, person.shape, person.rotations)
        errors += [
            np.mean(mean_distance(found.joints_m, true.joints_m)),
            np.mean(mean_distance(found.vertices_m, true.vertices_m)),
        ]
        return [float(error) for error in errors]
