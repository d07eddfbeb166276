"""Multi-scale deformable attention (Zhu et al. 2021) as LBM's weights expect it.

Legend: B batch, N queries, R reference points a query, Q = N * R, C channels, H heads, L levels, K samples a level,
S tokens of all levels.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.lbm import gather

PROJECT_FIRST_FROM = 700
"""Reference points from which projecting all tokens first costs less than projecting what was sampled (on a CPU)."""


class DeformableAttention(nn.Module):
    """Each query samples K points a head and level around each of its reference points.

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
        """Attend from query (B, N, C) around reference (B, N, R, 2) in [0, 1] to tokens (B, S, C); (B, N, R, C)."""
        B, N, R = reference.shape[:3]
        heads, levels, points = self.num_heads, len(self.level_sizes), self.num_points
        offsets = self.sampling_offsets(query).view(B, N, 1, heads, levels, points, 2)
        shares = self.attention_weights(query).view(B, N, 1, heads, levels * points).softmax(-1)
        shares = shares.view(B, N, 1, heads, levels, points).expand(-1, -1, R, -1, -1, -1).flatten(1, 2)
        sizes = reference.new_tensor([(width, height) for height, width in self.level_sizes])[:, None]  # (L, 1, 2)
        # Offsets do not depend on the reference point: one set for all of a query.
        cells = reference[:, :, :, None, None, None] * sizes + offsets - 0.5
        cells = cells.flatten(1, 2)  # (B, N * R, heads, L, K, 2)
        if torch.onnx.is_in_onnx_export():
            sample = self.gather_then_project if N * R <= gather.COPY_UP_TO else self.sample_maps
        elif not gather.is_available(query.device):
            sample = self.sample_maps
        else:
            sample = self.gather_projected if N * R >= PROJECT_FIRST_FROM else self.gather_then_project
        attended = sample(cells, shares, tokens)
        return self.dropout(self.output_proj(attended.view(B, N, R, -1))) + query[:, :, None]

    def sample_maps(self, cells: torch.Tensor, shares: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The plain way, on any device: cells (B, Q, H, L, K, 2), shares (B, Q, H, L, K), tokens (B, S, C)."""
        B, Q, heads = shares.shape[:3]
        lengths = [height * width for height, width in self.level_sizes]
        values = self.value_proj(tokens).split(lengths, 1)  # per level (B, h*w, C)
        attended = 0.0
        for level, (height, width) in enumerate(self.level_sizes):
            maps = values[level].transpose(1, 2).reshape(B * heads, -1, height, width)  # (B*H, C/H, h, w)
            location = (cells[:, :, :, level] + 0.5) / cells.new_tensor([width, height])
            grid = (2 * location - 1).transpose(1, 2).flatten(0, 1)  # (B*H, Q, K, 2)
            sampled = F.grid_sample(maps, grid.to(maps.dtype), align_corners=False)  # (B*H, C/H, Q, K)
            share = shares[:, :, :, level].transpose(1, 2).flatten(0, 1)  # (B*H, Q, K)
            attended = attended + (sampled * share[:, None]).sum(-1)
        return attended.view(B, -1, Q).transpose(1, 2)

    def gather_projected(self, cells: torch.Tensor, shares: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The same as `sample_maps` for many queries: sums of projected tokens."""
        values = self.value_proj(tokens).unflatten(-1, (self.num_heads, -1))  # (B, S, H, C/H)
        sums, _ = gather.gather_sums(values, cells, shares, self.level_sizes)
        return sums.flatten(2)

    def gather_then_project(self, cells: torch.Tensor, shares: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """The same as `sample_maps` for few queries: tokens are summed first, and the sums projected.

        The projection's bias counts with the weight that lies inside the maps.
        """
        sums, inside = gather.gather_sums(tokens[:, :, None], cells, shares, self.level_sizes)
        weight = self.value_proj.weight.unflatten(0, (self.num_heads, -1))  # (H, C/H, C)
        bias = self.value_proj.bias.unflatten(0, (self.num_heads, -1))  # (H, C/H)
        attended = torch.einsum("bqhc,hdc->bqhd", sums, weight) + inside[..., None] * bias
        return attended.flatten(2)
