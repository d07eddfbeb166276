"""What surrounds a point now, compared with what surrounded it at its query: all pairs of two squares of cells.

The squares lie between cells, so their features are interpolated; comparing is linear, so the comparisons can be
interpolated instead. Those of the (2r + 2)^2 whole cells below a square give those of its (2r + 1)^2 samples, and no
feature is interpolated. Legend: B batch, T frames, N points, C channels, h w cells, r radius, S = (2r + 1)^2 samples.
"""

import torch
from torch import nn

from trainer.models.cotracker3.linear import multiply

POINTS_AT_ONCE = 8
"""Tracks whose cells are gathered together: these stay in the processor's cache."""


def cells_around(points: torch.Tensor, size: tuple[int, int], radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells of a map of `size` (h, w) that surround points (..., 2) (x, y), cell centres being whole numbers.

    Returns indices y * w + x of (2r + 2)^2 cells, x before y, (..., (2r + 2)^2), and how far (..., 2) the points lie
    beyond the cells before them. Beyond the edge the nearest cell is taken, which is what border padding does.
    """
    height, width = size
    before = points.floor()
    reach = torch.arange(-radius, radius + 2, device=points.device)
    x = (before[..., 0, None].long() + reach).clamp(0, width - 1)  # (..., 2r + 2)
    y = (before[..., 1, None].long() + reach).clamp(0, height - 1)
    index = y[..., None, :] * width + x[..., :, None]
    return index.flatten(-2), points - before


def blend(values: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Interpolate values (..., k, k, D) of cells, x before y, to (..., k - 1, k - 1, D); share (..., 2) as (x, y)."""
    share = share[..., None, None, None, :]
    values = torch.lerp(values[..., :-1, :, :], values[..., 1:, :, :], share[..., 0])
    return torch.lerp(values[..., :-1, :], values[..., 1:, :], share[..., 1])


def spread(values: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """The adjoint of `blend`: (..., k - 1, k - 1, D) to (..., k, k, D)."""
    share = share[..., None, None, None, :]
    for axis, part in ((-2, share[..., 1]), (-3, share[..., 0])):
        after = values * part
        shape = list(values.shape)
        shape[axis] += 1
        spread_out = values.new_zeros(shape)
        length = values.shape[axis]
        spread_out.narrow(axis, 0, length).copy_(values).sub_(after)
        spread_out.narrow(axis, 1, length).add_(after)
        values = spread_out
    return values


def sample_square(level: torch.Tensor, frames: torch.Tensor, points: torch.Tensor, radius: int) -> torch.Tensor:
    """Features (B, N, S, C) of a level (B, T, h, w, C) around points (B, N, 2) cells in their frames (B, N)."""
    batch, _, height, width, channels = level.shape
    index, share = cells_around(points, (height, width), radius)
    first = torch.arange(batch, device=points.device)[:, None] * level.shape[1] + frames  # (B, N): of all maps
    rows = level.reshape(-1, channels)
    side = 2 * radius + 2
    cells = rows[first[..., None] * (height * width) + index].unflatten(2, (side, side))
    return blend(cells, share).flatten(2, 3)


def correlate_linear(
    level: torch.Tensor, template: torch.Tensor, points: torch.Tensor, radius: int, linear: nn.Linear
) -> torch.Tensor:
    """`linear` of the dot products (B, N, T, S * S) of squares around points (B, N, T, 2) and templates (B, N, S, C).

    level (B, T, h, w, C); returns (B, N, T, D). The samples of the frame come first, x before y in both squares; the
    points get no gradient. A few tracks come after the other: all dot products never exist at once. They are
    computed as the features are; `linear` is in half precision under autocast.
    """
    device = level.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else linear.weight.dtype
    index, share = _locate(level.shape, points, radius)
    with torch.autocast(device, enabled=False):
        embedded = _CorrelateLinear.apply(
            level, template.flatten(0, 1).to(level.dtype), index, share, linear.weight, linear.bias, dtype
        )
    return embedded.view(*points.shape[:3], linear.out_features)


def _locate(shape: torch.Size, points: torch.Tensor, radius: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which cells of all maps of a level of this shape surround the points, (P, T, cells), P = B * N, and shares
    (P, T, 2)."""
    batch, num_frames, height, width, _ = shape
    index, share = cells_around(points.detach(), (height, width), radius)
    maps = torch.arange(batch * num_frames, device=points.device).view(batch, 1, num_frames, 1)
    index = (maps * (height * width) + index).flatten(0, 1)
    return index, share.flatten(0, 1)


def _compare(
    rows: torch.Tensor, template: torch.Tensor, index: torch.Tensor, share: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The cells (P, T * cells, C) around points, and their volume (P, T, S * S) with templates (P, S, C)."""
    num_samples, side = template.shape[1], round(index.shape[-1] ** 0.5)
    cells = rows.index_select(0, index.flatten()).view(len(index), -1, rows.shape[1])
    products = (cells @ template.transpose(1, 2)).view(*index.shape[:2], side, side, num_samples)
    return cells, blend(products, share).flatten(2)


class _CorrelateLinear(torch.autograd.Function):
    """level (B, T, h, w, C), template (P, S, C), index (P, T, cells), share (P, T, 2), weight (D, S * S), bias ->
    (P, T, D).

    The backward pass gathers and compares again: neither cells nor dot products are kept. The level's gradient has its
    shape, not that of the rows: torch adds up the iterations' gradients in place only where they are no views.
    """

    @staticmethod
    def forward(ctx, level, template, index, share, weight, bias, dtype):
        ctx.save_for_backward(level, template, index, share, weight)
        rows = level.reshape(-1, level.shape[-1])
        embedded = rows.new_empty(*index.shape[:2], len(weight), dtype=dtype)
        weight, bias = weight.to(dtype), bias.to(dtype)
        for part in _parts(rows, index):
            _, volume = _compare(rows, template[part], index[part], share[part])
            embedded[part] = multiply(volume.flatten(0, 1).to(dtype), weight, bias).view_as(embedded[part])
        return embedded

    @staticmethod
    def backward(ctx, grad):
        level, template, index, share, weight = ctx.saved_tensors
        rows = level.reshape(-1, level.shape[-1])
        num_samples, side = template.shape[1], round(template.shape[1] ** 0.5)
        grad_level, grad_template, grad_weight = (x.new_zeros(x.shape) for x in (level, template, weight))
        grad_rows = grad_level.view(rows.shape)
        for part in _parts(rows, index):
            cells, volume = _compare(rows, template[part], index[part], share[part])
            grad_part = grad[part].flatten(0, 1)  # (p * T, D)
            grad_weight.addmm_(grad_part.t().to(weight.dtype), volume.flatten(0, 1).to(weight.dtype))
            grad_volume = multiply(grad_part, weight.to(grad.dtype).t()).to(rows.dtype)
            grad_volume = grad_volume.view(*volume.shape[:2], side, side, num_samples)
            products = spread(grad_volume, share[part]).flatten(1, 3)  # (p, T * cells, S)
            torch.bmm(products.transpose(1, 2), cells, out=grad_template[part])
            grad_rows.index_add_(0, index[part].flatten(), (products @ template[part]).flatten(0, 1))
        return grad_level, grad_template, None, None, grad_weight, grad.sum((0, 1)).to(weight.dtype), None


def _parts(rows: torch.Tensor, index: torch.Tensor) -> list[slice]:
    """Slices of the tracks: a few at once on a CPU, where they fit its cache, all at once elsewhere."""
    step = POINTS_AT_ONCE if rows.device.type == "cpu" else max(1, len(index))
    return [slice(first, first + step) for first in range(0, len(index), step)]
