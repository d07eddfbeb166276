"""Which cells of a frame look like a point: cosine similarities on all levels, fused to one map a point.

A layer's correlation is c_1 + conv1x1([c_1 ... c_L]), with c_l the cosine similarity with level l, upsampled.
Upsampling and convolution are linear, so both can be applied to the frame's features instead of to every point's map.
Legend: B batch, N points, C channels, L levels, P cells of the finest level.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

FUSE_FROM = 32
"""Points from which fusing the frame's levels costs less than correlating each point with every level."""
CHUNK = 256
"""Points whose map is computed at once in the backward pass of the cross-entropy."""


@dataclass(kw_only=True)
class Correlation:
    """The correlation of unit queries (B, N, C) with fused maps (B, C, P); no map (B, N, P) is kept."""

    query: torch.Tensor
    maps: torch.Tensor
    bias: torch.Tensor
    temperature: float
    log_sum: torch.Tensor | None = None
    """(B, N): log sum exp of the values without bias, divided by the temperature."""

    def values(self) -> torch.Tensor:
        """(B, N, P) in fp32."""
        with torch.autocast(self.query.device.type, enabled=False):
            return self.query @ self.maps + self.bias

    def best(self, count: int) -> torch.Tensor:
        """The cells with the highest values, (B, N, count); not differentiable. In training notes the log sum too."""
        with torch.no_grad(), torch.autocast(self.query.device.type, enabled=False):
            values = self.query @ self.maps
            best = values.topk(count, -1).indices
        if torch.is_grad_enabled():
            self.log_sum = values.div_(self.temperature).logsumexp(-1)
        return best

    def cross_entropy(self, cell: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (B, N) of values / temperature against the true cell (B, N); needs `best` before."""
        entropy = _CrossEntropy.apply(self.query, self.maps, cell, self.log_sum, self.temperature)
        return entropy + 0.0 * self.bias  # a constant changes no softmax; its gradient is zero, and not missing


@dataclass(frozen=True, kw_only=True)
class PlainCorrelation:
    """The same from each point's own map (B, N, P)."""

    computed: torch.Tensor
    temperature: float

    def values(self) -> torch.Tensor:
        """(B, N, P) in fp32."""
        return self.computed

    def best(self, count: int) -> torch.Tensor:
        """The cells with the highest values, (B, N, count)."""
        return self.computed.detach().topk(count, -1).indices

    def cross_entropy(self, cell: torch.Tensor) -> torch.Tensor:
        """Cross-entropy (B, N) of values / temperature against the true cell (B, N)."""
        return F.cross_entropy(self.computed.transpose(1, 2) / self.temperature, cell, reduction="none")


def fuse_levels(levels: list[torch.Tensor], norms: list[torch.Tensor], weights: torch.Tensor) -> torch.Tensor:
    """Maps (layers, B, C, P) of the levels' features (B, C, h, w), finest first, for the convolutions (layers, L).

    norms (B, 1, h, w): lengths of the features over their channels.
    """
    with torch.autocast(weights.device.type, enabled=False):
        unit = [level.float() / norm for level, norm in zip(levels, norms, strict=True)]
        return _FuseLevels.apply(add_finest(weights.float()), *unit)


class _FuseLevels(torch.autograd.Function):
    """Weighted sums of the upsampled levels; the backward pass upsamples again instead of keeping them."""

    @staticmethod
    def forward(ctx, factors, *levels):
        ctx.save_for_backward(factors, *levels)
        fused = factors @ upsample(levels).flatten(1)
        return fused.view(len(factors), *levels[0].shape[:2], -1)

    @staticmethod
    def backward(ctx, grad):
        factors, *levels = ctx.saved_tensors
        size = list(levels[0].shape[-2:])
        # Summed by channel first: the gradient of a factor is a sum with much cancellation.
        by_channel = grad.flatten(1, 2).transpose(0, 1) @ upsample(levels).flatten(1, 2).flatten(2).permute(1, 2, 0)
        grad_levels = (factors.t() @ grad.flatten(1)).view(len(levels), *levels[0].shape)
        backward = torch.ops.aten.upsample_bilinear2d_backward
        coarse = [
            backward(part, size, list(level.shape), False)
            for part, level in zip(grad_levels[1:], levels[1:], strict=True)
        ]
        return by_channel.sum(0), grad_levels[0], *coarse


def upsample(levels: Sequence[torch.Tensor]) -> torch.Tensor:
    """Levels (B, C, h, w), finest first, at the size of the finest: (L, B, C, H, W)."""
    size = levels[0].shape[-2:]
    coarse = [F.interpolate(level, size, mode="bilinear", align_corners=False) for level in levels[1:]]
    return torch.stack([levels[0], *coarse])


def add_finest(weights: torch.Tensor) -> torch.Tensor:
    """The convolution's weights (layers, L) with the finest level's own similarity added."""
    finest = torch.zeros_like(weights)
    finest[:, 0] = 1.0
    return weights + finest


def correlate_each(
    query: torch.Tensor,
    levels: list[torch.Tensor],
    norms: list[torch.Tensor],
    weight: torch.Tensor,
    bias: torch.Tensor,
) -> torch.Tensor:
    """The plain way, for few points: unit query (B, N, C) with every level (B, C, h, w); weight (L,); (B, N, P)."""
    size = levels[0].shape[-2:]
    with torch.autocast(query.device.type, enabled=False):
        total = bias.float()
        for level, norm, factor in zip(levels, norms, add_finest(weight.float()[None])[0], strict=True):
            similarity = (query @ level.float().flatten(2)).unflatten(-1, level.shape[-2:]) / norm
            if similarity.shape[-2:] != size:
                similarity = F.interpolate(similarity, size, mode="bilinear", align_corners=False)
            total = total + factor * similarity.flatten(2)
    return total


class _CrossEntropy(torch.autograd.Function):
    """log sum exp(q . m / t) - q . m[cell] / t for each point, its first term given; backward in chunks of points."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, query, maps, cell, log_sum, temperature):
        true = maps.gather(2, cell[:, None].expand(-1, maps.shape[1], -1))  # (B, C, N)
        ctx.save_for_backward(query, maps, cell, log_sum)
        ctx.temperature = temperature
        return log_sum - torch.einsum("bnc,bcn->bn", query, true) / temperature

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad):
        query, maps, cell, log_sum = ctx.saved_tensors
        grad_query, grad_maps = [], torch.zeros_like(maps)
        parts = (x.split(CHUNK, 1) for x in (query, cell, log_sum, grad / ctx.temperature))
        for chunk, true, offset, factor in zip(*parts, strict=True):
            share = (chunk @ maps).div_(ctx.temperature).sub_(offset[..., None]).exp_()  # softmax (B, n, P)
            share.scatter_add_(2, true[..., None], -torch.ones_like(offset)[..., None])
            share.mul_(factor[..., None])
            grad_query.append(share @ maps.transpose(1, 2))
            grad_maps.baddbmm_(chunk.transpose(1, 2), share)
        return torch.cat(grad_query, 1), grad_maps, None, None, None
