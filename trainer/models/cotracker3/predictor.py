"""CoTracker3 on whole videos, as a person wants them tracked: from any frame, both ways, with support, every pixel.

Legend: T frames, N points, M points of the support, H W source pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from trainer.models.cotracker3.grids import SUPPORT_SIDE, make_support
from trainer.models.cotracker3.losses import Estimate
from trainer.models.cotracker3.model import Cotracker3, Levels, check, scale_centres
from trainer.positions import check_frame, check_points

DENSE_PASSES_PER_WIDTH = 80
"""Points a row of a pass through all pixels, as published: a video 854 wide takes every 10th pixel in 100 passes."""


@dataclass(frozen=True, kw_only=True)
class WholeTracks:
    """points (T, N, 2) float32 in source pixels (raster), visible (T, N) bool, uncertainty (T, N) float32, the
    probability of an error above 12 input pixels; is_known (T, N) bool: false where nothing was tracked, before a query
    online, where a point has its query's position, is not visible, and has uncertainty 1."""

    points: np.ndarray
    visible: np.ndarray
    uncertainty: np.ndarray
    is_known: np.ndarray


class Cotracker3Predictor:
    """Tracks points through whole videos with an offline or an online model; the frames are encoded once for all."""

    def __init__(self, model: Cotracker3):
        """Raises ValueError for a model in training mode."""
        if model.training:
            raise ValueError("the model is in training mode; call model.eval() before tracking")
        self.model = model

    @torch.no_grad()
    def track(
        self,
        frames: Sequence[np.ndarray],
        query_tyx: np.ndarray,
        *,
        has_support: bool = True,
        is_backward: bool = False,
        groups: Sequence[np.ndarray] | None = None,
    ) -> WholeTracks:
        """Track queries (N, 3) (t, y, x) in source pixels through frames, (H, W, 3) uint8 each.

        has_support: a grid in frame 0 is tracked along (offline only, as published). is_backward: frames before a query
        are taken from the video played backward. groups: numbers of the queries that are tracked together, a pass each,
        default all at once. A query's own frame has the query, visible, where the model is offline.

        Raises ValueError for frames and queries that do not serve.
        """
        video, queries = self._check(frames, query_tyx)
        levels = self.model.look(video)
        asked = self.model.fit_queries(queries, video.shape[-2:])
        parts = [np.arange(len(query_tyx))] if groups is None else groups
        found = _nothing(len(frames), len(query_tyx))
        for part in parts:
            index = torch.from_numpy(part).to(asked.device)
            some = self._track(levels, asked[:, index], queries[0, index, 0], has_support, is_backward)
            for name, values in vars(self._describe(some, video.shape[-2:])).items():
                vars(found)[name][:, part] = values
        return self._place_queries(found, np.asarray(query_tyx), is_backward)

    def _check(self, frames: Sequence[np.ndarray], query_tyx: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Video (1, T, 3, H, W) uint8 and queries (1, N, 3) (t, x, y) on the model's device."""
        if not len(frames):
            raise ValueError("a video without frames")
        device, size = self.model.time_emb.device, None
        images = []
        for number, frame in enumerate(frames):
            images.append(check_frame(frame, number, size, device))
            size = tuple(images[0].shape[-2:])
        points = check_points(query_tyx[:, [2, 1]], size)
        queries = np.concatenate([np.asarray(query_tyx, np.float32)[:, :1], points], 1)
        video, asked = torch.stack(images, 1), torch.from_numpy(queries)[None].to(device)
        check(video, asked)
        return video, asked

    def _track(
        self, levels: Levels, asked: torch.Tensor, query_frame: torch.Tensor, has_support: bool, is_backward: bool
    ) -> Estimate:
        """The estimate (1, T, N) in input pixels of one pass."""
        config = self.model.config
        side = SUPPORT_SIDE if has_support and not config.online else 0
        support = make_support(asked, side, config.input_size)
        found = self.model.follow(levels, asked, support)
        if not is_backward:
            return found
        last = levels[0].shape[1] - 1
        back = self.model.follow([level.flip(1) for level in levels], _mirror(asked, last), _mirror(support, last))
        before = torch.arange(last + 1, device=asked.device)[None, :, None] < query_frame.round()  # (1, T, N)
        return Estimate(
            points=torch.where(before[..., None], back.points.flip(1), found.points),
            visibility=torch.where(before, back.visibility.flip(1), found.visibility),
            confidence=torch.where(before, back.confidence.flip(1), found.confidence),
        )

    def _describe(self, estimate: Estimate, source: tuple[int, int]) -> WholeTracks:
        config = self.model.config
        points = scale_centres(estimate.points[0], config.input_size, source) + 0.5
        visibility, confidence = estimate.visibility[0].sigmoid(), estimate.confidence[0].sigmoid()
        if config.online:
            visible = visibility * confidence > config.visibility_threshold
        else:
            visible = visibility > config.predictor_visibility_threshold
        return WholeTracks(
            points=points.cpu().numpy(),
            visible=visible.cpu().numpy(),
            uncertainty=1 - confidence.cpu().numpy(),
            is_known=np.ones(visible.shape, bool),
        )

    def _place_queries(self, found: WholeTracks, query_tyx: np.ndarray, is_backward: bool) -> WholeTracks:
        """The tracks with what the queries say in place of what the model cannot know, or knows less well."""
        frame, query_frame = np.arange(len(found.points))[:, None], query_tyx[:, 0].round()
        asked = query_tyx[:, [2, 1]].astype(np.float32)
        if not self.model.config.online:
            is_query = frame == query_frame  # (T, N)
            points = np.where(is_query[..., None], asked, found.points)
            return WholeTracks(
                points=points, visible=found.visible | is_query, uncertainty=found.uncertainty, is_known=found.is_known
            )
        is_known = np.full_like(found.visible, True) if is_backward else frame >= query_frame
        return WholeTracks(
            points=np.where(is_known[..., None], found.points, asked),
            visible=found.visible & is_known,
            uncertainty=np.where(is_known, found.uncertainty, np.float32(1)),
            is_known=is_known,
        )


def dense_groups(query_tyx: np.ndarray, width: int) -> list[np.ndarray]:
    """Numbers of the queries (N, 3) (t, y, x) of each pass through all pixels of a video of this width.

    A pass takes every k-th pixel along x and y, k = width // 80, and k * k passes take them all.
    """
    stride = max(1, width // DENSE_PASSES_PER_WIDTH)
    pixel = np.floor(query_tyx[:, 1:]).astype(int) % stride
    passes = pixel[:, 0] * stride + pixel[:, 1]
    return [np.flatnonzero(passes == number) for number in np.unique(passes)]


def _mirror(queries: torch.Tensor, last: int) -> torch.Tensor:
    """Queries (1, N, 3) (t, x, y) of a video whose last frame is `last`, in the video played backward."""
    return torch.cat([last - queries[..., :1], queries[..., 1:]], -1)


def _nothing(num_frames: int, num_points: int) -> WholeTracks:
    shape = num_frames, num_points
    return WholeTracks(
        points=np.zeros((*shape, 2), np.float32),
        visible=np.zeros(shape, bool),
        uncertainty=np.zeros(shape, np.float32),
        is_known=np.zeros(shape, bool),
    )
