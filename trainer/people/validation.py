"""Validation on people during a training: errors of depth, joints and vertices, means over clips."""

from typing import Any

import numpy as np
from torch import nn

from eval.people.metrics import mean_distance
from shards.people.body import pose_body
from trainer.config import PEOPLE_ERRORS
from trainer.people.asking import PeopleTruth, ask
from trainer.people.samples import body_of, check_body, settings_of
from trainer.validation import Validator


class PeopleValidator(Validator):
    """A benchmark of people: every frame of its first clips, each cropped as in training but without jitter."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured."""
        return PEOPLE_ERRORS

    def open_truth(self) -> PeopleTruth:
        """The packed people of validation.dataset."""
        return PeopleTruth(self.run.validation_index)

    def say_facts(self) -> dict[str, Any]:
        """What else decides the errors: how pictures are cropped."""
        self.people = settings_of(self.recipe.data)
        return {name: getattr(self.people, name) for name in ("image_size", "crop", "box_margin")}

    def score(self, model: nn.Module, name: str) -> list[float]:
        """Errors of one clip in the order of `measures`, means over its frames; NaN for what the model does not say."""
        clip = self.truth.clip(name)
        person, answer = clip.person, ask(model, clip, self.people)
        true_m = person.pelvis_m[:, 2]
        errors = [
            np.mean(np.abs(answer.depth_m - true_m) / true_m),
            np.mean(np.abs(answer.depth_m - true_m)),
            np.mean(np.abs(1 / answer.depth_m - 1 / true_m)),
        ]
        if answer.rotations is None:
            return [*map(float, errors), float("nan"), float("nan")]
        body = body_of(self.people.body)
        check_body(body, person.body, f"{self.truth.path}, clip {name}")
        found = pose_body(body, answer.shape, answer.rotations)
        true = pose_body(body, person.shape, person.rotations)
        errors += [
            np.mean(mean_distance(found.joints_m, true.joints_m)),
            np.mean(mean_distance(found.vertices_m, true.vertices_m)),
        ]
        return [float(error) for error in errors]
