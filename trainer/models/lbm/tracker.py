"""LBM on a stream: frames come one by one, and points are added and removed between them.

Legend: H W source pixels, N points that are followed, C channels, h w cells.
"""

from collections.abc import Sequence

import numpy as np
import torch

from trainer.models.lbm.backbone import sample_features
from trainer.models.lbm.layer import Pyramid, make_pyramid
from trainer.models.lbm.memory import Memory
from trainer.models.lbm.model import Lbm
from trainer.positions import (
    Array,
    Positions,
    check_frame,
    check_ids,
    check_points,
    join_positions,
    keep_positions,
    no_positions,
)


class LbmTracker:
    """Follows points through frames as they come, with the results of `Lbm.track` on the whole video.

    Every frame is (H, W, 3) uint8 RGB, NumPy or torch on any device; the model stays on its own. All frames of a stream
    have one size. A call that raises ValueError leaves the tracker as it was: the next frame may follow.
    """

    def __init__(self, model: Lbm, memory_size: int | None = None):
        """`memory_size`: frames remembered (default as trained; the time embedding is interpolated).

        Raises ValueError for a model in training mode, and for a memory of no frames.
        """
        if model.training:
            raise ValueError("the model is in training mode; call model.eval() before tracking")
        if memory_size is not None and memory_size < 1:
            raise ValueError(f"memory_size={memory_size}: at least 1 frame")
        self.model, self.memory_size = model, memory_size
        self.frame_size: tuple[int, int] | None = None
        self._next_id, self._frame_number = 0, -1

    @property
    def ids(self) -> np.ndarray:
        """Numbers of the points that are followed, (N,) int64, in the order in which they were added."""
        return self.positions.ids

    @property
    def num_frames(self) -> int:
        """Frames of this video that were seen so far."""
        return self._frame_number + 1

    @property
    def positions(self) -> Positions:
        """The points in the frame that was seen last, those included that were added in it; ValueError before start."""
        self._check_started()
        return self._positions

    def start(self, frame: Array, points: Array | Sequence = ()) -> Positions:
        """Begin a video with its first frame and points (N, 2) in it, perhaps none; an earlier video is forgotten.

        Returns the points in this frame as the model sees them. Raises ValueError for a frame that is no picture, and
        for points that are not finite or outside the frame.
        """
        image = check_frame(frame, 0, None, self.model.mean.device)
        points = check_points(points, tuple(image.shape[-2:]))
        self.frame_size = tuple(image.shape[-2:])
        self._frame_number, self._image, self._seen = 0, image, None
        self._positions = no_positions()
        self._add(points)
        return self._positions

    @torch.no_grad()
    def step(self, frame: Array) -> Positions:
        """Follow all points into the next frame; no points are not an error, and cost nothing.

        Raises ValueError before `start`, for a missing frame (None), and for one of another size or type.
        """
        self._check_started()
        self._image = check_frame(frame, self.num_frames, self.frame_size, self.model.mean.device)
        self._frame_number, self._seen = self._frame_number + 1, None
        if len(self._positions):
            self._positions = self._follow(self._first_query, self._memory, self._positions.ids)
        return self._positions

    def add(self, points: Array | Sequence) -> np.ndarray:
        """Follow more points (N, 2), given in the frame that was seen last; returns their ids (N,).

        They are found in this frame too (`positions` has the result), and their memory begins with it, as if a
        whole-video call had this query frame. Raises ValueError as `start` does.
        """
        self._check_started()
        return self._add(check_points(points, self.frame_size))

    def remove(self, ids: Sequence[int] | np.ndarray | int) -> None:
        """Stop following points; their ids are not given again. Raises ValueError for ids that are not followed."""
        self._check_started()
        ids = check_ids(ids, self._positions.ids)
        kept = np.flatnonzero(~np.isin(self._positions.ids, ids))
        self._positions = keep_positions(self._positions, kept)
        if len(self._positions):
            index = torch.from_numpy(kept).to(self._first_query.device)
            self._first_query = self._first_query[:, index]
            self._memory.keep(index)

    @torch.no_grad()
    def _add(self, points: np.ndarray) -> np.ndarray:
        ids = np.arange(self._next_id, self._next_id + len(points))
        if not len(points):
            return ids
        features, _ = self._look()
        asked = torch.from_numpy(points).to(features.device)[None] * self.model.scale_of(self._image)
        first_query = sample_features(features, asked, self.model.config)  # (1, N, C)
        memory = self.model.transformer.new_memory(self.memory_size)
        found = self._follow(first_query, memory, ids)
        if len(self._positions):
            self._first_query = torch.cat([self._first_query, first_query], 1)
            self._memory.join(memory)
        else:
            self._first_query, self._memory = first_query, memory
        self._positions = join_positions(self._positions, found)
        self._next_id += len(points)
        return ids

    def _look(self) -> tuple[torch.Tensor, Pyramid]:
        """Features (1, C, h, w) and pyramid of the last frame; computed once, and only where there are points."""
        if self._seen is None:
            features = self.model.encode(self._image)
            self._seen = features, make_pyramid(features, self.model.config)
        return self._seen

    def _follow(self, first_query: torch.Tensor, memory: Memory, ids: np.ndarray) -> Positions:
        """Find points in the last frame from their features (1, N, C) and `memory`, which takes the frame in."""
        _, pyramid = self._look()
        asked = torch.ones(first_query.shape[:2], dtype=torch.bool, device=first_query.device)
        output = self.model.transformer(first_query, pyramid, memory, asked)
        self.model.transformer.remember(output.collision, output.stream, output.hidden, memory)
        points = output.points / self.model.scale_of(self._image)
        visible = output.visibility_logit.sigmoid() > self.model.config.visibility_threshold
        return Positions(
            ids=ids,
            points=points[0].cpu().numpy(),
            visible=visible[0].cpu().numpy(),
            uncertainty=output.rho_logit[0].sigmoid().cpu().numpy(),
        )

    def _check_started(self) -> None:
        if self.frame_size is None:
            raise ValueError("no video has begun; call start(frame, points) first")
