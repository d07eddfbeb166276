"""LBM: follows points through a video frame by frame, with one path for training and inference.

Legend: B batch, T frames, N points, C channels, H W source pixels, h w cells.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.lbm.backbone import Backbone, sample_features
from trainer.models.lbm.config import LbmConfig
from trainer.models.lbm.layer import make_pyramid
from trainer.models.lbm.losses import LossSums, sum_losses
from trainer.models.lbm.memory import Memory
from trainer.models.lbm.transformer import FrameOutput, Transformer

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Result of `Lbm.track`: points (B, T, N, 2) in source pixels, visible (B, T, N) bool,
    visibility_logit and rho_logit (B, T, N); sigmoid(rho) is the probability of an error above 8 input pixels.
    Before a point's query frame: the query's position, not visible."""

    points: torch.Tensor
    visible: torch.Tensor
    visibility_logit: torch.Tensor
    rho_logit: torch.Tensor


class Lbm(nn.Module):
    """The tracker; its state dict has the keys of the published weights."""

    is_causal = True
    """Nothing is known of the frames before a query."""
    is_joint = False
    """A point's track does not depend on the other queries."""
    knows_hidden = False
    """Positions of hidden points are in no loss."""

    def __init__(self, config: LbmConfig):
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.transformer = Transformer(config)
        self.register_buffer("mean", 255 * torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Features (B, C, h, w) of frames (B, 3, H, W), any float or integer type with values 0..255, any size."""
        frames = frames.float()
        if frames.shape[-2:] != self.config.input_size:
            frames = F.interpolate(frames, self.config.input_size, mode="bilinear", align_corners=False)
        frames = (frames - self.mean) / self.std
        if not torch.is_grad_enabled() and not torch.onnx.is_in_onnx_export():
            # A fifth less time a frame on CPUs; in training it brings nothing.
            frames = frames.contiguous(memory_format=torch.channels_last)
        return self.backbone(frames)

    def scale_of(self, video: torch.Tensor) -> torch.Tensor:
        """Input pixels per source pixel, (2,) as (x, y), of a video (..., H, W)."""
        height, width = self.config.input_size
        return video.new_tensor([width / video.shape[-1], height / video.shape[-2]], dtype=torch.float32)

    def follow(
        self, features: Iterable[torch.Tensor], queries: torch.Tensor, memory_size: int | None = None
    ) -> Iterator[FrameOutput]:
        """Yield each frame's output from features (B, C, h, w) a frame and queries (B, N, 3) (t, x, y) input pixels."""
        memory = self.transformer.new_memory(memory_size)
        for frame, first_query, begun in self.first_queries(features, queries):
            output = self.transformer(first_query, make_pyramid(frame, self.config), memory, begun)
            self.transformer.remember(output.collision, output.stream, output.hidden, memory)
            yield output

    def first_queries(
        self, features: Iterable[torch.Tensor], queries: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """For each frame: features (B, C, h, w), the points' features (B, N, C), and which points have begun (B, N).

        A point takes its feature from its own query frame; until then it has none (zeros).
        """
        query_frame, first_query = queries[..., 0].round(), None
        for t, frame in enumerate(features):
            sampled = sample_features(frame, queries[..., 1:], self.config)  # (B, N, C)
            is_now = (query_frame == t)[..., None]
            first_query = torch.where(is_now, sampled, 0.0 if first_query is None else first_query)
            yield frame, first_query, query_frame <= t

    @torch.no_grad()
    def track(self, video: torch.Tensor, queries: torch.Tensor, memory_size: int | None = None) -> Tracks:
        """Track points through a video, one frame in memory at a time.

        video (B, T, 3, H, W) float 0..255; queries (B, N, 3) as (t, x, y) in source pixels, raster convention;
        memory_size: frames remembered (default as trained; the time embedding is interpolated). The inputs stay as
        they are. Raises ValueError for queries outside the video's frames or not finite.
        """
        self._check(video, queries)
        scale = self.scale_of(video)
        asked = torch.cat([queries[..., :1], queries[..., 1:] * scale], -1)
        features = (self.encode(frames) for frames in video.unbind(1))
        rows = [(x.points, x.visibility_logit, x.rho_logit) for x in self.follow(features, asked, memory_size)]
        points, visibility, rho = (torch.stack(column, 1) for column in zip(*rows, strict=True))
        frame = torch.arange(video.shape[1], device=video.device)[:, None]  # (T, 1)
        begun = frame >= queries[:, None, :, 0].round()  # (B, T, N)
        return Tracks(
            points=torch.where(begun[..., None], points / scale, queries[:, None, :, 1:]),
            visible=begun & (visibility.sigmoid() > self.config.visibility_threshold),
            visibility_logit=visibility,
            rho_logit=rho,
        )

    def losses(
        self, video: torch.Tensor, queries: torch.Tensor, tracks: torch.Tensor, visible: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The five weighted losses by their published names; their sum is minimised.

        video (B, T, 3, H, W) 0..255; queries (B, N, 3) (t, x, y); tracks (B, T, N, 2); visible (B, T, N) bool; all in
        source pixels. The whole video goes through the backbone at once, so batch norm sees B*T frames.
        """
        scale = self.scale_of(video)
        features = self.encode(video.flatten(0, 1)).unflatten(0, video.shape[:2])  # (B, T, C, h, w)
        asked = torch.cat([queries[..., :1], queries[..., 1:] * scale], -1)
        memory, total = self.transformer.new_memory(), LossSums(self.config)
        for t, (frame, first_query, begun) in enumerate(self.first_queries(features.unbind(1), asked)):
            counted = (t > queries[..., 0]) if self.config.loss_after_query else torch.ones_like(visible[:, t])
            truth = (tracks[:, t] * scale, visible[:, t], counted)
            if self.config.recompute == "frame":
                now = memory.snapshot()
                sums, *entries = checkpoint(
                    self._frame_losses, frame, first_query, now, begun, truth, use_reentrant=False
                )
            else:
                sums, *entries = self._frame_losses(frame, first_query, memory, begun, truth)
            self.transformer.remember(*entries, memory)
            total.add(sums, visible[:, t], counted)
        return total.result()

    def _frame_losses(
        self,
        frame: torch.Tensor,
        first_query: torch.Tensor,
        memory: Memory,
        begun: torch.Tensor,
        truth: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """A frame's summed losses (5,), and its entries for the memory."""
        output = self.transformer(first_query, make_pyramid(frame, self.config), memory, begun)
        return sum_losses(output, *truth, self.config), output.collision, output.stream, output.hidden

    def _check(self, video: torch.Tensor, queries: torch.Tensor) -> None:
        if video.ndim != 5 or video.shape[2] != 3:
            raise ValueError(f"video has shape {tuple(video.shape)}, expected (B, T, 3, H, W)")
        if queries.ndim != 3 or queries.shape[-1] != 3 or queries.shape[0] != video.shape[0]:
            raise ValueError(f"queries have shape {tuple(queries.shape)}, expected (B, N, 3) as (t, x, y)")
        if not torch.isfinite(queries).all():
            raise ValueError("queries hold NaN or infinite values")
        frame = queries[..., 0].round()
        if queries.numel() and not ((frame >= 0) & (frame < video.shape[1])).all():
            raise ValueError(f"query frames must lie in 0..{video.shape[1] - 1}")
