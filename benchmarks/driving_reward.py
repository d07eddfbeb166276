"""Does the reward fall where actions are out of range? `python -m benchmarks.driving_reward --weights W --truth INDEX`.

The windows of a benchmark are made told their own actions, some of them multiplied: metres, speeds, angles and turns;
commands and goals stay. Each comes from the same noise as in `python -m trainer.predict_drives`. Printed for each
factor: the reward, and by how much it is less than told the clip's own actions, window by window; intervals are over
clips. Of networks that work on frames also: their mean squared error, of what it would be if the truth were one more
sample, which is twice the variance of the samples. Above 1 they agree more than they are right.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from eval.compare import bootstrap_mean
from eval.driving.rollouts import NONE, SHUFFLED, TRUE, Window
from eval.driving.score import by_clip
from eval.driving.truth import DriveTruth
from trainer.batch import Sample
from trainer.driving.making import Making, load_vista
from trainer.driving.samples import settings_of
from trainer.models.vista.actions import ACTIONS
from trainer.models.vista.model import Vista
from trainer.predict_drives import Windows, choose_kind, roll_out

SCALED = ("trajectory", "speed", "angle")
"""Kinds of action that are amounts."""
FACTORS = (1.5, 2.0, 3.0, 5.0)


class Exaggerated(Windows):
    """Windows that may be told a multiple of their actions: a number as text."""

    def told(self, window: Window, told: str) -> Sample:
        """What a model is told of a window."""
        if told in (TRUE, SHUFFLED, NONE):
            return super().told(window, told)
        return exaggerate(super().told(window, TRUE), float(told))


def exaggerate(sample: Sample, factor: float) -> Sample:
    """A sample whose amounts, also its frames' motion, are multiplied."""
    counts = [action.num_values for action in ACTIONS]
    is_scaled = np.repeat([action.name in SCALED for action in ACTIONS], counts)  # (19,)
    values = np.where(is_scaled, factor * sample["values"], sample["values"]).astype(np.float32)
    return sample | {"values": values, "motion": np.float32(factor) * sample["motion"]}


def measure(model: Vista, windows: Windows, told: str, options: argparse.Namespace) -> np.ndarray:
    """Rewards, and squared errors of frames from -1 to 1, of the clips (N, 2), told one thing: means over windows."""
    chosen = [(key, number) for key in windows.truth.keys for number in range(windows.num_windows)]
    found = []
    for start in range(0, len(chosen), options.batch):
        batch, making = chosen[start : start + options.batch], Making(num_steps=options.steps, guidance=1.0)
        for window, made, reward in roll_out(model, windows, batch, told, options, making):
            errors = (made.astype(np.float64) - windows.frames(window))[options.given :] / 127.5
            found.append((window, (reward, (errors**2).mean())))
    return np.array([np.mean(values, axis=0) for values in by_clip(found).values()])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.driving_reward", description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--truth", required=True, help="index.json of shards of drives")
    parser.add_argument("--windows", type=int, default=1, help="of each clip (default: 1)")
    parser.add_argument("--samples", type=int, default=3, help="of each window (default: 3)")
    parser.add_argument("--steps", type=int, default=2, help="of the sampler (default: 2)")
    parser.add_argument("--batch", type=int, default=8, help="windows that are made together (default: 8)")
    options = parser.parse_args(arguments, argparse.Namespace(given=1))
    torch.set_num_threads(1)
    model, recipe = load_vista(options.weights, "cpu")
    data = settings_of(recipe.data)
    windows = Exaggerated(DriveTruth(options.truth), data, choose_kind(None, data), options.windows)
    print("| told | reward | less than told its own | squared error, of that expected |\n| --- | ---: | ---: | ---: |")
    own = measure(model, windows, TRUE, options)
    for told in (TRUE, *map(str, FACTORS), SHUFFLED, NONE):
        reward, errors = (own if told == TRUE else measure(model, windows, told, options)).T
        less = "" if told == TRUE else format_interval(own[:, 0] - reward)
        is_known = model.config.space == "pixels" and told in (TRUE, SHUFFLED, NONE)
        share = f"{errors.mean() / (-2 * np.log(reward)).mean():.2f}" if is_known else ""
        print(f"| {told} | {format_interval(reward)} | {less} | {share} |", flush=True)
    return 0


def format_interval(values: np.ndarray) -> str:
    """The mean of values (N,) and its 95 % interval."""
    low, high = bootstrap_mean(values, seed=0, num_resamples=2000)
    return f"{values.mean():.5f} [{low:.5f}, {high:.5f}]"


if __name__ == "__main__":
    sys.exit(main())
