"""One layer of LBM: predict from memory, find candidate cells, look around them, update the query.

Legend: B batch, N points, C channels, P cells of the finest level, K candidates, S tokens of all levels.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.lbm.blocks import add_block, run_block
from trainer.models.lbm.config import STRIDE, LbmConfig
from trainer.models.lbm.correlation import Correlation, PlainCorrelation, correlate_each
from trainer.models.lbm.deformable import DeformableAttention
from trainer.models.lbm.memory import Memory, MemoryAttention, interpolate_time


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """One frame: features of each level (B, C, h, w), finest first, their tokens (B, S, C), and norms (B, 1, h, w)."""

    levels: list[torch.Tensor]
    tokens: torch.Tensor
    norms: list[torch.Tensor]


def make_pyramid(features: torch.Tensor, config: LbmConfig) -> Pyramid:
    """Average-pool a frame's features (B, C, h, w) to all levels."""
    levels = [features]
    for _ in range(1, config.num_levels):
        levels.append(F.avg_pool2d(levels[-1], 2))
    tokens = torch.cat([level.flatten(2).transpose(1, 2) for level in levels], 1)
    # Of the tokens, whose channels lie together: three times as fast as over the maps.
    norms = torch.linalg.vector_norm(tokens.float(), dim=-1).clamp(min=1e-12)  # (B, S)
    split = norms.split([level[0, 0].numel() for level in levels], 1)
    norms = [norm.view(-1, 1, *level.shape[2:]) for norm, level in zip(split, levels, strict=True)]
    return Pyramid(levels=levels, tokens=tokens, norms=norms)


@dataclass(frozen=True, kw_only=True)
class LayerOutput:
    """query (B, N, C); correlation (B, N, P); reference (B, N, K, 2) pixels; reference_rho (B, N, K) logits."""

    query: torch.Tensor
    correlation: Correlation | PlainCorrelation
    reference: torch.Tensor
    reference_rho: torch.Tensor


class Layer(nn.Module):
    """Predict (collision and streaming memory), re-reference, update."""

    def __init__(self, config: LbmConfig, num_candidates: int):
        super().__init__()
        self.config, self.num_candidates, self.dropout = config, num_candidates, config.dropout
        dim, heads, dropout = config.dim, config.num_heads, config.dropout
        for kind in ("collision", "stream"):
            embedding = nn.Parameter(torch.empty(1, config.memory_size + 1, dim))
            nn.init.trunc_normal_(embedding, std=0.02)
            self.register_parameter(f"{kind}_time_emb", embedding)
            self.add_module(f"{kind}_attention", MemoryAttention(dim, heads, dropout))
            add_block(self, kind, config)
        self.corr_conv = nn.Conv2d(config.num_levels, 1, 1)
        self.lattice_attention = DeformableAttention(dim, heads, config.level_sizes, config.num_neighbours, dropout)
        add_block(self, "lattice", config)
        self.lattice_update = MemoryAttention(dim, heads, dropout)
        add_block(self, "lattice_update", config)
        self.reference_rho = nn.Linear(dim, 1)

    def forward(
        self, query: torch.Tensor, pyramid: Pyramid, maps: torch.Tensor | None, memory: Memory, layer: int
    ) -> LayerOutput:
        """`maps` (B, C, P): the levels fused for this layer, None to correlate each point with every level."""
        query = self.predict(query, memory, layer)
        correlation = self.correlate(query, pyramid, maps)
        best = correlation.best(self.num_candidates)  # (B, N, K)
        width = self.config.map_size[1]
        reference = torch.stack([best % width, best // width], -1).float() * STRIDE + STRIDE / 2
        candidates = self.look_around(query, reference, pyramid)  # (B, N, K, C)
        attended = self.lattice_update(query, self.lattice_update.project(candidates), None, None)
        return LayerOutput(
            query=run_block(self, "lattice_update", query, attended),
            correlation=correlation,
            reference=reference,
            reference_rho=self.reference_rho(candidates)[..., 0],
        )

    def predict(self, query: torch.Tensor, memory: Memory, layer: int) -> torch.Tensor:
        """Read both memories, (B, N, C) -> (B, N, C); a point that may read no slot passes through unchanged."""
        ignored = memory.ignored_slots()  # (B, N, M)
        if ignored is None:
            return query
        if self.training and self.config.random_memory_mask_drop > 0:
            ignored = ignored | (torch.rand(ignored.shape, device=query.device) < self.config.random_memory_mask_drop)
        predicted = query
        for kind in ("collision", "stream"):
            time = interpolate_time(getattr(self, f"{kind}_time_emb"), memory.size)[0]  # (size + 1, C)
            predicted = predicted + time[-1]
            filled = time[-1 - ignored.shape[-1] : -1]
            slots = memory.slots(kind, layer)
            attended = getattr(self, f"{kind}_attention")(predicted, slots, filled, ignored)
            predicted = run_block(self, kind, predicted, attended)
        return torch.where(ignored.all(-1, keepdim=True), query, predicted)

    def correlate(
        self, query: torch.Tensor, pyramid: Pyramid, maps: torch.Tensor | None
    ) -> Correlation | PlainCorrelation:
        """Compare query (B, N, C) with every cell, in fp32."""
        unit, temperature = F.normalize(query.float(), dim=-1), self.config.temperature
        weight, bias = self.corr_conv.weight.flatten(), self.corr_conv.bias.float()
        if maps is not None:
            return Correlation(query=unit, maps=maps, bias=bias, temperature=temperature)
        values = correlate_each(unit, pyramid.levels, pyramid.norms, weight, bias)
        return PlainCorrelation(computed=values, temperature=temperature)

    def look_around(self, query: torch.Tensor, reference: torch.Tensor, pyramid: Pyramid) -> torch.Tensor:
        """Sample the frame around each candidate (B, N, K, 2) pixels; one feature a candidate, (B, N, K, C)."""
        attended = self.lattice_attention(query, to_unit(reference, self.config), pyramid.tokens)
        return run_block(self, "lattice", query[:, :, None], attended)


def to_unit(points: torch.Tensor, config: LbmConfig) -> torch.Tensor:
    """Pixels (..., 2) of the input to [0, 1], clamped to the frame."""
    height, width = config.input_size
    return (points / points.new_tensor([width, height])).clamp(0, 1)
