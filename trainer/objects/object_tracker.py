"""Objects of one video: tracks are born from boxes, live by their points, and end.

Legend: D detections of a frame, K tracks, N points that are followed, P points of one track.
"""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from trainer.objects.association import Candidates, assign, match_matrix
from trainer.objects.boxes import clip_to_frame, contain
from trainer.objects.detections import Detections
from trainer.objects.filters import choose
from trainer.objects.settings import ObjectSettings


class PointPositions(Protocol):
    """Where points are in one frame: ids (N,), points (N, 2) in source pixels, visible (N,) bool."""

    ids: np.ndarray
    points: np.ndarray
    visible: np.ndarray


class PointTracker(Protocol):
    """What follows the points (trainer.models.lbm.tracker.LbmTracker, or another)."""

    def start(self, frame: np.ndarray, points: np.ndarray) -> PointPositions: ...
    def step(self, frame: np.ndarray) -> PointPositions: ...
    def add(self, points: np.ndarray) -> np.ndarray: ...
    def remove(self, ids: np.ndarray) -> None: ...


@dataclass(frozen=True, kw_only=True)
class TrackedBox:
    """A detection that belongs to a track: box (4,) as left, top, right, bottom in source pixels."""

    track_id: int
    box: np.ndarray
    score: float
    label: int


@dataclass(kw_only=True)
class _Track:
    """One object: its last box, and the ids (P,) of its points with the frame in which each was last in a box.

    Frames are counted by `num_boxes`, those in which the track had a box.
    """

    number: int
    box: np.ndarray
    label: int
    last_seen: int
    num_boxes: int = 1
    points: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    last_inside: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def is_tentative(self) -> bool:
        return self.num_boxes == 1


class ObjectTracker:
    """Joins the detections of one video's frames to tracks; a new object for each video.

    The point tracker is started on the first frame, which forgets what it followed before.
    """

    def __init__(self, points: PointTracker, settings: ObjectSettings, seed: int = 0):
        """`seed` (with the settings' own) draws the places of points: give a number of the video."""
        self.settings, self._points = settings, points
        self._random = np.random.default_rng([settings.seed, seed])
        self._tracks: list[_Track] = []
        self._frame_number, self._next_number = -1, 1
        self.positions: PointPositions | None = None
        """Where the points that were followed into the last frame are, those included that were then given up."""

    @property
    def num_frames(self) -> int:
        """Frames seen so far."""
        return self._frame_number + 1

    @property
    def owners(self) -> dict[int, int]:
        """Track number of each point id that is followed now."""
        return {int(point): track.number for track in self._tracks for point in track.points}

    def step(self, frame: np.ndarray, detections: Detections) -> list[TrackedBox]:
        """Take the next frame (H, W, 3) uint8 and its detections; returns the boxes that now belong to a track.

        A new track's first box is among them, though the next frame may take the track back. Raises ValueError as the
        point tracker does for frames that do not fit.
        """
        self._frame_number += 1
        self.positions = self._points.step(frame) if self._frame_number else self._points.start(frame, ())
        size = frame.shape[:2]
        detections = choose(detections, size, self.settings)
        pairs = self._match(detections, size)
        matched = [(detection, self._tracks[row]) for detection, row in pairs]
        for detection, track in matched:
            self._see(track, detections.boxes[detection], int(detections.labels[detection]))
        self._end_tracks()
        is_free = np.ones(len(detections), bool)
        is_free[[detection for detection, _ in pairs]] = False
        born = np.flatnonzero((detections.scores > self.settings.init_score) & is_free)
        matched += [(detection, self._begin_track(detections, detection)) for detection in born]
        self._sample_points([track for _, track in matched], size)
        return [
            TrackedBox(
                track_id=track.number,
                box=detections.boxes[detection],
                score=float(detections.scores[detection]),
                label=int(detections.labels[detection]),
            )
            for detection, track in matched
        ]

    def _match(self, detections: Detections, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Pairs (detection, row of the track)."""
        if not self._tracks or not len(detections):
            return []
        row_of = {point: row for row, track in enumerate(self._tracks) for point in track.points.tolist()}
        candidates = Candidates(
            boxes=np.stack([track.box for track in self._tracks]),
            labels=np.array([track.label for track in self._tracks]),
            frames_since=self._frame_number - np.array([track.last_seen for track in self._tracks]),
            points=self.positions.points,
            owner=np.array([row_of[point] for point in self.positions.ids.tolist()], np.int64),
        )
        return assign(match_matrix(detections, candidates, size, self.settings), self.settings.match_score)

    def _see(self, track: _Track, box: np.ndarray, label: int) -> None:
        """Give a track its box of this frame, and note which of its points are seen inside, where they are now."""
        track.box, track.label = box, label
        track.last_seen, track.num_boxes = self._frame_number, track.num_boxes + 1
        is_inside = contain(box[None], self.positions.points)[0] & self.positions.visible  # (N,)
        track.last_inside[np.isin(track.points, self.positions.ids[is_inside])] = track.num_boxes

    def _end_tracks(self) -> None:
        """Remove tracks that the frame after their birth did not confirm, and those that had no box for too long."""
        kept = []
        for track in self._tracks:
            frames_since = self._frame_number - track.last_seen
            is_over = frames_since >= (1 if track.is_tentative else self.settings.memo_tracklet_frames)
            (self._points.remove(track.points) if is_over else kept.append(track))
        self._tracks = kept

    def _begin_track(self, detections: Detections, number: int) -> _Track:
        track = _Track(
            number=self._next_number,
            box=detections.boxes[number],
            label=int(detections.labels[number]),
            last_seen=self._frame_number,
        )
        self._next_number += 1
        self._tracks.append(track)
        return track

    def _sample_points(self, tracks: list[_Track], size: tuple[int, int]) -> None:
        """Give up points that stayed outside, and fill up the points of tracks that have a box now, in one call."""
        lost, places, counts = [], [], []
        for track in tracks:
            is_lost = track.num_boxes - track.last_inside >= self.settings.memo_point_frames
            lost.append(track.points[is_lost])
            track.points, track.last_inside = track.points[~is_lost], track.last_inside[~is_lost]
            counts.append(self.settings.num_points - len(track.points))
            low, high = clip_to_frame(track.box[None], size).reshape(2, 2)
            places.append(self._random.uniform(low, high, (counts[-1], 2)))
        if sum(map(len, lost)):
            self._points.remove(np.concatenate(lost))
        if not sum(counts):
            return
        ids = self._points.add(np.concatenate(places).astype(np.float32))
        for track, new in zip(tracks, np.split(ids, np.cumsum(counts)[:-1]), strict=True):
            track.points = np.concatenate([track.points, new])
            track.last_inside = np.concatenate([track.last_inside, np.full(len(new), track.num_boxes)])
