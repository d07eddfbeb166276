"""Scores during a training: videos dealt to all ranks, tracked online, scored as the benchmark scores them."""

import hashlib
import json
import math
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from eval.protocol import Truth
from eval.score import mean_over_videos, score_video
from trainer.checkpoint import save_weights
from trainer.config import DRIVING_SCORES, ERRORS, SCORES, Recipe, suggestion
from trainer.distributed import Process, copy_buffers_of_main, gather_from_ranks
from trainer.predict import memory_size_of, predict_video
from trainer.progress import Progress
from trainer.run import Run


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best score so far (of an error the lowest), the step after which it was reached, and how it was measured."""

    score: float
    step: int
    settings: str


class Validator:
    """One benchmark, and when and how it is scored during a training."""

    def __init__(self, recipe: Recipe, run: Run, process: Process, steps_per_epoch: int):
        self.recipe, self.config, self.run, self.process = recipe, recipe.validation, run, process
        self.truth = self.open_truth()
        self.names = self.truth.names[: self.config.num_videos]
        if not self.names:
            raise ValueError(
                f"{self.truth.path}: holds no video to validate on; pack some, or set validation.dataset=null"
            )
        if self.config.best_by not in self.measures:
            known = suggestion(self.config.best_by, self.measures)
            raise ValueError(f"validation.best_by={self.config.best_by} is none of stage {recipe.stage}: {known}")
        self.every = self.config.every_steps or max(1, steps_per_epoch)
        self.facts = self.say_facts()
        # What makes two scores comparable. How often they are taken does not.
        measured = asdict(self.config) | {"every_steps": None, "truth": self.truth.sha256} | self.facts
        self.settings = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is measured."""
        return tuple(SCORES)

    def open_truth(self):
        """What the model is held against: `names`, `path`, `dataset` and `sha256` are asked of it."""
        return Truth(self.run.validation_index)

    def say_facts(self) -> dict[str, Any]:
        """What else decides the scores: logged beside them."""
        self.memory_size = self.config.memory_size or memory_size_of(self.truth.dataset)
        return {"memory_size": self.memory_size}

    def is_due(self, done: int, num_steps: int) -> bool:
        """Whether the model is scored when `done` steps are done."""
        return done % self.every == 0 or done == num_steps

    def scores(self, model: nn.Module) -> dict[str, float | None]:
        """Mean over videos of every measure (SCORES are fractions); None where no video defines it.

        Rank r tracks videos r, r + world_size, ...: each works at its own share, and what they wait for is one exchange
        of numbers. The result does not depend on how many ranks there are. All ranks call it together.
        """
        copy_buffers_of_main(model)
        process = self.process
        own = self.names[process.rank :: process.world_size]
        with evaluating(model):
            rows = [self.score(model, name) for name in own]
        num_rows = math.ceil(len(self.names) / process.world_size)
        table = torch.full((num_rows, len(self.measures)), torch.nan, dtype=torch.float64)  # (videos of a rank, scores)
        for number, row in enumerate(rows):
            table[number] = torch.tensor(row, dtype=torch.float64)
        gathered = gather_from_ranks(table.to(process.device))
        of_videos = torch.stack(gathered, 1).flatten(0, 1)[: len(self.names)].tolist()  # in the order of names
        videos = {
            name: {key: None if math.isnan(value) else value for key, value in zip(self.measures, row, strict=True)}
            for name, row in zip(self.names, of_videos, strict=True)
        }
        return mean_over_videos(videos)[0]

    def score(self, model: nn.Module, name: str) -> list[float]:
        """The measures of one video, NaN where it does not define one."""
        mode = self.config.query_mode
        prediction = predict_video(model, self.truth, name, mode, self.memory_size)
        values = score_video(self.truth.video(name, mode), prediction, mode, where=f"validation on {self.truth.path}")
        return [math.nan if values[key] is None else values[key] for key in SCORES.values()]

    def is_own(self, best: Best | None) -> bool:
        """Whether a best score was measured as this validator measures."""
        return best is not None and best.settings == self.settings

    def better_of(self, best: Best | None, scores: dict[str, float | None], step: int) -> Best | None:
        """The best so far once `scores` of `step` are known; a score measured in another way is no rival."""
        score = scores[self.config.best_by]
        rival = best if self.is_own(best) else None
        if score is None or (rival and not is_better(self.config.best_by, score, rival.score)):
            return rival
        return Best(score=score, step=step, settings=self.settings)

    def validate(self, model: nn.Module, best: Best | None, step: int, progress: Progress) -> Best | None:
        """Score the model after `step`, log it, keep its weights if they are the best; returns the best so far.

        All ranks call it together and get the same; rank 0 writes. The weights have their step in their name, so that a
        process killed before the next checkpoint cannot leave the former best score with other weights.
        """
        scores = self.scores(model)
        best = self.better_of(best, scores, step)
        if best and best.step == step and self.process.is_main:
            save_weights(self.run.best_weights(step), model, self.recipe)
        value = scores[self.config.best_by]
        name = self.config.best_by
        told = f"{name} {say_score(name, value)} on {self.truth.dataset} after step {step}"
        told += f", best {say_score(name, best.score)} after step {best.step}" if best else ""
        progress.log_validation(step, {"dataset": self.truth.dataset} | self.facts | scores, told)
        return best


def forget_other_best(run: Run, best: Best | None) -> None:
    """Delete weights that no checkpoint names as the best ones; called once the newest checkpoint is written.

    That names `best`; an older one names the last that were the best up to its step.
    """
    found = {int(path.stem.split("-")[1]): path for path in run.folder.glob("best-*.safetensors")}
    older = [int(path.stem.split("-")[1]) for path in run.checkpoints[:-1]]
    kept = {max((step for step in found if step <= saved), default=None) for saved in older}
    kept |= {best.step} if best else set()
    for step, path in found.items():
        if step not in kept:
            path.unlink()


def is_better(name: str, score: float, other: float) -> bool:
    """Whether a score is higher than another one, or an error lower."""
    return score < other if name in ERRORS else score > other


def say_score(name: str, value: float | None) -> str:
    """A score as a percentage, one of drives in dB, an error in its own unit."""
    if value is None:
        return "undefined"
    if name in DRIVING_SCORES:
        return f"{value:.2f} dB"
    return f"{value:.4f}" if name in ERRORS else f"{100 * value:.1f}"


@contextmanager
def evaluating(model: nn.Module):
    """Put a model into evaluation mode for a block; afterwards every module has the mode that it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was_training in modes:
            module.training = was_training
