"""What a clip says of the drive that its camera was taken on: times, poses, speed, turning, steering, commands."""

import io
import json
import zipfile
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from shards.driving.actions import COMMANDS, Actions, actions_from_json, actions_to_json
from shards.people.person import DAMAGE, LARGEST

ARRAYS = {
    "times_s": (), "camera_to_world": (3, 4), "speed_mps": (), "yaw_rate_radps": (), "steering_deg": (), "goal": (2,),
}  # fmt: skip
"""Arrays of float64 and how their shapes end after the frames."""
MAY_LACK = {"steering_deg", "goal"}
"""Arrays that are NaN in frames where nothing is known."""
LARGEST_VALUE = {
    "speed_mps": (150, "are these km/h?"), "yaw_rate_radps": (3, "are these degrees?"),
    "steering_deg": (1000, "expected degrees of the steering wheel"),
}  # fmt: skip
LARGEST_STEP_S = 10
LEAST_UPRIGHT = 0.5
"""Cosine between the camera's y and the world's down, and the horizontal share of the camera's z."""
LEAST_SPAN_S, LEAST_SPEED_MPS, LARGEST_RATIO = 2.0, 2.0, 2.5
"""Stored speed and poses are held against each other over this span, above this speed; km/h would be 3.6 times."""
LEAST_TURN_RAD = 0.3


@dataclass(frozen=True, kw_only=True, eq=False)
class Drive:
    """The drive of T frames. Camera axes: x right, y down, z forward; world: z up; metres; to the left is positive.

    What is not known is None. Checked when it is made, also one part against another; ValueError names the array.
    """

    times_s: np.ndarray
    """(T,) float64, when each frame was taken; increasing"""
    camera_to_world: np.ndarray | None = None
    """(T, 3, 4) float64: rotation and place of the camera, x_world = R x_camera + t"""
    speed_mps: np.ndarray | None = None
    """(T,) float64, not negative"""
    yaw_rate_radps: np.ndarray | None = None
    """(T,) float64, about the world's z: to the left is positive"""
    steering_deg: np.ndarray | None = None
    """(T,) float64, angle of the steering wheel, to the left positive; NaN where it is not known"""
    goal: np.ndarray | None = None
    """(T, 2) float64, where in each frame the vehicle is going, as shares (x / W, y / H); NaN where it is not seen"""
    commands: tuple[str | None, ...] | None = None
    """T names of `shards.driving.actions.COMMANDS`; None where it is not known"""
    stated: Actions | None = None
    """Labels of the window that begins at the first frame; where they say something it comes before all else"""

    def __post_init__(self) -> None:
        for name in ARRAYS:
            if name == "times_s" or getattr(self, name) is not None:
                self._check_array(name)
        self._check_times()
        if self.camera_to_world is not None:
            self._check_poses(self.camera_to_world)
        for name, (largest, hint) in LARGEST_VALUE.items():
            values = getattr(self, name)
            if values is not None and np.nanmax(np.abs(values), initial=0) > largest:
                self._refuse(name, f"is {np.nanmax(np.abs(values)):.4g}, over {largest}: {hint}")
        if self.speed_mps is not None and (self.speed_mps < 0).any():
            self._refuse("speed_mps", f"is negative in frame {int(np.argmax(self.speed_mps < 0))}")
        if self.goal is not None and ((self.goal < 0) | (self.goal > 1)).any():
            frame = int(np.argmax(((self.goal < 0) | (self.goal > 1)).any(1)))
            self._refuse(
                "goal", f"is {self.goal[frame].tolist()} in frame {frame}, expected shares from 0 to 1, or NaN"
            )
        self._check_commands()
        self._check_motion()

    def _check_array(self, name: str) -> None:
        array, ends = getattr(self, name), ARRAYS[name]
        if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.ndim != 1 + len(ends):
            self._refuse(name, f"must be a {1 + len(ends)}-d array of float64")
        if array.shape != (len(self.times_s), *ends):
            self._refuse(name, f"has shape {array.shape}, which does not fit {len(self.times_s)} frames")
        is_lacking = np.isinf(array) if name in MAY_LACK else ~np.isfinite(array)
        if is_lacking.any():
            self._refuse(name, f"is NaN or infinite in frame {int(np.argwhere(is_lacking)[0][0])}")

    def _check_times(self) -> None:
        steps = np.diff(self.times_s)
        if (steps <= 0).any():
            self._refuse("times_s", f"does not increase after frame {int(np.argmax(steps <= 0))}")
        if len(steps) and np.median(steps) > LARGEST_STEP_S:
            self._refuse("times_s", f"has steps of {np.median(steps):.4g}: are these milli- or microseconds?")

    def _check_poses(self, poses: np.ndarray) -> None:
        rotation = poses[:, :, :3]
        error = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2))
        is_none = (error > 1e-3) | (np.linalg.det(rotation) < 0)
        if is_none.any():
            self._refuse("camera_to_world", f"is no rotation and place in frame {int(is_none.argmax())}")
        is_tilted = (-rotation[:, 2, 1] < LEAST_UPRIGHT) | (np.hypot(*rotation[:, :2, 2].T) < LEAST_UPRIGHT)
        if is_tilted.any():
            frame = int(is_tilted.argmax())
            reason = "expected camera axes x right, y down, z forward and a world whose z is up"
            self._refuse("camera_to_world", f"looks up or down, or stands on its head, in frame {frame}: {reason}")

    def _check_commands(self) -> None:
        if self.commands is None:
            return
        if not isinstance(self.commands, tuple) or len(self.commands) != len(self.times_s):
            self._refuse("commands", f"must be a tuple of {len(self.times_s)} names, one a frame")
        for frame, command in enumerate(self.commands):
            if command is not None and command not in COMMANDS:
                self._refuse("commands", f"is {command!r} in frame {frame}, known are {', '.join(COMMANDS)}")

    def _check_motion(self) -> None:
        """Hold speed and yaw rate against the poses: other units and other signs are found where there is motion."""
        if self.camera_to_world is None or len(self.times_s) < 2:
            return
        if self.speed_mps is not None:
            reason = contradiction(self.times_s, self.camera_to_world, self.speed_mps)
            if reason:
                self._refuse("speed_mps", f"{reason}: are these km/h, or are the poses not in metres?")
        if self.yaw_rate_radps is not None:
            forward = self.camera_to_world[:, :2, 2]
            turned = np.diff(np.unwrap(np.arctan2(forward[:, 1], forward[:, 0]))).sum()
            stored = np.trapezoid(self.yaw_rate_radps, self.times_s)
            if abs(turned) > LEAST_TURN_RAD and stored * turned < 0:
                self._refuse("yaw_rate_radps", f"turns by {stored:.3g}, the poses by {turned:.3g}: left is positive")

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise ValueError(f"drive.{name} {reason}")

    def frames(self, chosen: list[int]) -> "Drive":
        """The drive in the chosen frames only; `stated` stays where the first of them is frame 0."""
        arrays = {name: getattr(self, name)[chosen] for name in ARRAYS if getattr(self, name) is not None}
        commands = None if self.commands is None else tuple(self.commands[frame] for frame in chosen)
        stated = self.stated if chosen and chosen[0] == 0 else None
        return replace(self, **arrays, commands=commands, stated=stated)


def contradiction(times_s: np.ndarray, camera_to_world: np.ndarray, speed_mps: np.ndarray) -> str:
    """How speeds (T,) m/s and poses (T, 3, 4) at times (T,) contradict each other; empty where they do not."""
    span_s = times_s[-1] - times_s[0]
    if span_s < LEAST_SPAN_S:
        return ""
    stored = np.trapezoid(speed_mps, times_s) / span_s
    found = np.linalg.norm(np.diff(camera_to_world[:, :2, 3], axis=0), axis=1).sum() / span_s
    low, high = sorted((stored, found))
    is_other = high > LEAST_SPEED_MPS and high > LARGEST_RATIO * low
    return f"is {stored:.3g} on average, by the poses it is {found:.3g}" if is_other else ""


def encode_drive(drive: Drive) -> bytes:
    """A drive as an npz without pickles; equal drives give equal bytes."""
    arrays = {name: getattr(drive, name) for name in ARRAYS if getattr(drive, name) is not None}
    stated = None if drive.stated is None else actions_to_json(drive.stated)
    about = json.dumps({"commands": drive.commands, "stated": stated}, sort_keys=True, allow_nan=False)
    content = io.BytesIO()
    np.savez_compressed(content, about=np.frombuffer(about.encode(), np.uint8), **arrays)
    return content.getvalue()


def decode_drive(content: bytes) -> Drive:
    """The inverse of `encode_drive`; never unpickles. Raises ValueError for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(entry.file_size > LARGEST for entry in archive.infolist()):
                raise ValueError("an array is too large")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            about = json.loads(archive["about"].tobytes())
            arrays = {name: archive[name] for name in ARRAYS if name in archive.files}
        commands, stated = about["commands"], about["stated"]
        return Drive(
            **arrays,
            commands=None if commands is None else tuple(commands),
            stated=None if stated is None else actions_from_json(stated),
        )
    except DAMAGE as error:
        raise ValueError(f"drive.npz is damaged ({error})") from None
