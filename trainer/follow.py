"""Points followed through a video's frames by any tracker: each frame comes back with the rows of all points in it.

LBM answers frame by frame, online CoTracker3 up to a window later, offline CoTracker3 when the video has ended.
Legend: T frames, N points, H W source pixels.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from trainer.models.cotracker3.predictor import Cotracker3Predictor, dense_groups
from trainer.models.cotracker3.stream import Cotracker3Tracker
from trainer.models.lbm.tracker import LbmTracker
from trainer.query_points import DENSE, POINTS

Tracker = LbmTracker | Cotracker3Tracker | Cotracker3Predictor


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All points in one frame, in the order of the queries: points (N, 2), visible, uncertainty and begun (N,).

    What has not begun is not tracked yet: it has its query's position, is not visible, and its uncertainty is 1.
    """

    points: np.ndarray
    visible: np.ndarray
    uncertainty: np.ndarray
    begun: np.ndarray


Followed = Iterator[tuple[np.ndarray, Rows]]
"""Frames (H, W, 3) uint8, each with its rows."""


def follow(
    tracker: Tracker,
    frames: Iterable[np.ndarray],
    query_tyx: np.ndarray,
    *,
    form: str = POINTS,
    is_backward: bool = False,
) -> Followed:
    """Yield each frame (H, W, 3) with the `Rows` of the queries (N, 3) (t, y, x) in it.

    form: what the queries are (POINTS, GRID, DENSE of trainer.query_points), for offline CoTracker3 adds support to
    points, and takes all pixels in passes. is_backward: frames before a query are tracked too, from the video played
    backward; all frames are in memory then, as for offline CoTracker3. Raises ValueError in the end if the frame of a
    query never came.
    """
    if isinstance(tracker, Cotracker3Tracker) and (is_backward or form == DENSE):
        tracker = Cotracker3Predictor(tracker.model)
    if isinstance(tracker, Cotracker3Predictor):
        return _follow_whole(tracker, frames, query_tyx, form, is_backward)
    if isinstance(tracker, Cotracker3Tracker):
        return _follow_settled(tracker, frames, query_tyx)
    return _follow_both_ways(tracker, frames, query_tyx) if is_backward else _follow_now(tracker, frames, query_tyx)


def _follow_now(tracker: LbmTracker, frames: Iterable[np.ndarray], query_tyx: np.ndarray) -> Followed:
    query_frame, asked = query_tyx[:, 0].round(), query_tyx[:, [2, 1]].astype(np.float32)
    points, visible, uncertainty = asked.copy(), np.zeros(len(asked), bool), np.ones(len(asked), np.float32)
    order = np.zeros(0, int)  # the queries in the order in which the tracker got them
    number = -1
    for number, frame in enumerate(frames):
        _ = tracker.step(frame) if number else tracker.start(frame)
        begins = np.flatnonzero(query_frame == number)
        tracker.add(asked[begins])
        order = np.concatenate([order, begins])
        found = tracker.positions
        points[order], visible[order], uncertainty[order] = found.points, found.visible, found.uncertainty
        rows = Rows(points=points, visible=visible, uncertainty=uncertainty, begun=query_frame <= number)
        yield frame, Rows(**{name: values.copy() for name, values in vars(rows).items()})
    _check_begun(query_frame, number + 1)


def _follow_both_ways(tracker: LbmTracker, frames: Iterable[np.ndarray], query_tyx: np.ndarray) -> Followed:
    frames = list(frames)
    _check_begun(query_tyx[:, 0], len(frames))
    mirrored = np.column_stack([len(frames) - 1 - query_tyx[:, 0], query_tyx[:, 1:]])
    back = [rows for _, rows in _follow_now(tracker, frames[::-1], mirrored)][::-1]
    for (frame, rows), before in zip(_follow_now(tracker, frames, query_tyx), back, strict=True):
        yield (
            frame,
            Rows(
                points=np.where(rows.begun[:, None], rows.points, before.points),
                visible=np.where(rows.begun, rows.visible, before.visible),
                uncertainty=np.where(rows.begun, rows.uncertainty, before.uncertainty),
                begun=np.ones_like(rows.begun),
            ),
        )


def _follow_settled(tracker: Cotracker3Tracker, frames: Iterable[np.ndarray], query_tyx: np.ndarray) -> Followed:
    query_frame, asked = query_tyx[:, 0].round(), query_tyx[:, [2, 1]].astype(np.float32)
    waiting, number, num_settled = deque(), -1, 0
    for number, frame in enumerate(frames):
        found = tracker.push(frame) if number else tracker.begin(frame, asked, query_frame)
        waiting.append(frame)
        for positions in found:
            yield waiting.popleft(), _as_rows(positions, query_frame <= num_settled)
            num_settled += 1
    _check_begun(query_frame, number + 1)
    for positions in tracker.finish():
        yield waiting.popleft(), _as_rows(positions, query_frame <= num_settled)
        num_settled += 1


def _follow_whole(
    predictor: Cotracker3Predictor, frames: Iterable[np.ndarray], query_tyx: np.ndarray, form: str, is_backward: bool
) -> Followed:
    frames = list(frames)
    _check_begun(query_tyx[:, 0], len(frames))
    groups = dense_groups(query_tyx, frames[0].shape[1]) if form == DENSE else None
    tracks = predictor.track(frames, query_tyx, has_support=form == POINTS, is_backward=is_backward, groups=groups)
    for number, frame in enumerate(frames):
        yield (
            frame,
            Rows(
                points=tracks.points[number],
                visible=tracks.visible[number],
                uncertainty=tracks.uncertainty[number],
                begun=tracks.is_known[number],
            ),
        )


def _as_rows(positions, begun: np.ndarray) -> Rows:
    return Rows(points=positions.points, visible=positions.visible, uncertainty=positions.uncertainty, begun=begun)


def _check_begun(query_frame: np.ndarray, num_frames: int) -> None:
    late = query_frame.max(initial=0)
    if late >= num_frames:
        raise ValueError(
            f"the video has ended after {num_frames} frames, before the query frame {int(late)} of a point"
        )
