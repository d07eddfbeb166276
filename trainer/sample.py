"""A picture of a road in, a video of the drive out: `python -m trainer.sample --weights W --image I --out out.mp4`."""

import argparse
import json
import sys
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from shards.driving.actions import Actions, actions_to_json
from shards.driving.frames import centre_box, fit_frames
from shards.driving.reading import RATE_HZ
from shards.files import sha256_of, write_text
from shards.video import PICTURES
from trainer.batch import Sample
from trainer.command import exit_code_of
from trainer.driving.config import DrivingData
from trainer.driving.making import (
    NUM_STEPS,
    Making,
    carried_of,
    check_given,
    counting,
    generator_of,
    load_vista,
    make_rounds,
    rewards_of,
    to_pictures,
)
from trainer.driving.paths import motion_of_round, read_motion
from trainer.driving.pictures import check_suffix, write_clips
from trainer.driving.samples import settings_of
from trainer.driving.telling import deal_actions, read_actions, tell
from trainer.models.vista.recipe import VistaConfig
from trainer.models.vista.sampler import GUIDANCE, NUM_CARRIED, SCHEDULES
from trainer.predict import check_device
from trainer.video import open_video

EXAMPLES = """examples:
  python -m trainer.sample --weights results/vista_phase2_stage2/weights.safetensors --image road.png --out drive.mp4
  python -m trainer.sample --weights W --image road.png --actions "command=turn_left" --out left.mp4
  python -m trainer.sample --weights W --image road.png --actions "trajectory=0,4;0,8;-1,12;-2,16" --out left.gif
  python -m trainer.sample --weights W --image drive.mp4 --given 3 --actions rounds.json --rounds 3 --out long.mp4
  python -m trainer.sample --weights W --image road.png --actions "speed=8,8,8,8" --reward --out agree.png
"""
REWARD_STEPS, REWARD_SAMPLES = 10, 5
"""Of the reference's reward."""
BESIDE = ".settings.json"
"""What the file of settings beside the output is called in the end."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line; ValueError for a file that cannot be written."""
    parser = argparse.ArgumentParser(
        prog="trainer.sample",
        description="Make a video with a trained world model: from a picture, and what the driver does.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--image", required=True, help="a picture, a video or a folder of pictures")
    parser.add_argument("--given", type=int, default=1, help="first frames that are given: 1, 2 or 3 (default 1)")
    parser.add_argument(
        "--actions",
        action="append",
        default=[],
        help="'command=turn_left', 'trajectory=0,4;0,8;-1,12;-2,16', speed, angle, goal; a file.json; none. "
        "Several times: one for each round",
    )
    parser.add_argument("--motion", type=Path, help="CSV file forward_m,turn_left_rad: how each frame has moved")
    parser.add_argument("--rounds", type=int, help="rounds of frames (default: as many as there are actions)")
    parser.add_argument("--steps", type=int, help=f"(default {NUM_STEPS}, with --reward {REWARD_STEPS})")
    parser.add_argument("--guidance", type=float, default=GUIDANCE, help=f"how strongly frames are led ({GUIDANCE})")
    parser.add_argument(
        "--schedule", choices=SCHEDULES, help="of guidance over frames (default: constant; of several rounds triangle)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--num-samples", type=int, help=f"(default 1, with --reward {REWARD_SAMPLES})")
    parser.add_argument("--reward", action="store_true", help="say how far the samples agree: exp(-variance)")
    parser.add_argument("--fps", type=float, help=f"frames a second (default {RATE_HZ:g} by the model's frame_step)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or mps")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")
    parser.add_argument("--out", type=Path, required=True, help=f".mp4, .gif or a sheet, .png; {BESIDE} goes beside it")
    options = parser.parse_args(arguments)
    check_suffix(options.out)
    if options.out.resolve() == Path(options.image).resolve():
        raise ValueError(f"--out {options.out}: this is the picture itself; choose another name")
    options.num_samples = options.num_samples or (REWARD_SAMPLES if options.reward else 1)
    options.steps = options.steps or (REWARD_STEPS if options.reward else NUM_STEPS)
    if options.num_samples < 1 + options.reward:
        raise ValueError(f"--num-samples {options.num_samples}: a reward needs at least 2")
    if options.rounds is not None and options.rounds < 1:
        raise ValueError(f"--rounds {options.rounds} must be at least 1")
    if options.fps is not None and not 0 < options.fps <= 1000:
        raise ValueError(f"--fps {options.fps}: give frames a second, such as 10")
    return options


def read_given(source: str, num_given: int, data: DrivingData, fps: float) -> np.ndarray:
    """The first frames (n, H, W, 3) uint8 of a picture, a folder or a video, as the model sees frames.

    Of a video those that are 1 / fps apart, of a folder one after the other. ValueError where there are fewer.
    """
    path, is_picture = Path(source), Path(source).suffix.lower() in PICTURES
    if is_picture and not path.is_file():
        raise ValueError(f"--image {source}: no such file")
    with open_video(source) as video:
        every = 1 if path.is_dir() or is_picture else max(1, round(float(video.rate) / fps))
        frames = list(islice(video.frames, 0, (num_given - 1) * every + 1, every))
    if len(frames) < num_given:
        raise ValueError(f"--given {num_given}: {source} has {len(frames)} frames that are 1/{fps:g} s apart")
    frames = np.stack(frames)
    height, width = frames.shape[1:3]
    if (height, width) != (data.height, data.width):
        left, top, right, bottom = centre_box(height, width, data.height, data.width)
        print(
            f"{source}: {height}x{width}; as in training the middle {bottom - top:g}x{right - left:g} is taken and "
            f"resized to {data.height}x{data.width}"
        )
    return fit_frames(frames, data.height, data.width)


def plan_rounds(options: argparse.Namespace, config: VistaConfig, data: DrivingData, fps: float) -> list[Actions]:
    """What the driver does in each round; says how long the video becomes, and what is unlike the training."""
    given, carried = read_actions(options.actions), carried_of(config.objective, data.num_frames)
    check_given(options.given, config.objective, data.num_frames)
    actions = deal_actions(given, options.rounds)
    rounds = f"{len(actions)} round{'s' if len(actions) > 1 else ''} of {data.num_frames} frames"
    print(f"{rounds}, {carried} carried over: {frames_of(len(actions), data, carried)} frames at {fps:g}/s")
    if len(actions) > 1 and carried < NUM_CARRIED:
        print(f"later rounds begin with {carried} instead of {NUM_CARRIED} frames: these weights know no more")
    if len(given) == 1 < len(actions):
        print(f"the same is told in all {len(actions)} rounds: {options.actions[0]}")
    if data.one_kind and any(each.present.sum() > 1 for each in actions):
        print("several kinds of action are told at once; these weights were trained with one at a time")
    return actions


def frames_of(num_rounds: int, data: DrivingData, carried: int) -> int:
    """Frames of a video of so many rounds."""
    return num_rounds * (data.num_frames - carried) + carried


def tell_rounds(
    options: argparse.Namespace, actions: list[Actions], config: VistaConfig, data: DrivingData, fps: float
) -> list[Sample]:
    """What the model is told in each round, as it takes it."""
    carried, motion, told = carried_of(config.objective, data.num_frames), None, []
    if options.motion:
        motion = read_motion(options.motion, frames_of(len(actions), data, carried))
    for number, each in enumerate(actions):
        own = None if motion is None else motion_of_round(motion, number, data.num_frames, carried)
        told.append(tell(each, config, data, fps, own))
    if config.unet.frame_values and options.actions and not any(each["moves"] for each in told):
        print("the motion of frames is not told: only trajectory=... and --motion do that")
    return told


def sample(options: argparse.Namespace) -> None:
    """Make the videos and write them; ValueError for weights, pictures or actions that do not fit."""
    if options.threads:
        torch.set_num_threads(options.threads)
    check_device(options.device)
    model, recipe = load_vista(options.weights, options.device)
    data = settings_of(recipe.data)
    fps = options.fps or RATE_HZ / data.frame_step
    actions = plan_rounds(options, model.config, data, fps)
    told = tell_rounds(options, actions, model.config, data, fps)
    schedule = options.schedule or ("constant" if len(told) == 1 else "triangle")
    making = Making(num_steps=options.steps, guidance=options.guidance, schedule=schedule, seed=options.seed)
    first, clips = read_given(options.image, options.given, data, fps)[None], []
    calls = options.num_samples * len(told) * making.num_steps * making.calls_per_step
    with counting(model.unet, calls, f"{recipe.stage}"):
        for number in range(options.num_samples):
            generators = [generator_of(options.seed, "sample", number)]
            clips.append(make_rounds(model, first, [[each] for each in told], data.num_frames, generators, making))
    (reward,) = rewards_of(clips, options.given) if options.reward else (None,)
    videos = {f"sample {number}": to_pictures(model, clip)[0] for number, clip in enumerate(clips)}
    write_clips(options.out, videos, fps)
    about, beside = describe(options, recipe.stage, actions, making, fps), options.out.with_suffix(BESIDE)
    write_text(beside, json.dumps(about | {"reward": reward}, indent=2) + "\n")
    if reward is not None:
        print(f"reward {reward:.4f}: exp(-variance) of {len(clips)} samples")
    print(f"{options.out}: {len(clips)} x {len(next(iter(videos.values())))} frames, settings in {beside}")


def describe(
    options: argparse.Namespace, model: str, actions: list[Actions], making: Making, fps: float
) -> dict[str, Any]:
    """What made the videos, for the file beside them."""
    return {
        "model": model, "weights": str(options.weights), "weights_sha256": sha256_of(options.weights),
        "image": options.image, "given": options.given, "fps": fps, "rounds": list(map(actions_to_json, actions)),
        "motion": None if options.motion is None else str(options.motion), "num_samples": options.num_samples,
        **asdict(making),
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: sample(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
