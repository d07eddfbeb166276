"""CoTracker3's transformer: every track attends over time, then the points of a frame over virtual tracks.

Legend: B batch, T frames, N points, V virtual tracks, C channels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.feed_forward import Mlp
from trainer.models.cotracker3.linear import linear

MLP_RATIO = 4


class Attention(nn.Module):
    """Attention of the norm of x (B, T, N, C) to itself, or to a context (B, T, M, C), over the frames of a track or
    within a frame."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        self.num_heads = config.num_heads
        self.to_q = nn.Linear(config.dim, config.dim)
        self.to_kv = nn.Linear(config.dim, 2 * config.dim)
        self.to_out = nn.Linear(config.dim, config.dim)

    def forward(self, x: torch.Tensor, context: torch.Tensor | None = None, *, over_time: bool) -> torch.Tensor:
        split = self._by_track if over_time else self._by_frame
        query = linear(x, self.to_q, before="norm")
        both = linear(x, self.to_kv, before="norm") if context is None else linear(context, self.to_kv)
        key, value = both.chunk(2, -1)
        attended = F.scaled_dot_product_attention(split(query), split(key), split(value))
        return linear(attended.transpose(1, 2).reshape(x.shape), self.to_out)

    def _by_frame(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(0, 1).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B * T, heads, N, C / heads)

    def _by_track(self, x: torch.Tensor) -> torch.Tensor:
        # The heads of all tracks are heads of one attention: nothing is moved.
        return x.unflatten(-1, (self.num_heads, -1)).flatten(2, 3).transpose(1, 2)  # (B, N * heads, T, C / heads)


class SelfBlock(nn.Module):
    """Attention among tokens (B, T, N, C), then the feed-forward net, both with a shortcut."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        self.attn = Attention(config)
        self.mlp = Mlp(config.dim, MLP_RATIO * config.dim)

    def forward(self, x: torch.Tensor, *, over_time: bool) -> torch.Tensor:
        return self.mlp(x + self.attn(x, over_time=over_time))


class CrossBlock(nn.Module):
    """Attention of tokens (B, T, N, C) to a context (B, T, M, C) of their frame, then the feed-forward net."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        self.norm_context = nn.LayerNorm(config.dim)
        self.cross_attn = Attention(config)
        self.mlp = Mlp(config.dim, MLP_RATIO * config.dim)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        return self.mlp(x + self.cross_attn(x, self.norm_context(context), over_time=False))


class UpdateFormer(nn.Module):
    """Tokens (B, T, N, token_dim) -> changes (B, T, N, 4) of x, y (cells), visibility and confidence (logits)."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        # The published name is spelt so.
        self.virual_tracks = nn.Parameter(torch.randn(1, config.num_virtual_tracks, 1, config.dim))
        self.input_transform = nn.Linear(config.token_dim, config.dim)
        self.flow_head = nn.Linear(config.dim, 2)
        self.vis_conf_head = nn.Linear(config.dim, 2)
        for name, kind in (
            ("time_blocks", SelfBlock),
            ("space_virtual_blocks", SelfBlock),
            ("space_point2virtual_blocks", CrossBlock),
            ("space_virtual2point_blocks", CrossBlock),
        ):
            self.add_module(name, nn.ModuleList(kind(config) for _ in range(config.num_rounds)))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for head in (self.flow_head, self.vis_conf_head):
            nn.init.trunc_normal_(head.weight, std=0.001)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        points = linear(tokens, self.input_transform)
        # At first a virtual track is the same in all frames, and so is what it attends to: one frame stands for all.
        virtual = self.virual_tracks.transpose(1, 2)  # (1, 1, V, C)
        for time, gather, mix, scatter in zip(
            self.time_blocks,
            self.space_virtual2point_blocks,
            self.space_virtual_blocks,
            self.space_point2virtual_blocks,
            strict=True,
        ):
            points, virtual = time(points, over_time=True), time(virtual, over_time=True)
            virtual = mix(gather(virtual.expand(*points.shape[:2], -1, -1), points), over_time=False)
            points = scatter(points, virtual)
        return torch.cat([self.flow_head(points), self.vis_conf_head(points)], -1)
