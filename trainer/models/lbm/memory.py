"""What a point remembers of earlier frames, and the attention that reads it.

Legend: B batch, N points, C channels, M filled memory slots (oldest first).
"""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

Projected = tuple[torch.Tensor, torch.Tensor]
"""Key and value projections (B, N, C) of one memory entry, without bias and time embedding."""


@dataclass
class Memory:
    """The last frames of all points. A slot that no frame has filled yet does not exist, so nothing masks it.

    `collision[l]` and `stream[l]` hold layer l's projected entries; `ignored` says where a slot must not be read.
    """

    size: int
    num_layers: int
    collision: list[list[Projected]] = field(default_factory=list)
    stream: list[list[Projected]] = field(default_factory=list)
    ignored: list[torch.Tensor] = field(default_factory=list)

    def push(self, collision: list[Projected], stream: list[Projected], ignored: torch.Tensor) -> None:
        """Append one frame: entries projected for each layer, ignored (B, N) bool; the oldest frame falls out."""
        for entries, new in ((self.collision, collision), (self.stream, stream), (self.ignored, ignored)):
            entries.append(new)
            del entries[: -self.size]

    def snapshot(self) -> "Memory":
        """The memory as it is now: later frames do not change it."""
        lists = {name: list(getattr(self, name)) for name in ("collision", "stream", "ignored")}
        return Memory(size=self.size, num_layers=self.num_layers, **lists)

    def ignored_slots(self) -> torch.Tensor | None:
        """Where a slot must not be read, (B, N, M); None while there is no slot."""
        return torch.stack(self.ignored, -1) if self.ignored else None

    def join(self, newer: "Memory") -> None:
        """Append the points of a memory with at most as many frames, the last of them the same frame.

        Slots of earlier frames, which the new points do not have, hold zeros and are ignored.
        """
        missing = len(self.ignored) - len(newer.ignored)
        blank = [torch.ones_like(newer.ignored[-1])] * missing
        self.ignored = [torch.cat(pair, 1) for pair in zip(self.ignored, blank + newer.ignored, strict=True)]
        for kind in ("collision", "stream"):
            own, added = getattr(self, kind), getattr(newer, kind)
            added = [[(torch.zeros_like(key), torch.zeros_like(value)) for key, value in added[-1]]] * missing + added
            setattr(self, kind, [_join_layers(*frames) for frames in zip(own, added, strict=True)])

    def keep(self, index: torch.Tensor) -> None:
        """Forget all points but those at index (K,), which get this order."""
        self.ignored = [ignored[:, index] for ignored in self.ignored]
        for kind in ("collision", "stream"):
            frames = getattr(self, kind)
            setattr(self, kind, [[(key[:, index], value[:, index]) for key, value in frame] for frame in frames])

    def slots(self, kind: str, layer: int) -> Projected:
        """Keys and values (B, N, M, C) of one layer."""
        entries = [frame[layer] for frame in getattr(self, kind)]
        return torch.stack([key for key, _ in entries], 2), torch.stack([value for _, value in entries], 2)


def _join_layers(first: list[Projected], second: list[Projected]) -> list[Projected]:
    """The entries of one frame, layer by layer, of the points of both."""
    return [
        (torch.cat([key, other_key], 1), torch.cat([value, other_value], 1))
        for (key, value), (other_key, other_value) in zip(first, second, strict=True)
    ]


def interpolate_time(embedding: torch.Tensor, size: int) -> torch.Tensor:
    """Stretch the past slots of a time embedding (1, M + 1, C) linearly to `size`; the last slot ('now') stays."""
    past, now = embedding[:, :-1], embedding[:, -1:]
    if past.shape[1] != size:
        past = F.interpolate(past.transpose(1, 2), size, mode="linear", align_corners=True).transpose(1, 2)
    return torch.cat([past, now], 1)


class MemoryAttention(nn.Module):
    """Multi-head attention from one token a point to that point's memory; parameters as nn.MultiheadAttention.

    Keys are W_k (entry + time) + b and values W_v entry + b, so an entry is projected once, when it is stored.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project(self, entry: torch.Tensor) -> Projected:
        """Project a memory entry (B, N, C) to its key and value."""
        _, key, value = self.in_proj_weight.chunk(3)
        return F.linear(entry, key), F.linear(entry, value)

    def forward(
        self, query: torch.Tensor, slots: Projected, time: torch.Tensor | None, ignored: torch.Tensor | None
    ) -> torch.Tensor:
        """Attend from query (B, N, C) to slots (B, N, M, C) with time (M, C) added to the keys' entries.

        `ignored` (B, N, M): slots that must not be read. A point that must not read any gets a finite value, which the
        caller discards.
        """
        B, N, C = query.shape
        heads = self.num_heads
        weight, key_weight, _ = self.in_proj_weight.chunk(3)
        bias, key_bias, value_bias = self.in_proj_bias.chunk(3)
        keys, values = slots
        keys = keys + (key_bias if time is None else F.linear(time, key_weight, key_bias))
        query = F.linear(query, weight, bias).view(B, N, heads, C // heads)
        keys, values = (x.unflatten(-1, (heads, -1)) for x in (keys, values + value_bias))  # (B, N, M, heads, C/heads)
        scores = torch.einsum("bnhc,bnmhc->bnhm", query, keys) / math.sqrt(C // heads)
        if ignored is not None:
            readable = ~(ignored & ~ignored.all(-1, keepdim=True))  # a fully ignored row stays finite
            scores = scores.masked_fill(~readable[:, :, None], -torch.inf)
        shares = F.dropout(scores.softmax(-1), self.dropout, self.training)
        attended = torch.einsum("bnhm,bnmhc->bnhc", shares, values).reshape(B, N, C)
        return self.out_proj(attended)
