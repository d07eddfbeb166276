"""The one data contract: every producer and consumer of this project speaks `Clip`."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, kw_only=True)
class Clip:
    """An annotated video. Checked when it is made: errors are raised where data enters, never in a training loop.

    Positions are pixels (x, y) in raster convention: the image spans [0, W] x [0, H], the centre of the top-left pixel
    is (0.5, 0.5). Raises ValueError that names the clip and the field.
    """

    key: str
    """Letters, digits, '_' and '-': it names members of a tar, where a dot would end it."""
    video: np.ndarray
    """(T, H, W, 3) uint8"""
    tracks: np.ndarray
    """(T, N, 2) float32, finite, also where a point is hidden"""
    visible: np.ndarray
    """(T, N) bool"""
    depth_m: np.ndarray | None = None
    """(T, H, W) float32 metres, distance to the camera's centre"""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Whatever JSON can hold: seeds, camera, assets, licences."""

    def __post_init__(self) -> None:
        if not KEY.fullmatch(self.key):
            raise ValueError(f"clip key {self.key!r}: use letters, digits, '_' and '-' only")
        self._check("video", self.video, np.uint8, 4)
        frames, height, width, channels = self.video.shape
        if channels != 3 or 0 in self.video.shape:
            self._refuse("video", f"has shape {self.video.shape}, expected (T, H, W, 3) with nothing empty")
        self._check("tracks", self.tracks, np.float32, 3)
        num_points = self.tracks.shape[1]
        if self.tracks.shape != (frames, num_points, 2):
            self._refuse("tracks", f"has shape {self.tracks.shape}, expected ({frames}, N, 2) to fit the video")
        if not np.isfinite(self.tracks).all():
            bad = tuple(int(i) for i in np.argwhere(~np.isfinite(self.tracks))[0])
            self._refuse("tracks", f"is NaN or infinite at [frame, point, axis] = {list(bad)}")
        self._check("visible", self.visible, np.bool_, 2)
        if self.visible.shape != (frames, num_points):
            self._refuse(
                "visible", f"has shape {self.visible.shape}, expected {(frames, num_points)} to fit the tracks"
            )
        if self.depth_m is not None:
            self._check("depth_m", self.depth_m, np.float32, 3)
            if self.depth_m.shape != (frames, height, width):
                self._refuse("depth_m", f"has shape {self.depth_m.shape}, expected {(frames, height, width)}")
            if not (np.isfinite(self.depth_m).all() and (self.depth_m >= 0).all()):
                self._refuse("depth_m", "holds values that are negative, NaN or infinite")
        try:
            json.dumps(self.metadata, allow_nan=False)
        except (TypeError, ValueError) as error:
            self._refuse("metadata", f"cannot be written as JSON ({error})")

    def _check(self, name: str, value: Any, dtype: type, ndim: int) -> None:
        if not isinstance(value, np.ndarray) or value.dtype != dtype or value.ndim != ndim:
            found = f"{value.ndim}-d {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
            self._refuse(name, f"is {found}, expected a {ndim}-d array of {np.dtype(dtype)}")

    def _refuse(self, name: str, reason: str) -> None:
        raise ValueError(f"clip {self.key}: {name} {reason}")
