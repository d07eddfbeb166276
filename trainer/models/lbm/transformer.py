"""The layers and heads of LBM for one frame, and the memory between frames.

Legend: B batch, N points, C channels, T frames.
"""

from dataclasses import dataclass

import torch
from torch import nn

from trainer.models.lbm.blocks import FeedForward, add_block, run_block
from trainer.models.lbm.config import STRIDE, LbmConfig
from trainer.models.lbm.correlation import FUSE_FROM, fuse_levels
from trainer.models.lbm.deformable import DeformableAttention
from trainer.models.lbm.layer import Layer, LayerOutput, Pyramid, to_unit
from trainer.models.lbm.memory import Memory

COLLISION_POINTS = 4
"""Sampling points per head and level of the collision memory's attention."""


@dataclass(frozen=True, kw_only=True)
class FrameOutput:
    """One frame's result for all points; positions in input pixels.

    layers: outputs of the layers; reference, offset, points (B, N, 2); visibility_logit, rho_logit (B, N);
    collision, stream (B, N, C): the entries for the memory; hidden (B, N) bool: where they must not be read.
    """

    layers: list[LayerOutput]
    reference: torch.Tensor
    offset: torch.Tensor
    points: torch.Tensor
    visibility_logit: torch.Tensor
    rho_logit: torch.Tensor
    collision: torch.Tensor
    stream: torch.Tensor
    hidden: torch.Tensor


class Transformer(nn.Module):
    """Follows all points through one frame and stores what the next frames need."""

    def __init__(self, config: LbmConfig):
        super().__init__()
        self.config, self.dropout = config, config.dropout
        dim, dropout = config.dim, config.dropout
        sizes = torch.tensor(config.level_sizes)
        # Part of the published state dict; the sizes in use come from the config.
        self.register_buffer("spatial_shapes", sizes)
        self.register_buffer(
            "start_levels", torch.cat([torch.zeros(1, dtype=torch.long), sizes.prod(1).cumsum(0)[:-1]])
        )
        self.layers = nn.ModuleList(Layer(config, k) for k in config.candidates)
        # Computed but in no loss: without a gradient DDP needs no search for unused parameters.
        self.layers[-1].reference_rho.requires_grad_(False)
        for name, points in (
            ("offset", config.num_neighbours),
            ("vis", config.num_neighbours),
            ("collision_mem", COLLISION_POINTS),
        ):
            attention = DeformableAttention(dim, config.num_heads, config.level_sizes, points, dropout)
            self.add_module(f"{name}_layer", attention)
            add_block(self, name, config)
        self.offset_head = FeedForward(dim, dim, 2, dropout, final_dropout=False)
        self.vis_head = FeedForward(dim, dim, 2, dropout, final_dropout=False)

    def new_memory(self, size: int | None = None) -> Memory:
        """An empty memory of `size` frames (default: as configured)."""
        return Memory(size=size or self.config.memory_size, num_layers=len(self.layers))

    def forward(self, first_query: torch.Tensor, pyramid: Pyramid, memory: Memory, asked: torch.Tensor) -> FrameOutput:
        """Track first_query (B, N, C), the features at the points' queries, in one frame; `memory` stays as it is.

        `asked` (B, N) bool: whether a point's query frame has come; before it a frame leaves nothing to remember.
        """
        query, outputs = first_query, []
        fused = self.fuse(pyramid, first_query.shape[1])
        for number, layer in enumerate(self.layers):
            outputs.append(layer(query, pyramid, fused[number], memory, number))
            query = outputs[-1].query
        reference = outputs[-1].reference[:, :, 0]  # (B, N, 2)
        offset = self.offset_head(self._head("offset", query, reference, pyramid)).float().tanh() * STRIDE
        points = reference + offset
        collision = self._head("collision_mem", query, points, pyramid)
        collision = torch.where(asked[..., None], collision, first_query)
        visibility_logit, rho_logit = self.vis_head(self._head("vis", query, reference, pyramid)).float().unbind(-1)
        hidden = visibility_logit.detach().sigmoid() < self.config.visibility_threshold
        return FrameOutput(
            layers=outputs,
            reference=reference,
            offset=offset,
            points=points,
            visibility_logit=visibility_logit,
            rho_logit=rho_logit,
            collision=collision,
            stream=query,
            hidden=hidden | ~asked,
        )

    def remember(self, collision: torch.Tensor, stream: torch.Tensor, hidden: torch.Tensor, memory: Memory) -> None:
        """Put a frame's entries (B, N, C) into the memory, projected for each layer; hidden (B, N) bool."""
        memory.push(
            [layer.collision_attention.project(collision) for layer in self.layers],
            [layer.stream_attention.project(stream) for layer in self.layers],
            hidden,
        )

    def fuse(self, pyramid: Pyramid, num_points: int) -> list[torch.Tensor | None]:
        """The levels fused for each layer (B, C, P); None for few points, which cost less one by one."""
        if num_points < FUSE_FROM and not torch.is_grad_enabled():
            return [None] * len(self.layers)
        weights = torch.stack([layer.corr_conv.weight.flatten() for layer in self.layers])
        return list(fuse_levels(pyramid.levels, pyramid.norms, weights).unbind(0))

    def _head(self, name: str, query: torch.Tensor, points: torch.Tensor, pyramid: Pyramid) -> torch.Tensor:
        """Look around points (B, N, 2) pixels with the attention and block called `name`; (B, N, C)."""
        reference = to_unit(points, self.config)[:, :, None]
        attended = getattr(self, f"{name}_layer")(query, reference, pyramid.tokens)[:, :, 0]
        return run_block(self, name, query, attended)
