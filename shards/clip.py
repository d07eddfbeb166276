"""The one data contract: every producer and consumer of this project speaks `Clip`."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from shards.driving.drive import Drive
from shards.people.person import Person

KEY = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""A key names members of a tar: a dot would end it there, and USTAR has room for 100 characters in all."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """An annotated video. Checked when it is made: errors are raised where data enters, never in a training loop.

    Positions are pixels (x, y) in raster convention: the image spans [0, W] x [0, H], the centre of the top-left pixel
    is (0.5, 0.5). Raises ValueError that names the clip and the field.
    """

    key: str
    """1 to 80 letters, digits, '_' and '-'"""
    video: np.ndarray
    """(T, H, W, 3) uint8"""
    tracks: np.ndarray
    """(T, N, 2) float32, finite, also where a point is hidden; N may be 0"""
    visible: np.ndarray
    """(T, N) bool"""
    depth_m: np.ndarray | None = None
    """(T, H, W) float32 metres, distance to the camera's centre, positive"""
    object_id: np.ndarray | None = None
    """(N,) int32, the instance that each point is on: 0 is the background, k the instance k (from 1)"""
    query_frame: np.ndarray | None = None
    """(N,) int32, the frame in which each point was chosen; -1 where that frame is not in this clip"""
    world_m: np.ndarray | None = None
    """(T, N, 3) float32 metres, the points' positions in the world, finite"""
    person: Person | None = None
    """The one person of each frame; `tracks` are the joints then, and `visible` says which of them are seen."""
    drive: Drive | None = None
    """The drive that the video was taken on: times, poses, speed, steering, commands."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Whatever JSON can hold: seeds, camera, assets, licences."""

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not KEY.fullmatch(self.key):
            raise ValueError(f"clip key {self.key!r}: use 1 to 80 letters, digits, '_' and '-' only")
        self._check_array("video", self.video, np.uint8, 4)
        if self.video.shape[3] != 3 or 0 in self.video.shape:
            self._refuse("video", f"has shape {self.video.shape}, expected (T, H, W, 3) with nothing empty")
        self._check_tracks()
        if self.depth_m is not None:
            self._check_depth(self.depth_m)
        self._check_points()
        if self.person is not None:
            self._check_person(self.person)
        if self.drive is not None:
            self._check_drive(self.drive)
        self._check_metadata()

    def _check_tracks(self) -> None:
        self._check_array("tracks", self.tracks, np.float32, 3)
        num_frames, num_points = len(self.video), self.tracks.shape[1]
        if self.tracks.shape != (num_frames, num_points, 2):
            self._refuse("tracks", f"has shape {self.tracks.shape}, expected ({num_frames}, N, 2) to fit the video")
        if not np.isfinite(self.tracks).all():
            bad = [int(i) for i in np.argwhere(~np.isfinite(self.tracks))[0]]
            self._refuse("tracks", f"is NaN or infinite at [frame, point, axis] = {bad}")
        self._check_array("visible", self.visible, np.bool_, 2)
        expected = (num_frames, num_points)
        if self.visible.shape != expected:
            self._refuse("visible", f"has shape {self.visible.shape}, expected {expected} to fit the tracks")

    def _check_depth(self, depth_m: np.ndarray) -> None:
        self._check_array("depth_m", depth_m, np.float32, 3)
        if depth_m.shape != self.video.shape[:3]:
            self._refuse("depth_m", f"has shape {depth_m.shape}, expected {self.video.shape[:3]} to fit the video")
        # NaN fails the first comparison, infinity the second.
        if not (depth_m.min() > 0 and depth_m.max() < np.inf):
            self._refuse("depth_m", "holds values that are negative, zero, NaN or infinite")

    def _check_points(self) -> None:
        num_frames, num_points = self.visible.shape
        for name, first, last in (("object_id", 0, 2**31 - 1), ("query_frame", -1, num_frames - 1)):
            value = getattr(self, name)
            if value is None:
                continue
            self._check_array(name, value, np.int32, 1)
            if value.shape != (num_points,):
                self._refuse(name, f"has shape {value.shape}, expected ({num_points},) to fit the tracks")
            if num_points and not first <= value.min() <= value.max() <= last:
                bad = int(np.flatnonzero((value < first) | (value > last))[0])
                self._refuse(name, f"is {value[bad]} at point {bad}, expected {first}..{last}")
        if self.world_m is not None:
            self._check_array("world_m", self.world_m, np.float32, 3)
            expected = (num_frames, num_points, 3)
            if self.world_m.shape != expected:
                self._refuse("world_m", f"has shape {self.world_m.shape}, expected {expected} to fit the tracks")
            if not np.isfinite(self.world_m).all():
                bad = [int(i) for i in np.argwhere(~np.isfinite(self.world_m))[0]]
                self._refuse("world_m", f"is NaN or infinite at [frame, point, axis] = {bad}")

    def _check_person(self, person: Any) -> None:
        if not isinstance(person, Person):
            self._refuse("person", f"is {type(person).__name__}, expected Person")
        found, expected = person.joints_m.shape[:2], self.visible.shape
        if found != expected:
            self._refuse("person", f"has {found} frames and joints, expected {expected} to fit the tracks")
        if person.parts is not None and person.parts.shape != self.video.shape[:3]:
            shape = person.parts.shape
            self._refuse("person", f"has parts of shape {shape}, expected {self.video.shape[:3]} to fit the video")

    def _check_drive(self, drive: Any) -> None:
        if not isinstance(drive, Drive):
            self._refuse("drive", f"is {type(drive).__name__}, expected Drive")
        if len(drive.times_s) != len(self.video):
            self._refuse("drive", f"has {len(drive.times_s)} frames, the video has {len(self.video)}")

    def _check_metadata(self) -> None:
        if not isinstance(self.metadata, dict):
            self._refuse("metadata", f"is {type(self.metadata).__name__}, expected a dictionary")
        try:
            json.dumps(self.metadata, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            self._refuse("metadata", f"cannot be written as JSON ({error})")

    def _check_array(self, name: str, value: Any, dtype: type, ndim: int) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != ndim:
            found = f"{value.ndim}-d {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            self._refuse(name, f"is {found}, expected a {ndim}-d array of {np.dtype(dtype)}")

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise ValueError(f"clip {self.key}: {name} {reason}")
