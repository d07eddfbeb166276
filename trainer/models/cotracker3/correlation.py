"""What surrounds a point now, compared with what surrounded it at its query: all pairs of two squares of cells.

The squares lie between cells, so their features are interpolated; comparing is linear, so the comparisons can be
interpolated instead. Those of the (2r + 2)^2 whole cells below a square give those of its (2r + 1)^2 samples, and no
feature is interpolated. Legend: B batch, T frames, N points, C channels, h w cells, r radius, S = (2r + 1)^2 samples.
"""

import torch

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


def correlate(level: torch.Tensor, template: torch.Tensor, points: torch.Tensor, radius: int) -> torch.Tensor:
    """Dot products (B, N, T, S * S) of the square around points (B, N, T, 2) with templates (B, N, S, C).

    level (B, T, h, w, C). The samples of the frame come first, x before y in both squares; the points get no gradient.
    """
    batch, num_frames, height, width, channels = level.shape
    index, share = cells_around(points.detach(), (height, width), radius)
    maps = torch.arange(batch * num_frames, device=points.device).view(batch, 1, num_frames, 1)
    index = (maps * (height * width) + index).flatten(0, 1)  # (B * N, T, cells)
    volume = _Correlate.apply(level.reshape(-1, channels), template.flatten(0, 1), index, share.flatten(0, 1))
    return volume.view(batch, -1, num_frames, volume.shape[-1])


class _Correlate(torch.autograd.Function):
    """rows (R, C), template (P, S, C), index (P, T, cells), share (P, T, 2) -> (P, T, S * S); keeps no gathered row."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cuda", cast_inputs=torch.float32)
    def forward(ctx, rows, template, index, share):
        ctx.save_for_backward(rows, template, index, share)
        num_samples, side = template.shape[1], round(index.shape[-1] ** 0.5)
        volume = rows.new_empty(*index.shape[:2], num_samples, num_samples)
        for part in _parts(rows, index):
            cells = rows[index[part]]  # (p, T, cells, C)
            products = cells.flatten(1, 2) @ template[part].transpose(1, 2)
            products = products.view(*cells.shape[:2], side, side, num_samples)
            volume[part] = blend(products, share[part]).flatten(2, 3)
        return volume.flatten(2)

    @staticmethod
    @torch.amp.custom_bwd(device_type="cuda")
    def backward(ctx, grad):
        rows, template, index, share = ctx.saved_tensors
        num_samples, side = template.shape[1], round(template.shape[1] ** 0.5)
        grad_rows, grad_template = torch.zeros_like(rows), torch.empty_like(template)
        grad = grad.unflatten(2, (side, side, num_samples))
        for part in _parts(rows, index):
            products = spread(grad[part], share[part]).flatten(1, 3)  # (p, T * cells, S)
            cells = rows[index[part]].flatten(1, 2)
            torch.bmm(products.transpose(1, 2), cells, out=grad_template[part])
            grad_rows.index_add_(0, index[part].flatten(), (products @ template[part]).flatten(0, 1))
        return grad_rows, grad_template, None, None


def _parts(rows: torch.Tensor, index: torch.Tensor) -> list[slice]:
    """Slices of the tracks: a few at once on a CPU, where they fit its cache, all at once elsewhere."""
    step = POINTS_AT_ONCE if rows.device.type == "cpu" else max(1, len(index))
    return [slice(first, first + step) for first in range(0, len(index), step)]
