"""Vista's annotation lists of nuScenes (nuScenes.json): 25 frames and the actions of the first of them.

Facts are those of OpenDriveLab/Vista: its data set class reads traj[2:], speed[1:], angle[1:], cmd, goal and z; its
issues say what traj is (#32) and show a sample (#25): the frames follow each other at the camera's own 12 Hz. That
traj is (left, forward) in metres, speed km/h and angle degrees of the wheel is what nuScenes' CAN bus and public
descendants of the script of issue #30 say. So a list is held against itself before anything is read.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.driving.actions import NUM_STEPS, STEP_S, Actions
from shards.driving.drive import Drive
from shards.driving.motion import TURN_M
from shards.driving.reading import DriveReading
from shards.layouts.choice import WHOLE, Choice, cut_metadata
from shards.layouts.driving_frames import drive_clip, read_clip_frames
from shards.layouts.files import clean_name, naming
from shards.layouts.nuscenes import LICENCE
from shards.layouts.nuscenes_tables import KMH

NUM_FRAMES = 25
COUNTS = {"traj": (2 * NUM_STEPS + 2,), "speed": (NUM_STEPS + 1, 0), "angle": (NUM_STEPS + 1, 0), "goal": (2, 0)}
"""How many numbers: now, and at 0.5, 1, 1.5 and 2 s; none where the scene has no CAN bus."""
KEYS = ("frames", "cmd", "z", *COUNTS)
TAKEN = re.compile(r"__(\d{16})\.\w+")
"""The end of nuScenes' file names: microseconds."""
LARGEST_RATIO = 2.0
ADVICE = "such as --commands turn_right,turn_left,stop,straight if 0 is a right turn"


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """One sample of a list, its numbers in our units; `goal_px` where it is ahead."""

    frames: list[Path]
    command: str
    trajectory_m: np.ndarray
    speed_mps: np.ndarray | None
    angle_deg: np.ndarray | None
    goal_px: np.ndarray | None


def read_vista_list(path: Path, reading: DriveReading, choice: Choice = WHOLE) -> Iterator[Clip]:
    """Vista's annotation list of nuScenes (nuScenes.json): a clip a sample of 25 frames; needs --commands.

    `reading.commands` names what 0, 1, ... mean, `reading.images` is where the paths of frames start. The whole list is
    checked before the first clip. Frames have the times of their names, else those of `reading.rate_hz`. The actions
    are those stated. Raises ValueError for a list of other counts, or one that contradicts itself or `commands`.
    """
    if reading.commands is None:
        raise ValueError(f"{path}: which command a number of cmd means has to be said, {ADVICE}")
    with naming(path):
        samples = [_parse(one, number, path, reading) for number, one in enumerate(_read_list(path))]
        _hold_together(samples)
    for number, sample in enumerate(samples):
        with naming(path, f"sample {number}"):
            ranges = choice.ranges(len(sample.frames))
        key = f"{clean_name(path.stem)[:60]}-{number:06d}"
        for frames in ranges:
            with naming(path, f"sample {number}"):
                yield _make_clip(choice.name(key, frames), sample, frames, reading, choice.height)


def _read_list(path: Path) -> list[Any]:
    if not path.is_file():
        raise ValueError("not there; give a list such as nuScenes.json, with --images FOLDER of nuScenes")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(content, list) or not content:
        raise ValueError("expected a list of samples")
    return content


def _parse(one: Any, number: int, path: Path, reading: DriveReading) -> _Sample:
    with naming(path, f"sample {number}"):
        missing = [key for key in KEYS if key not in one]
        if missing:
            raise ValueError(f"lacks {missing[0]}; expected {', '.join(KEYS)}")
        if len(one["frames"]) != NUM_FRAMES:
            raise ValueError(f"frames has {len(one['frames'])} paths, expected {NUM_FRAMES}")
        numbers = {name: _numbers(one, name, counts) for name, counts in COUNTS.items()}
        command, commands = one["cmd"], reading.commands or ()
        if type(command) is not int or not 0 <= command < len(commands):
            raise ValueError(f"cmd is {command!r}, --commands names 0..{len(commands) - 1}")
        left_forward = numbers["traj"].reshape(-1, 2)
        later = {name: None if not len(numbers[name]) else numbers[name][1:] for name in ("speed", "angle")}
        root = reading.images or path.parent
        return _Sample(
            frames=[_place(root, name) for name in one["frames"]],
            command=commands[command],
            trajectory_m=left_forward[1:] * [-1, 1],
            speed_mps=None if later["speed"] is None else later["speed"] / KMH,
            angle_deg=later["angle"],
            goal_px=numbers["goal"] if len(numbers["goal"]) and float(one["z"]) > 0 else None,
        )


def _numbers(one: dict[str, Any], name: str, counts: tuple[int, ...]) -> np.ndarray:
    found = np.asarray(one[name], np.float64)
    if found.ndim != 1 or len(found) not in counts or not np.isfinite(found).all():
        expected = " or ".join(map(str, counts))
        raise ValueError(f"{name} has {found.size} values, expected {expected} finite numbers")
    return found


def _place(root: Path, name: Any) -> Path:
    relative = Path(str(name))
    if relative.is_absolute() or ".." in relative.parts:
        raise ValueError(f"frame {str(name)!r} leads out of the folder of images")
    return root / relative


def _hold_together(samples: list[_Sample]) -> None:
    """Axes, units and commands of a whole list against each other; ValueError says which do not fit."""
    places = np.stack([sample.trajectory_m[-1] for sample in samples])  # (N, 2) right, forward after 2 s
    if places[:, 1].sum() < abs(places[:, 0]).sum():
        raise ValueError("traj leads aside more than ahead: expected pairs (left, forward) in metres")
    ways = [np.linalg.norm(np.diff(sample.trajectory_m, axis=0, prepend=0), axis=1).sum() for sample in samples]
    moving = [
        (sample.speed_mps.mean() * NUM_STEPS * STEP_S, way)
        for sample, way in zip(samples, ways, strict=True)
        if sample.speed_mps is not None and way > TURN_M
    ]
    if moving:
        ratio = float(np.median([by_speed / way for by_speed, way in moving]))
        if not 1 / LARGEST_RATIO < ratio < LARGEST_RATIO:
            raise ValueError(f"speed, read as km/h, goes {ratio:.2g} times as far as traj: another unit?")
    for name, sign in (("turn_right", 1), ("turn_left", -1)):
        aside = [place[0] for sample, place in zip(samples, places, strict=True) if sample.command == name]
        wrong = sum(sign * right <= -TURN_M for right in aside)
        if wrong > sum(sign * right >= TURN_M for right in aside):
            raise ValueError(
                f"{wrong} of {len(aside)} samples with {name} lead to the other side: --commands gives the numbers "
                "other names than the list, or traj has other axes"
            )


def _make_clip(key: str, sample: _Sample, frames: range, reading: DriveReading, height: int | None) -> Clip:
    files = sample.frames[frames.start : frames.stop]
    video, (whole_height, whole_width) = read_clip_frames(files, height)
    times_s, times_from = _times_of(sample.frames, reading.rate_hz)
    goal = None if sample.goal_px is None else sample.goal_px / [whole_width, whole_height]
    if goal is not None and not ((goal > 0) & (goal < 1)).all():
        goal = None
    stated = Actions(
        command=sample.command,
        trajectory_m=sample.trajectory_m,
        speed_mps=None if sample.speed_mps is None else abs(sample.speed_mps),
        angle_deg=sample.angle_deg,
        goal=goal,
    )
    metadata = {
        "recipe": {"source": "vista_list", "commands": list(reading.commands or ()), "times_from": times_from},
        "first_frame": sample.frames[0].name,
        "licence": LICENCE,
    }
    drive = Drive(times_s=times_s, stated=stated).frames(list(frames))
    return drive_clip(key, video, drive, cut_metadata(metadata, frames, len(sample.frames)))


def _times_of(files: list[Path], rate_hz: float) -> tuple[np.ndarray, str]:
    """Seconds (T,) from the first frame on, and where they are from: names that all end with a time, else the rate."""
    matches = [TAKEN.search(file.name) for file in files]
    if all(matches):
        taken_us = np.array([int(match[1]) for match in matches if match], np.int64)
        return (taken_us - taken_us[0]) / 1e6, "file names"
    return np.arange(len(files)) / rate_hz, "rate"
