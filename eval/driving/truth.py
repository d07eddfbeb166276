"""What a benchmark of driving knows: the frames and drives of an index of shards, window by window."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from shards import Clip, ClipStore
from shards.driving.drive import Drive
from shards.driving.frames import fit_frames
from shards.driving.motion import steps_of


class DriveTruth:
    """The drives of one index.json of shards, a path or a URL.

    Raises ValueError, when it is made for clips without drives, for a clip that is not there or too short.
    """

    def __init__(self, index: str | Path) -> None:
        self._store = ClipStore(index)
        self.path = self._store.path
        if not len(self._store):
            raise ValueError(f"{self._store.name}: there is no clip")
        self._store.read_drive(0)

    @property
    def dataset(self) -> str:
        """The name of the data set, which names the benchmark."""
        return self._store.dataset

    @property
    def sha256(self) -> str:
        """Digest of the index file's bytes: rollouts carry it."""
        return self._store.sha256

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of the clips, in the order of the index."""
        return tuple(self._store.keys)

    def drive(self, key: str) -> Drive:
        """The drive of a whole clip, without its pictures."""
        return self._store.read_drive(self._store.number_of(key))

    def clip(self, key: str) -> Clip:
        """A whole clip as stored."""
        return self._store.read(self._store.number_of(key))

    def window(
        self, key: str, num_frames: int, frame_step: int, height: int, width: int, first: int = 0
    ) -> tuple[np.ndarray, Drive]:
        """Every `frame_step`-th frame of a clip from frame `first`: (T, height, width, 3) uint8, and their drive.

        The frames are fitted as those that a model learns from (fit_frames).
        """
        number, frames = self._frames(key, num_frames, frame_step, first)
        clip = self._store.read(number, frames)
        return fit_frames(clip.video, height, width), clip.drive

    def steps(self, key: str, num_frames: int, frame_step: int, first: int = 0) -> np.ndarray | None:
        """How the camera moves in a window (steps_of): (T, 2) metres ahead, radians to the left; None without poses."""
        _, frames = self._frames(key, num_frames, frame_step, first)
        poses = self.drive(key).camera_to_world
        return None if poses is None else steps_of(poses[frames])

    def starts(self, key: str, num_frames: int, frame_step: int, num_windows: int = 1) -> list[int]:
        """The first frames of so many windows that are spread evenly over a clip, the first of them at frame 0.

        The frames where a window can begin are cut into equal parts, and a window begins with each part. Raises
        ValueError where there are fewer such frames than windows asked for.
        """
        if num_windows < 1:
            raise ValueError(f"{num_windows} windows of a clip: make one or more")
        number = self._store.number_of(key)
        count = self._store.row(number)["num_frames"] - (num_frames - 1) * frame_step
        if count < num_windows and num_windows > 1:
            raise ValueError(
                f"{self._store.name}: clip {key} has {max(count, 0)} windows of {num_frames} frames, {frame_step} "
                f"apart, and {num_windows} are asked for: make longer clips, or fewer windows"
            )
        return [part * count // num_windows for part in range(num_windows)]

    def _frames(self, key: str, num_frames: int, frame_step: int, first: int) -> tuple[int, slice]:
        """Number of a clip, and the frames of a window of it."""
        number = self._store.number_of(key)
        end, there = first + (num_frames - 1) * frame_step + 1, self._store.row(number)["num_frames"]
        if first < 0 or end > there:
            raise ValueError(
                f"{self._store.name}: clip {key} has {there} frames; {num_frames} frames from frame {first} on, "
                f"{frame_step} apart, need {end}: make longer clips, or predict fewer frames"
            )
        return number, slice(first, end, frame_step)
