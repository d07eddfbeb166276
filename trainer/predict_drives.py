"""Weights and drives in, rollouts out: `python -m trainer.predict_drives --weights W --truth INDEX --out P`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from eval.driving.rollouts import NONE, SHUFFLED, TOLD, RolloutsWriter, Window, other_key
from eval.driving.truth import DriveTruth
from shards.driving.actions import KINDS
from shards.driving.window import actions_of_window
from shards.files import sha256_of
from trainer.batch import Sample
from trainer.command import exit_code_of
from trainer.driving.config import DrivingData
from trainer.driving.making import Making, check_given, generator_of, load_vista, make_rounds, rewards_of, to_pictures
from trainer.driving.samples import sample_of, settings_of
from trainer.models.vista.model import Vista
from trainer.models.vista.sampler import GUIDANCE, SCHEDULES
from trainer.predict import check_device

ALL = "all"
NUM_STEPS = 10
"""Of the reference's figures 50; a benchmark makes many clips."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.predict_drives",
        description="Make windows of every clip of a benchmark from their first frames, told the clip's own "
        "actions, those of another clip (the next one), and nothing; all from the same noise.",
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--truth", required=True, help="index.json of the packed benchmark, a path or a URL")
    parser.add_argument("--told", nargs="+", choices=TOLD, default=list(TOLD), help="(default: all)")
    parser.add_argument(
        "--kind",
        choices=(ALL, *KINDS),
        help="which actions are told (default: all; trajectory where training told one kind at a time)",
    )
    parser.add_argument("--num-clips", type=int, help="the first so many of the index (default: all)")
    parser.add_argument(
        "--windows", type=int, default=1, help="so many of each clip, evenly spread (default 1: the first frames)"
    )
    parser.add_argument("--height", type=int, help="pixels of the frames (default: as the weights were trained)")
    parser.add_argument("--width", type=int, help="of the frames; models of one size are compared at one size")
    parser.add_argument("--samples", type=int, default=1, help="so many of each, whose agreement is the reward")
    parser.add_argument("--given", type=int, default=1, help="first frames that are given (default 1)")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help=f"(default {NUM_STEPS})")
    parser.add_argument("--guidance", type=float, default=1.0, help=f"(default 1: none; the reference {GUIDANCE})")
    parser.add_argument("--schedule", choices=SCHEDULES, default="constant", help="of guidance over frames")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8, help="clips that are made together; changes no result")
    parser.add_argument("--model", default="", help="name in the tables (default: the stage of the weights)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="rollouts.npz to write")
    options = parser.parse_args(arguments)
    for name in ("windows", "samples", "given", "batch", "threads", "num_clips", "height", "width"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name.replace('_', '-')} {value} must be at least 1")
    return options


class Windows:
    """Windows of each clip of a benchmark, evenly spread, and what is told of them; one is (key, number).

    kind: the one of KINDS that is told, or all of them. num_windows: of each clip.
    """

    def __init__(self, truth: DriveTruth, data: DrivingData, kind: str, num_windows: int = 1):
        self.truth, self.data, self.num_windows = truth, data, num_windows
        self.is_told = (np.array(KINDS) == kind) | (kind == ALL)
        self._read = lru_cache(maxsize=64)(self._read_window)

    def first(self, window: Window) -> int:
        """The frame of its clip that a window begins at."""
        key, number = window
        return self.truth.starts(key, self.data.num_frames, self.data.frame_step, self.num_windows)[number]

    def present(self, window: Window) -> np.ndarray:
        """Which of KINDS are known and told (5,) bool."""
        return actions_of_window(self.truth.drive(window[0]), self.first(window)).present & self.is_told

    def _read_window(self, window: Window) -> Sample:
        data, (key, _), first = self.data, window, self.first(window)
        frames, _ = self.truth.window(key, data.num_frames, data.frame_step, data.height, data.width, first)
        drive = self.truth.drive(key)
        sample = sample_of(frames, drive, first, actions_of_window(drive, first), data)
        return sample | {"present": sample["present"] & self.is_told}

    def frames(self, window: Window) -> np.ndarray:
        """The true frames (T, H, W, 3) uint8."""
        return self._read(window)["frames"].transpose(0, 2, 3, 1)

    def name(self, window: Window) -> str:
        """What noise is drawn by: the clip's key, and where the window begins if that is not at its frame 0."""
        first = self.first(window)
        return f"{window[0]}@{first}" if first else window[0]

    def other(self, window: Window) -> Window:
        """The window whose actions this one is told when they are shuffled: that of the next clip."""
        return other_key(self.truth.keys, window[0]), window[1]

    def told(self, window: Window, told: str) -> Sample:
        """What a model is told when it makes a window; at its own frames a second, whoever's actions."""
        own = {name: value for name, value in self._read(window).items() if name != "frames"}
        if told == SHUFFLED:
            other = self._read(self.other(window))
            return {name: other[name] for name in own} | {"fps": own["fps"]}
        if told == NONE:
            return own | {"present": np.zeros_like(own["present"]), "moves": np.zeros_like(own["moves"])}
        return own


def choose_kind(kind: str | None, data: DrivingData) -> str:
    """Which actions are told: as asked for, else as in training."""
    return kind or ("trajectory" if data.one_kind else ALL)


def check_known(windows: Windows, chosen: Sequence[Window], model: Vista, asked: str | None) -> None:
    """Say of how many windows nothing is known that this model could be told: all tellings of these are one.

    Raises ValueError where nobody knows the kind that was asked for.
    """
    unet, num_deaf, is_known = model.config.unet, 0, False
    for window in chosen:
        is_told = bool(windows.present(window).any())
        is_known |= is_told
        moves = unet.frame_values > 0 and windows.truth.drive(window[0]).camera_to_world is not None
        num_deaf += not (moves or (unet.with_actions and is_told))
    if asked and not is_known:
        raise ValueError(f"{windows.truth.path}: --kind {asked} is known of no clip; choose another")
    if num_deaf:
        why = "is known that could be told" if unet.with_actions or unet.frame_values else "is heard by these weights"
        print(f"{windows.truth.dataset}: of {num_deaf} of {len(chosen)} windows nothing {why}; all tellings are one")


def roll_out(
    model: Vista, windows: Windows, chosen: Sequence[Window], told: str, options: argparse.Namespace, making: Making
) -> Iterator[tuple[Window, np.ndarray, float | None]]:
    """Frames (T, H, W, 3) uint8 and reward of windows told one thing: the first sample, and how far all samples agree.

    Sample n of a window is always from the same noise, whatever it is told and whoever else is made with it.
    """
    first = np.stack([windows.frames(window)[: options.given] for window in chosen])
    rows = [windows.told(window, told) for window in chosen]
    clips = []
    for number in range(options.samples):
        generators = [generator_of(making.seed, windows.name(window), number) for window in chosen]
        clips.append(make_rounds(model, first, [rows], windows.data.num_frames, generators, making))
    rewards = rewards_of(clips, options.given) if len(clips) > 1 else [None] * len(chosen)
    frames = to_pictures(model, clips[0])
    frames[:, : options.given] = first  # of a model of latents what is decoded differs a little
    yield from zip(chosen, frames, rewards, strict=True)


def predict(options: argparse.Namespace) -> None:
    """Make all windows and write the rollouts; ValueError for weights or a benchmark that do not fit."""
    torch.set_num_threads(options.threads)
    check_device(options.device)
    making = Making(num_steps=options.steps, guidance=options.guidance, schedule=options.schedule, seed=options.seed)
    model, recipe = load_vista(options.weights, options.device)
    truth, data = DriveTruth(options.truth), settings_of(recipe.data)
    data = replace(data, height=options.height or data.height, width=options.width or data.width)
    model.config.check_size(data.height, data.width, "--height, --width")
    check_given(options.given, model.config.objective, data.num_frames)
    kind = choose_kind(options.kind, data)
    windows, keys = Windows(truth, data, kind, options.windows), truth.keys[: options.num_clips]
    chosen = [(key, number) for key in keys for number in range(options.windows)]
    if set(options.told) != {NONE}:
        check_known(windows, chosen, model, options.kind)
    settings = {name: getattr(data, name) for name in ("num_frames", "frame_step", "height", "width")}
    settings |= {"num_given": options.given, "kind": kind, "num_samples": options.samples} | asdict(making)
    about = {"model": options.model or recipe.stage, "weights_sha256": sha256_of(options.weights)}
    about |= {"dataset_digest": truth.sha256, "settings": settings}
    total = len(chosen) * len(options.told)
    with (
        RolloutsWriter(options.out, **about) as writer,
        tqdm(total=total, desc=f"{about['model']} on {truth.dataset}", unit="window", disable=None) as bar,
    ):
        for start in range(0, len(chosen), options.batch):
            batch = chosen[start : start + options.batch]
            for told in options.told:
                for window, frames, reward in roll_out(model, windows, batch, told, options, making):
                    other = windows.other(window) if told == SHUFFLED else window
                    whose = (other[0], windows.first(other))
                    writer.add(window[0], windows.first(window), told, frames, reward, *whose)
                    bar.update()
    each = f", {options.windows} windows of each" if options.windows > 1 else ""
    print(f"{options.out}: {len(keys)} clips{each}, told {', '.join(options.told)} ({kind})")


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: predict(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
