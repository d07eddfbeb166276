"""The TAP-Vid protocol: what a tracker is given and what it is compared with, at 256x256.

A protocol is named by its query mode and the resolution of the frames that the tracker is given: `first.256` is the
official one. More pixels are a protocol of their own (`first.512`): positions stay those at 256x256, where errors are
measured, and the name is in the file's name and inside of it, so that no table mixes them.

Official rules (tapnet): frames are resized to 256x256 without keeping the aspect ratio, positions are multiplied by
256/W and 256/H in raster convention, queries are chosen by the query mode, and a prediction for one query may depend
neither on the other queries nor, in mode "first", on anything but the video and the query.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from eval.tapvid import RESOLUTION, sample_queries
from shards import Clip, ClipStore


def protocol_name(query_mode: str, resolution: int) -> str:
    """Return the name of a protocol as it is in the names of files: `first.256`."""
    return f"{query_mode}.{resolution}"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The frames of a video that are annotated; its (height, width); pixels of the object in each of these frames."""

    frames: tuple[int, ...]
    frame_size: tuple[int, int]
    segmentation_area: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class VideoTruth:
    """Queries and truth of one video in pixels at 256x256, raster convention, float64.

    query_points: (N, 3) as (t, y, x); target_points: (N, T, 2) as (x, y); occluded: (N, T) bool; labels: None where
    every frame is annotated, else positions and occlusion of the other frames say nothing.
    """

    name: str
    query_points: np.ndarray
    target_points: np.ndarray
    occluded: np.ndarray
    labels: Labels | None = None

    @property
    def num_frames(self) -> int:
        return self.occluded.shape[1]

    @property
    def query_frame(self) -> np.ndarray:
        """Frames of the queries, (N,) int."""
        return np.round(self.query_points[:, 0]).astype(int)


class Truth:
    """The annotated videos of one index.json of shards, a path or a URL, read one at a time."""

    def __init__(self, index_path: str | Path) -> None:
        self._store = ClipStore(index_path)
        self.path = self._store.path
        self._position = {key: position for position, key in enumerate(self._store.keys)}

    @property
    def sha256(self) -> str:
        """sha256 hex digest of the index file's bytes: predictions carry it."""
        return self._store.sha256

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the videos in the order of the index."""
        return tuple(self._position)

    @property
    def dataset(self) -> str:
        """The name of the data set, which names the benchmark."""
        return self._store.dataset

    def video(self, name: str, query_mode: str) -> VideoTruth:
        """Return queries and truth of the video `name` for `query_mode` ("first" or "strided")."""
        tracks, visible, size = self._store.read_annotations(self._number(name))
        points = scale_points(tracks, size, (RESOLUTION, RESOLUTION)).swapaxes(0, 1)  # (N, T, 2)
        sampled = sample_queries(query_mode, ~visible.T, points)
        return VideoTruth(
            name=name,
            query_points=sampled["query_points"][0],
            target_points=sampled["target_points"][0],
            occluded=sampled["occluded"][0],
            labels=self._labels(name, size),
        )

    def _labels(self, name: str, size: tuple[int, int]) -> Labels | None:
        labels = self._store.row(self._number(name)).get("labels")
        return labels and Labels(frame_size=size, **{key: tuple(values) for key, values in labels.items()})

    def frames(self, name: str, resolution: int = RESOLUTION) -> np.ndarray:
        """Return the frames of the video `name` at 256x256, or another resolution R: (T, R, R, 3) uint8."""
        return resize_frames(self.clip(name).video, (resolution, resolution))

    def clip(self, name: str) -> Clip:
        """Return the `shards.Clip` of the video `name` as stored, at its own resolution."""
        return self._store[self._number(name)]

    def _number(self, name: str) -> int:
        if name not in self._position:
            raise ValueError(f"{self.path}: no video {name!r}; list them with `python -m shards ls {self.path}`")
        return self._position[name]


def scale_points(points: np.ndarray, from_size: tuple[int, int], to_size: tuple[int, int]) -> np.ndarray:
    """Scale (..., 2) positions (x, y) between two (height, width) of the same video; float64, raster convention."""
    factors = np.array([to_size[1] / from_size[1], to_size[0] / from_size[0]])
    return np.asarray(points, np.float64) * factors


def resize_frames(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize (T, H, W, 3) uint8 frames to `size` = (height, width) by Lanczos, as the official evaluation does."""
    height, width = size
    resized = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
    return np.stack([np.asarray(frame) for frame in resized])
