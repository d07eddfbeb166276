"""Training samples of driving: a window of a clip's frames, and what the driver does in it.

Legend: T frames of a window, H W pixels of the network's frames.
"""

from dataclasses import replace

import numpy as np

from shards import Clip, ClipStore
from shards.driving.actions import SHAPES, Actions, values_of
from shards.driving.drive import Drive
from shards.driving.frames import fit_frames
from shards.driving.motion import steps_of
from shards.driving.sampling import COMPLETE_AGAIN, TURNS_AGAIN, repetitions_of
from shards.driving.window import actions_of_window
from trainer.batch import Sample
from trainer.config import DataConfig
from trainer.driving.config import DrivingData
from trainer.driving.latents import latents_of
from trainer.models.vista.actions import pack_actions

DRAWS = 64
"""Windows that are drawn for one balanced sample at most; one in ten is accepted where nothing turns."""
MIRRORED = {"turn_left": "turn_right", "turn_right": "turn_left"}
MIRROR_FACTORS = {
    "trajectory_m": np.array([-1.0, 1.0]),
    "speed_mps": 1.0,
    "angle_deg": -1.0,
    "goal": np.array([-1.0, 1.0]),
}
"""What a mirror multiplies each action with; x of a goal, a share of the width, is then counted from the other side."""


def make_drive_sample(store: ClipStore, number: int, config: DataConfig, rng: np.random.Generator) -> Sample:
    """One training sample of a clip's drive; `sample_of` says what it holds.

    The window begins at a random frame, evenly among those where it fits; with data.driving.is_balanced windows are
    drawn, of any clip, until one is accepted. Only the window's frames are decoded; with data.driving.latents none is,
    and instead of `frames` the sample has moments (T, 2, C, h, w) of their latents, and the token (D,) of the first.
    Raises ValueError when the clip is damaged, too short, or has no drive, and for latents that do not belong to it.
    """
    data = settings_of(config)
    for _ in range(DRAWS):
        drive, first = store.read_drive(number), draw_first(store, number, data, rng)
        actions = actions_of_window(drive, first)
        if not data.is_balanced or rng.random() * TURNS_AGAIN * COMPLETE_AGAIN < repetitions_of(actions):
            break
        number = int(rng.integers(len(store)))
    frames = slice(first, first + data.span, data.frame_step)
    if data.one_kind:
        actions = keep_one_kind(actions, rng)
    if data.latents:
        moments, token = latents_of(store, data).read(store.keys[number], frames)
        return {"moments": moments, "token": token, **told_of(drive, first, actions, data)}
    sample = sample_of(store.read(number, frames=frames).video, drive, first, actions, data)
    return mirror(sample, actions, data) if data.flip and rng.random() < 0.5 else sample


def settings_of(config: DataConfig) -> DrivingData:
    """The `data.driving` section; ValueError where the recipe has none."""
    if config.driving is None:
        raise ValueError("this stage trains on drives: the recipe needs the section data.driving (data=driving)")
    return config.driving


def draw_first(store: ClipStore, number: int, data: DrivingData, rng: np.random.Generator) -> int:
    """The first frame of a random window of a clip; ValueError where none fits."""
    last = store.row(number)["num_frames"] - data.span
    check_length(store.keys[number], last + data.span, data)
    return data.stride * int(rng.integers(last // data.stride + 1))


def check_length(key: str, num_frames: int, data: DrivingData) -> None:
    """ValueError where a clip of so many frames has no window."""
    if num_frames < data.span:
        raise ValueError(
            f"clip {key} has {num_frames} frames, a window of data.driving.num_frames={data.num_frames} at "
            f"frame_step={data.frame_step} spans {data.span}; lower one of them, or make longer clips"
        )


def window_of_clip(clip: Clip, first: int, data: DrivingData) -> Sample:
    """The window of a whole clip that begins at frame `first`, with all actions that are known; nothing is drawn.

    Raises ValueError for a clip without a drive, and where the window does not fit.
    """
    if clip.drive is None:
        raise ValueError(f"clip {clip.key} has no drive; use a data set of driving")
    if first < 0:
        raise ValueError(f"clip {clip.key} has no frame {first}")
    check_length(clip.key, len(clip.video) - first, data)
    video = clip.video[first : first + data.span : data.frame_step]
    return sample_of(video, clip.drive, first, actions_of_window(clip.drive, first), data)


def sample_of(video: np.ndarray, drive: Drive, first: int, actions: Actions, data: DrivingData) -> Sample:
    """A window's frames (T, h, w, 3) uint8 and its clip's drive as a sample: frames (T, 3, H, W) uint8, and what
    `told_of` says."""
    frames = fit_frames(video, data.height, data.width)
    return {
        "frames": np.ascontiguousarray(frames.transpose(0, 3, 1, 2)),
        **told_of(drive, first, actions, data),
    }


def told_of(drive: Drive, first: int, actions: Actions, data: DrivingData) -> Sample:
    """What a sample says of a window besides its frames.

    values (19,) float32 of the actions and present (5,) bool, which are known; motion (T, 2) float32, forward metres
    and left turn, radians, since the frame before; moves () bool, whether that is known; fps () float32, frames of the
    window a second.
    """
    window = drive.frames(list(range(first, first + data.span, data.frame_step)))
    moves, motion = window.camera_to_world is not None, np.zeros((data.num_frames, 2), np.float32)
    if moves:
        motion = motion_of(window.camera_to_world)
    steps_s = np.diff(window.times_s)
    return {
        **pack(actions, data),
        "motion": motion,
        "moves": np.array(moves),
        "fps": np.float32(1 / np.median(steps_s)),
    }


def pack(actions: Actions, data: DrivingData) -> Sample:
    """values (19,) float32 and present (5,) bool of actions, as the network takes them."""
    values, present = pack_actions(values_of(actions, data.command_numbers))
    return {"values": values.numpy(), "present": present.numpy()}


def motion_of(camera_to_world: np.ndarray) -> np.ndarray:
    """(T, 2) float32 of poses (T, 3, 4): metres ahead and radians of turn to the left since the frame before."""
    return steps_of(camera_to_world).astype(np.float32)


def keep_one_kind(actions: Actions, rng: np.random.Generator) -> Actions:
    """One kind of action, drawn evenly from those that are known; none where nothing is."""
    names = [name for name in ("command", *SHAPES) if getattr(actions, name) is not None]
    if not names:
        return actions
    kept = names[int(rng.integers(len(names)))]
    return Actions(**{kept: getattr(actions, kept)})


def mirror(sample: Sample, actions: Actions, data: DrivingData) -> Sample:
    """The sample, which has these actions, as in a mirror: what turned left turns right."""
    return sample | {
        "frames": np.ascontiguousarray(sample["frames"][..., ::-1]),
        "motion": sample["motion"] * np.array([1, -1], np.float32),
        **pack(mirror_actions(actions), data),
    }


def mirror_actions(actions: Actions) -> Actions:
    """What the driver does in a mirror."""
    told = {name: getattr(actions, name) for name in MIRROR_FACTORS}
    known = {name: value * MIRROR_FACTORS[name] for name, value in told.items() if value is not None}
    if "goal" in known:
        known["goal"] = known["goal"] + [1.0, 0.0]
    return replace(actions, command=MIRRORED.get(actions.command, actions.command), **known)
