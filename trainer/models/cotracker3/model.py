"""CoTracker3: refines the tracks of all points together, over a whole clip (offline) or in sliding windows (online).

Inside, points are (x, y) with pixel centres at whole numbers (`to_centres`); outside they are in raster convention, in
which the first centre is (0.5, 0.5). Legend: B batch, T frames, N points, S samples of a square, H W pixels, h w cells.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.cotracker3.config import MOTION_FREQUENCIES, STEP, STRIDE, Cotracker3Config
from trainer.models.cotracker3.correlation import correlate_linear, sample_square
from trainer.models.cotracker3.encoder import (
    FRAMES_AT_ONCE,
    FRAMES_AT_ONCE_ELSEWHERE,
    Encoder,
    join_levels,
    make_levels,
)
from trainer.models.cotracker3.estimates import (
    carry_on,
    choose,
    cut,
    join_points,
    join_windows,
    keep_points,
    start_from_queries,
)
from trainer.models.cotracker3.grids import make_support
from trainer.models.cotracker3.linear import linear
from trainer.models.cotracker3.losses import Estimate, Truth, sum_losses
from trainer.models.cotracker3.update_former import UpdateFormer

Levels = list[torch.Tensor]
"""Unit features (B, T, h, w, C) of every level, finest first."""


@dataclass(frozen=True, kw_only=True)
class Tracks:
    """Result of `Cotracker3.track`: points (B, T, N, 2) in source pixels, visible (B, T, N) bool, and the logits of
    visibility and confidence (B, T, N)."""

    points: torch.Tensor
    visible: torch.Tensor
    visibility_logit: torch.Tensor
    confidence_logit: torch.Tensor


class CorrelationMlp(nn.Module):
    """Embeds the comparisons on one level: linear, GELU, linear; keys fc1 and fc2."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        self.fc1 = nn.Linear(config.support**2, config.dim)
        self.fc2 = nn.Linear(config.dim, config.correlation_dim)

    def forward(self, level: torch.Tensor, template: torch.Tensor, points: torch.Tensor, radius: int) -> torch.Tensor:
        """Embedded comparisons (B, N, T, C) on a level (B, T, h, w, C) around points (B, N, T, 2) in its cells."""
        return linear(correlate_linear(level, template, points, radius, self.fc1), self.fc2, before="gelu")


class Cotracker3(nn.Module):
    """The tracker; its state dict has the keys of the published weights."""

    knows_hidden = True
    """Its training gives it positions of hidden points, too."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        self.config = config
        self.fnet = Encoder(config)
        self.updateformer = UpdateFormer(config)
        self.corr_mlp = CorrelationMlp(config)
        self.register_buffer("time_emb", embed_time(config.window, config.token_dim))
        if config.freeze_visibility:
            self.updateformer.vis_conf_head.requires_grad_(False)

    @property
    def is_causal(self) -> bool:
        """Whether nothing is known of the frames before a query: offline, all frames are tracked at once."""
        return self.config.online

    @property
    def is_joint(self) -> bool:
        """Whether a point's track depends on the other queries."""
        return not self.config.single_point

    def encode(self, video: torch.Tensor) -> Levels:
        """The pyramid of frames (B, T, 3, H, W), any number type with values 0..255."""
        frames = video.flatten(0, 1)
        step = FRAMES_AT_ONCE if frames.device.type == "cpu" else FRAMES_AT_ONCE_ELSEWHERE
        features = [self.fnet(2 * (part.float() / 255) - 1) for part in frames.split(step)]
        return [x.unflatten(0, video.shape[:2]) for x in make_levels(features, self.config.num_levels)]

    def make_templates(self, levels: Levels, queries: torch.Tensor, first: int = 0) -> Levels:
        """Features (B, N, S, C) around the queries (B, N, 3) (t, x, y) cells on each level of frames from `first` on.

        Zero for points whose query frame is not among them.
        """
        frame = queries[..., 0].round().long() - first
        is_here = (frame >= 0) & (frame < levels[0].shape[1])  # (B, N)
        frame = frame.clamp(0, levels[0].shape[1] - 1)
        return [
            sample_square(level, frame, queries[..., 1:] / 2**i, self.config.radius) * is_here[..., None, None]
            for i, level in enumerate(levels)
        ]

    def refine(self, levels: Levels, templates: Levels, start: Estimate, num_iterations: int) -> list[Estimate]:
        """Improve an estimate step by step; points in cells. Positions carry no gradient from one step to the next."""
        estimates, now = [], start
        for _ in range(num_iterations):
            now = replace(now, points=now.points.detach())
            if self.config.recompute and torch.is_grad_enabled():
                change = checkpoint(self._change, levels, templates, now, use_reentrant=False)
            else:
                change = self._change(levels, templates, now)
            now = Estimate(
                points=now.points + change[..., :2].float(),
                visibility=now.visibility + change[..., 2].float(),
                confidence=now.confidence + change[..., 3].float(),
            )
            estimates.append(now)
        return estimates

    def _change(self, levels: Levels, templates: Levels, now: Estimate) -> torch.Tensor:
        """What the transformer adds to an estimate, (B, T, N, 4)."""
        points = now.points.transpose(1, 2)  # (B, N, T, 2)
        compared = [
            self.corr_mlp(level, template, points / 2**i, self.config.radius).transpose(1, 2)
            for i, (level, template) in enumerate(zip(levels, templates, strict=True))
        ]
        seen = torch.stack([now.visibility, now.confidence], -1)
        height, width = self.config.input_size
        motion = encode_motion(now.points, now.points.new_tensor([width / STRIDE, height / STRIDE]))
        tokens = torch.cat([seen, *compared, motion], -1)
        return self.updateformer(tokens + resize_time(self.time_emb, tokens.shape[1])[:, :, None])

    def forward(
        self, video: torch.Tensor, queries: torch.Tensor, num_iterations: int | None = None
    ) -> list[tuple[int, list[Estimate]]]:
        """Track queries (B, N, 3) (t, x, y) through a video (B, T, 3, H, W), both in pixels whose centres are whole.

        Returns for each window (offline there is one) its first frame and the estimates of all iterations; points in
        the same pixels. An online window is `config.window` frames long, also where the video ends before.
        """
        default = self.config.num_iterations if self.training else self.config.num_inference_iterations
        levels, asked = self.encode(video), to_cells(queries)
        windows = self.windows(levels, asked, num_iterations or default)
        return [(first, [replace(x, points=x.points * STRIDE) for x in estimates]) for first, estimates in windows]

    def windows(
        self, levels: Levels, queries: torch.Tensor, num_iterations: int
    ) -> Iterator[tuple[int, list[Estimate]]]:
        """`forward` in cells, from features."""
        num_frames = levels[0].shape[1]
        if not self.config.online:
            start = start_from_queries(queries, num_frames)
            yield 0, self.refine(levels, self.make_templates(levels, queries), start, num_iterations)
            return
        window = OnlineWindow(self, queries, num_iterations)
        size, step = self.config.window, self.config.window // STEP
        for first in range(0, max(1, num_frames - step), step):
            yield first, window.advance([level[:, first : first + size] for level in levels])

    @torch.no_grad()
    def track(self, video: torch.Tensor, queries: torch.Tensor, memory_size: int | None = None) -> Tracks:
        """Track points through a video (B, T, 3, H, W) 0..255; queries (B, N, 3) as (t, x, y) source pixels (raster).

        memory_size belongs to trackers with a memory; there is none here. Online, what lies before a point's query
        keeps the query's position and is not visible. Raises ValueError for queries outside the frames or not finite.
        """
        check(video, queries)
        source = video.shape[-2:]
        levels, asked = self.look(video), self.fit_queries(queries, source)
        alone = self.config.single_point and asked.shape[1] > 0
        parts = []
        for group in asked.split(1, 1) if alone else [asked]:
            support = make_support(group, self.config.evaluation_side, self.config.input_size, is_alone=alone)
            parts.append(self.follow(levels, group, support))
        whole = join_points(parts)
        points = scale_centres(whole.points, self.config.input_size, source) + 0.5
        seen = whole.visibility.sigmoid() * whole.confidence.sigmoid() > self.config.visibility_threshold
        if self.config.online:
            frame = torch.arange(video.shape[1], device=video.device)[:, None]  # (T, 1)
            begun = frame >= queries[:, None, :, 0].round()  # (B, T, N)
            seen, points = seen & begun, torch.where(begun[..., None], points, queries[:, None, :, 1:])
        return Tracks(points=points, visible=seen, visibility_logit=whole.visibility, confidence_logit=whole.confidence)

    def look(self, video: torch.Tensor) -> Levels:
        """The pyramid of frames (B, T, 3, H, W) of any size, resized a few at a time."""
        return join_levels([self.encode(self.resize(frames)) for frames in video.split(FRAMES_AT_ONCE, 1)])

    def follow(self, levels: Levels, queries: torch.Tensor, support: torch.Tensor) -> Estimate:
        """The last estimate, in pixels of the input, of queries (B, N, 3) as `fit_queries` gives them.

        The support (B, M, 3) is tracked along, and not returned. No queries are no work.
        """
        if not queries.shape[1]:
            return start_from_queries(queries, levels[0].shape[1])
        asked = to_cells(torch.cat([queries, support], 1))
        windows = list(self.windows(levels, asked, self.config.num_inference_iterations))
        found = keep_points(join_windows(windows, levels[0].shape[1]), slice(queries.shape[1]))
        return replace(found, points=found.points * STRIDE)

    def fit(self, video: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A video at the model's input size, and queries in raster source pixels as centres of that size."""
        return self.resize(video), self.fit_queries(queries, video.shape[-2:])

    def fit_queries(self, queries: torch.Tensor, source: tuple[int, int]) -> torch.Tensor:
        """Queries (B, N, 3) (t, x, y) in raster pixels of frames of size `source` (H, W) as centres of the input."""
        points = scale_centres(to_centres(queries[..., 1:]), source, self.config.input_size)
        return torch.cat([queries[..., :1], points], -1)

    def resize(self, video: torch.Tensor) -> torch.Tensor:
        """Frames (B, T, 3, H, W) at the model's input size."""
        if tuple(video.shape[-2:]) == tuple(self.config.input_size):
            return video
        frames = F.interpolate(video.flatten(0, 1).float(), self.config.input_size, mode="bilinear", align_corners=True)
        return frames.unflatten(0, video.shape[:2])

    def losses(
        self,
        video: torch.Tensor,
        queries: torch.Tensor,
        tracks: torch.Tensor,
        visible: torch.Tensor,
        valid: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The four weighted losses by name; their sum is minimised.

        video (B, T, 3, H, W) 0..255; queries (B, N, 3); tracks (B, T, N, 2); visible and valid (B, T, N) bool; all in
        source pixels (raster). Where `valid` is false a position counts in no loss.
        """
        resized, asked = self.fit(video, queries)
        truth = scale_centres(to_centres(tracks), video.shape[-2:], resized.shape[-2:])
        counted = torch.ones_like(visible) if valid is None else valid
        if self.config.online:
            frame = torch.arange(video.shape[1], device=video.device)[:, None]
            counted = counted & (frame >= queries[:, None, :, 0].round())
        windows, truths = [], []
        for first, estimates in self.forward(resized, asked):
            here = slice(first, first + estimates[0].points.shape[1])
            known = truth[:, here].shape[1]  # the last window of a short clip is longer than it
            windows.append([cut(x, known) for x in estimates])
            truths.append(Truth(points=truth[:, here], visible=visible[:, here], counted=counted[:, here]))
        return sum_losses(windows, truths, self.config)


class OnlineWindow:
    """Windows of one video after the other: what is known of the points so far, and their templates.

    A window begins half a window after the one before and starts from its estimate. Equal for frames that are all there
    and for a stream, which gives each window when its frames have come.
    """

    def __init__(self, model: Cotracker3, queries: torch.Tensor, num_iterations: int):
        """queries (B, N, 3) as (t, x, y) cells."""
        self.model, self.queries, self.num_iterations = model, queries, num_iterations
        self.first = 0
        self.templates: Levels | None = None
        self.estimate: Estimate | None = None
        self.is_made = torch.zeros_like(queries[..., 0], dtype=torch.bool)  # (B, N): the templates of which points

    def advance(self, levels: Levels) -> list[Estimate]:
        """The estimates of the next window from its features (B, up to window, h, w, C); the last frame is repeated.

        A stream keeps the features of the frames that the next window shares, and encodes each frame once:
        `join_levels([[x[:, step:] for x in levels], model.encode(new_frames)])`, step being window // STEP.
        """
        model, size = self.model, self.model.config.window
        step = size // STEP
        new = model.make_templates(levels, self.queries, self.first)
        if self.templates is not None:
            is_made = self.is_made[..., None, None]
            new = [torch.where(is_made, old, now) for old, now in zip(self.templates, new, strict=True)]
        self.templates, self.is_made = new, self.queries[..., 0].round() < self.first + size
        missing = size - levels[0].shape[1]
        if missing:
            levels = [torch.cat([x, x[:, -1:].expand(-1, missing, -1, -1, -1)], 1) for x in levels]
        start = start_from_queries(self.queries, size)
        if self.estimate is not None:
            begun = self.queries[..., 0].round() < self.first + step  # (B, N)
            start = choose(begun, carry_on(self.estimate, step), start)
        estimates = model.refine(levels, self.templates, start, self.num_iterations)
        self.estimate, self.first = estimates[-1], self.first + step
        return estimates

    def add(self, queries: torch.Tensor) -> None:
        """Follow more points (B, M, 3) from the next window on; what it does not show of them stays unknown."""
        self.queries = torch.cat([self.queries, queries], 1)
        self.is_made = torch.cat([self.is_made, torch.zeros_like(queries[..., 0], dtype=torch.bool)], 1)
        if self.templates is not None and self.estimate is not None:
            shape = queries.shape[:2]
            self.templates = [torch.cat([x, x.new_zeros(*shape, *x.shape[2:])], 1) for x in self.templates]
            self.estimate = join_points([self.estimate, start_from_queries(queries, self.estimate.points.shape[1])])

    def keep(self, index: torch.Tensor) -> None:
        """Follow only the points of this index (M,)."""
        self.queries, self.is_made = self.queries[:, index], self.is_made[:, index]
        if self.templates is not None and self.estimate is not None:
            self.templates = [x[:, index] for x in self.templates]
            self.estimate = keep_points(self.estimate, index)


def to_centres(points: torch.Tensor) -> torch.Tensor:
    """Raster pixels (first centre 0.5) to pixels whose centres are whole numbers (first centre 0)."""
    return points - 0.5


def scale_centres(points: torch.Tensor, source: tuple[int, int], target: tuple[int, int]) -> torch.Tensor:
    """Points (..., 2) (x, y), centres whole, of frames of size `source` (H, W) in frames resized to `target`.

    The corners' centres are laid onto each other (align_corners), as CoTracker3 resizes.
    """
    (height, width), (new_height, new_width) = source, target
    ratio = points.new_tensor([(new_width - 1) / max(1, width - 1), (new_height - 1) / max(1, height - 1)])
    return points * ratio


def to_cells(queries: torch.Tensor) -> torch.Tensor:
    """Queries (B, N, 3) as (t, x, y) pixels to cells of the finest level."""
    return torch.cat([queries[..., :1], queries[..., 1:] / STRIDE], -1)


def encode_motion(points: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Where a point (B, T, N, 2) comes from and goes to, as a share of `scale` (2,), with sines: (B, T, N, 84)."""
    to_next = F.pad(points[:, :-1] - points[:, 1:], (0, 0, 0, 0, 0, 1))
    from_last = F.pad(points[:, 1:] - points[:, :-1], (0, 0, 0, 0, 1, 0))
    return encode_sines(torch.cat([to_next / scale, from_last / scale], -1))


def encode_sines(x: torch.Tensor) -> torch.Tensor:
    """x (..., D), then the sines of its multiples by 1, 2, 4, ... and their cosines, (..., D + 2 * 10 * D)."""
    factors = 2.0 ** torch.arange(MOTION_FREQUENCIES, device=x.device)
    multiples = (x[..., None, :] * factors[:, None]).flatten(-2)
    return torch.cat([x, multiples.sin(), (multiples + 0.5 * torch.pi).sin()], -1)


def embed_time(num_frames: int, dim: int) -> torch.Tensor:
    """Sines, then cosines of the frame's number (Vaswani et al. 2017), (1, T, dim)."""
    frequency = 10000.0 ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angle = torch.arange(num_frames, dtype=torch.float64)[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], 1).float()[None]


def resize_time(embedding: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The time embedding (1, T', C) stretched to another number of frames."""
    if embedding.shape[1] == num_frames:
        return embedding
    return F.interpolate(embedding.transpose(1, 2), num_frames, mode="linear").transpose(1, 2)


def check(video: torch.Tensor, queries: torch.Tensor) -> None:
    """Raise ValueError for shapes that do not fit, queries that are not finite, and query frames outside the video."""
    if video.ndim != 5 or video.shape[2] != 3:
        raise ValueError(f"video has shape {tuple(video.shape)}, expected (B, T, 3, H, W)")
    if queries.ndim != 3 or queries.shape[-1] != 3 or queries.shape[0] != video.shape[0]:
        raise ValueError(f"queries have shape {tuple(queries.shape)}, expected (B, N, 3) as (t, x, y)")
    if not torch.isfinite(queries).all():
        raise ValueError("queries hold NaN or infinite values")
    frame = queries[..., 0].round()
    if queries.numel() and not ((frame >= 0) & (frame < video.shape[1])).all():
        raise ValueError(f"query frames must lie in 0..{video.shape[1] - 1}")
