"""Online CoTracker3 on a stream: frames come one by one, and points are added and removed between them.

A window of S frames is worked on when its last frame has come; the next one starts S / 2 frames later and says again
what is in its frames. So a frame's positions are settled, the same as from the whole video, when S / 2 to S - 1 later
frames have come. Legend: T frames, N points, H W source pixels, h w cells, C channels.
"""

import copy
from collections.abc import Sequence

import numpy as np
import torch

from trainer.models.cotracker3.config import STEP, STRIDE
from trainer.models.cotracker3.encoder import join_levels
from trainer.models.cotracker3.losses import Estimate
from trainer.models.cotracker3.model import Cotracker3, Levels, OnlineWindow, scale_centres, to_cells
from trainer.positions import (
    Array,
    Positions,
    check_frame,
    check_ids,
    check_points,
    keep_positions,
    no_positions,
)


class Cotracker3Tracker:
    """Follows points through frames as they come; every frame is encoded once.

    Two ways, which may be mixed. For a result now: `start`, then `step` for each frame; it returns what the whole-video
    call says of the newest frame if the video ended there, and works on a window for it. For the final result, at an
    eighth of that work with windows of 16: `begin`, then `push` for each frame, and `finish`; they return the frames
    that are settled, each once and in order, equal to `Cotracker3.track` without a grid. Frames are (H, W, 3) uint8 RGB
    of one size. A call that raises ValueError leaves the tracker as it was: the next frame may follow.
    """

    def __init__(self, model: Cotracker3):
        """Raises ValueError for an offline model, and for one in training mode."""
        if not model.config.online:
            raise ValueError("the model is offline and needs whole videos; use Cotracker3Predictor, or online weights")
        if model.training:
            raise ValueError("the model is in training mode; call model.eval() before tracking")
        self.model = model
        self.frame_size: tuple[int, int] | None = None
        self.num_frames = 0
        """Frames of this video that were seen so far."""
        self._next_id = 0

    @property
    def ids(self) -> np.ndarray:
        """Numbers of the points that are followed, (N,) int64, in the order in which they were added."""
        self._check_started()
        return self._ids

    @property
    def positions(self) -> Positions:
        """The points in the newest frame, by the frames so far; worked out when asked for. ValueError before start."""
        self._check_started()
        if self._newest is None:
            estimate = self._work(copy.copy(self._window))  # the copy moves on, the stream's own window does not
            self._newest = self._describe(estimate, len(self._frames) - 1, self.num_frames - 1)
        return self._newest

    def start(self, frame: Array, points: Array | Sequence = ()) -> Positions:
        """`begin` with points (N, 2) of this frame, and their positions in it."""
        self.begin(frame, points)
        return self.positions

    def step(self, frame: Array) -> Positions:
        """`push`, and the positions in this frame."""
        self.push(frame)
        return self.positions

    def begin(
        self, frame: Array, points: Array | Sequence = (), query_frames: Array | Sequence | None = None
    ) -> list[Positions]:
        """Begin a video with its first frame; an earlier video is forgotten.

        query_frames (N,): in which frames the points (N, 2) are given, the first one or a later one; default the first.
        Points that are known ahead are the whole-video call's queries. Until its frame a point is where it will be
        given, not visible, with uncertainty 1. Raises ValueError for a frame that is no picture, for points that are
        not finite or outside the frame, and for query frames that are no frames.
        """
        image = check_frame(frame, 0, None, self._device)
        size = tuple(image.shape[-2:])
        points = check_points(points, size)
        query_frame = np.zeros(len(points)) if query_frames is None else np.asarray(query_frames)
        if query_frame.shape != (len(points),) or not ((query_frame >= 0) & (query_frame % 1 == 0)).all():
            raise ValueError(f"query_frames must be {len(points)} whole numbers, one a point, counted from 0")
        self.frame_size, self.num_frames = size, 0
        self._window: OnlineWindow | None = None
        self._first, self._frames = (
            0,
            [],
        )  # of the next window: its first frame, and (image, levels or None) of its frames
        self._ids, self._queries = np.zeros(0, np.int64), np.zeros((0, 3), np.float32)  # (N, 3): t, x, y
        self._newest: Positions | None = None
        self._add(points, query_frame)
        return self._take(image)

    def push(self, frame: Array) -> list[Positions]:
        """Take the next frame; returns those that are settled now, S / 2 of them at every S / 2-th frame, else none.

        No points are not an error, and cost nothing. Raises ValueError before `begin`, for a missing frame (None), and
        for one of another size or type.
        """
        self._check_started()
        return self._take(check_frame(frame, self.num_frames, self.frame_size, self._device))

    def finish(self) -> list[Positions]:
        """End the video; returns its last frames. The next video may start."""
        self._check_started()
        num_left, half = len(self._frames), self.model.config.window // STEP
        numbers = range(self._first, self.num_frames)
        if self._first == 0 or num_left > half or self._is_unseen or self._window is None:
            estimate, before = self._work(self._window), 0
        else:  # the last window has had all frames
            estimate, before = self._window.estimate, half
        found = [self._describe(estimate, before + row, number) for row, number in enumerate(numbers)]
        self.frame_size = None
        return found

    def add(self, points: Array | Sequence) -> np.ndarray:
        """Follow more points (N, 2), given in the newest frame; returns their ids (N,).

        Windows that are already worked on do not know them. Raises ValueError as `start` does.
        """
        self._check_started()
        points = check_points(points, self.frame_size)
        return self._add(points, np.full(len(points), self.num_frames - 1))

    def remove(self, ids: Sequence[int] | np.ndarray | int) -> None:
        """Stop following points; their ids are not given again. Raises ValueError for ids that are not followed."""
        self._check_started()
        ids = check_ids(ids, self._ids)
        kept = np.flatnonzero(~np.isin(self._ids, ids))
        self._ids, self._queries = self._ids[kept], self._queries[kept]
        self._newest = None if self._newest is None else keep_positions(self._newest, kept)
        if not len(kept):
            self._window = None
        elif len(ids):
            self._window.keep(torch.from_numpy(kept).to(self._device))

    @property
    def _device(self) -> torch.device:
        return self.model.time_emb.device

    def _check_started(self) -> None:
        if self.frame_size is None:
            raise ValueError("no video has begun; call start(frame, points) first")

    def _add(self, points: np.ndarray, query_frame: np.ndarray) -> np.ndarray:
        ids = np.arange(self._next_id, self._next_id + len(points))
        if not len(points):
            return ids
        queries = np.concatenate([query_frame[:, None], points], 1).astype(np.float32)  # (N, 3): t, x, y
        asked = to_cells(self.model.fit_queries(torch.from_numpy(queries)[None].to(self._device), self.frame_size))
        if self._window is None:
            self._window = OnlineWindow(self.model, asked, self.model.config.num_inference_iterations)
            self._window.first = self._first
        else:
            self._window.add(asked)
        self._ids, self._queries = np.concatenate([self._ids, ids]), np.concatenate([self._queries, queries])
        self._next_id += len(points)
        self._newest, self._is_unseen = None, True
        return ids

    def _take(self, image: torch.Tensor) -> list[Positions]:
        self._frames.append((image, None))
        self.num_frames += 1
        self._newest = None
        size = self.model.config.window
        if len(self._frames) < size:
            return []
        estimate, numbers = self._work(self._window), range(self._first, self._first + size // STEP)
        self._is_unseen = False
        self._newest = self._describe(estimate, size - 1, self.num_frames - 1)
        self._first += size // STEP
        del self._frames[: size // STEP]
        return [self._describe(estimate, row, number) for row, number in enumerate(numbers)]

    @torch.no_grad()
    def _work(self, window: OnlineWindow | None) -> Estimate | None:
        """The estimate of the next window's frames so far; None where there are no points."""
        return None if window is None else window.advance(self._levels())[-1]

    def _levels(self) -> Levels:
        """The features of the next window's frames so far; those that are new are encoded."""
        new = [number for number, (_, levels) in enumerate(self._frames) if levels is None]
        if new:
            found = self.model.look(torch.stack([self._frames[number][0] for number in new], 1))
            for place, number in enumerate(new):
                self._frames[number] = None, [level[:, place : place + 1] for level in found]
        return join_levels([levels for _, levels in self._frames])

    def _describe(self, estimate: Estimate | None, row: int, number: int) -> Positions:
        """The points in one row of an estimate (1, T, N), which is the video's frame of this number."""
        if estimate is None:
            return no_positions()
        points = scale_centres(estimate.points[0, row] * STRIDE, self.model.config.input_size, self.frame_size) + 0.5
        confidence = estimate.confidence[0, row].sigmoid()
        seen = estimate.visibility[0, row].sigmoid() * confidence > self.model.config.visibility_threshold
        has_begun = self._queries[:, 0] <= number
        return Positions(
            ids=self._ids.copy(),
            points=np.where(has_begun[:, None], points.cpu().numpy(), self._queries[:, 1:]),
            visible=seen.cpu().numpy() & has_begun,
            uncertainty=np.where(has_begun, 1 - confidence.cpu().numpy(), np.float32(1)),
        )
