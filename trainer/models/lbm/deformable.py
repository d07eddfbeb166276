"""Multi-scale deformable attention (Zhu et al. 2021) as LBM's weights expect it.

Legend: B batch, Q queries, C channels, L levels, K sampling points, S tokens of all levels.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class DeformableAttention(nn.Module):
    """Each query samples K points a head and level around its reference point.

    Sampling offsets are in cells of their level; outside the map is zero. The module adds the query to its output, and
    LBM's blocks add it again: the published weights were trained so.
    """

    def __init__(self, dim: int, num_heads: int, level_sizes: list[tuple[int, int]], num_points: int, dropout: float):
        super().__init__()
        self.num_heads, self.level_sizes, self.num_points = num_heads, level_sizes, num_points
        per_query = num_heads * len(level_sizes) * num_points
        self.sampling_offsets = nn.Linear(dim, per_query * 2)
        self.attention_weights = nn.Linear(dim, per_query)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self._initialise()

    def _initialise(self) -> None:
        """Each head looks in its own direction, point i at i+1 cells: with zeros the points could never separate."""
        angles = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)  # (heads, 2)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        distances = torch.arange(1, self.num_points + 1)
        offsets = directions[:, None, None] * distances[None, None, :, None]  # (heads, 1, K, 2)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets.expand(-1, len(self.level_sizes), -1, -1).flatten())
        for zeroed in (
            self.sampling_offsets.weight,
            self.attention_weights.weight,
            self.attention_weights.bias,
            self.value_proj.bias,
            self.output_proj.bias,
        ):
            nn.init.zeros_(zeroed)
        nn.init.xavier_uniform_(self.value_proj.weight)
        nn.init.xavier_uniform_(self.output_proj.weight)

    def forward(self, query: torch.Tensor, reference: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Attend from query (B, Q, C) around reference (B, Q, 2) in [0, 1] to tokens (B, S, C); returns (B, Q, C)."""
        B, Q, C = query.shape
        heads, levels, points = self.num_heads, len(self.level_sizes), self.num_points
        lengths = [height * width for height, width in self.level_sizes]
        values = self.value_proj(tokens).split(lengths, 1)  # per level (B, h*w, C)
        offsets = self.sampling_offsets(query).view(B, Q, heads, levels, points, 2)
        weights = self.attention_weights(query).view(B, Q, heads, levels * points).softmax(-1)
        weights = weights.view(B, Q, heads, levels, points)
        attended = query.new_zeros(B * heads, C // heads, Q)
        for level, (height, width) in enumerate(self.level_sizes):
            maps = values[level].transpose(1, 2).reshape(B * heads, C // heads, height, width)
            location = reference[:, :, None, None] + offsets[:, :, :, level] / offsets.new_tensor([width, height])
            grid = (2 * location - 1).transpose(1, 2).flatten(0, 1)  # (B*heads, Q, K, 2)
            sampled = F.grid_sample(maps, grid.to(maps.dtype), align_corners=False)  # (B*heads, C/heads, Q, K)
            share = weights[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (B*heads, Q, K)
            attended = attended + (sampled * share[:, None]).sum(-1)
        attended = attended.view(B, C, Q).transpose(1, 2)
        return self.dropout(self.output_proj(attended)) + query
