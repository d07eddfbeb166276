"""Weighted sums of bilinear samples, the core of deformable attention, as one sparse product.

The usual way (grid_sample) makes a vector for every sample, and scatters one back for each of them. Here every sum is
one row of a sparse matrix: indices and weights of its corners. Legend: B batch, Q queries, H heads, L levels, K samples
a level, S tokens of all levels, D channels of a value.
"""

import warnings

import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")

COPY_UP_TO = 128
"""Reference points up to which an exported file copies the sampled rows (0.6 MB each, as published) for a sum."""


def is_available(device: torch.device) -> bool:
    """Whether sparse products are there, and faster than grid_sample: on CPUs with Intel's library."""
    return device.type == "cpu" and torch.backends.mkl.is_available()


def gather_sums(
    values: torch.Tensor, cells: torch.Tensor, shares: torch.Tensor, level_sizes: list[tuple[int, int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums over levels and samples of share times bilinear value, and of share times the weight inside the map.

    values (B, S, H or 1, D): tokens of all levels, the finest first; 1 where all heads read the same. cells
    (B, Q, H, L, K, 2) as (x, y) in cells of the level, 0 is the first cell's centre; outside the map values are zero.
    shares (B, Q, H, L, K). Returns (B, Q, H, D) and (B, Q, H).
    """
    if torch.onnx.is_in_onnx_export():
        return _copy_and_sum(values, cells, shares, level_sizes)
    return _GatherSums.apply(values, cells, shares, level_sizes)


def _copy_and_sum(values, cells, shares, level_sizes):
    """`gather_sums` in operations that ONNX has: the row of every corner is copied, and the copies summed."""
    _, num_tokens, num_tables, D = values.shape
    (x, x_inside), (y, y_inside), index = _corners(cells, level_sizes, num_tokens, num_tables)
    x, y = x * x_inside, y * y_inside
    weight = (shares[..., None, None] * y[..., :, None] * x[..., None, :]).flatten(3)  # (B, Q, H, E)
    rows = values.reshape(-1, D)[index.flatten(3)]  # (B, Q, H, E, D)
    return (weight[..., None, :] @ rows)[..., 0, :], weight.sum(-1)


class _GatherSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values, cells, shares, level_sizes):
        _, num_tokens, num_tables, D = values.shape
        (x, x_inside), (y, y_inside), index = _corners(cells, level_sizes, num_tokens, num_tables)
        x, y = x * x_inside, y * y_inside
        weight = (shares[..., None, None] * y[..., :, None] * x[..., None, :]).flatten(0, 2).flatten(1)  # (bags, E)
        index = index.flatten(0, 2).flatten(1)
        table = values.reshape(-1, D)
        sums = F.embedding_bag(index, table, mode="sum", per_sample_weights=weight)
        ctx.save_for_backward(values, shares, x, y, x_inside, y_inside, index)
        return sums.view(*shares.shape[:3], D), weight.sum(1).view(shares.shape[:3])

    @staticmethod
    def backward(ctx, grad_sums, grad_weights):
        values, shares, x, y, x_inside, y_inside, index = ctx.saved_tensors
        D, bags, entries = values.shape[-1], *index.shape
        table, grad_sums = values.reshape(-1, D), grad_sums.reshape(bags, D)
        both = y[..., :, None] * x[..., None, :]  # (B, Q, H, L, K, 2, 2)
        grad_table = None
        if ctx.needs_input_grad[0]:
            weight = (shares[..., None, None] * both).flatten()
            grad_table = _transposed_sums(index, weight, grad_sums, len(table)).view_as(values)
        rows = torch.arange(0, bags * entries + 1, entries, dtype=index.dtype)
        pattern = torch.sparse_csr_tensor(
            rows, index.flatten(), x.new_zeros(bags * entries), (bags, len(table)), check_invariants=False
        )
        products = torch.sparse.sampled_addmm(pattern, grad_sums, table.t(), beta=0).values()
        grad = (products.view(bags, entries) + grad_weights.reshape(bags, 1)).view_as(both)
        grad_shares = (grad * both).sum((-2, -1))
        grad = grad * shares[..., None, None]
        # The weight of the first corner falls with the position, that of the second grows.
        by_x, by_y = (grad * y[..., :, None]).sum(-2) * x_inside, (grad * x[..., None, :]).sum(-1) * y_inside
        grad_cells = torch.stack([by_x[..., 1] - by_x[..., 0], by_y[..., 1] - by_y[..., 0]], -1)
        return grad_table, grad_cells, grad_shares, None


def _corners(cells, level_sizes, num_tokens: int, num_tables: int):
    """Per axis the two weights, and which are inside, (B, Q, H, L, K, 2) each; and rows (..., 2, 2) of the table."""
    sizes = cells.new_tensor([(width, height) for height, width in level_sizes])[:, None]  # (L, 1, 2)
    lengths = [height * width for height, width in level_sizes]
    starts = torch.tensor([sum(lengths[:level]) for level in range(len(lengths))], dtype=torch.int32)
    # Far outside nothing is sampled; clamped, positions that are no numbers too fit an index.
    lower = cells.floor().nan_to_num(-2.0).clamp(-2 * torch.ones_like(sizes), sizes + 1)
    share = cells - lower
    weights = torch.stack([1 - share, share], -1)  # (B, Q, H, L, K, 2 axes, 2 corners)
    place = torch.stack([lower, lower + 1], -1)
    inside = (place >= 0) & (place < sizes[..., None])
    place = place.clamp(torch.zeros_like(sizes)[..., None], sizes[..., None] - 1).int()
    width = sizes[:, :, 0].int()[..., None]  # (L, 1, 1)
    rows = starts[:, None, None] + place[..., 1, :] * width  # (B, Q, H, L, K, 2)
    batch = torch.arange(cells.shape[0], dtype=torch.int32).view(-1, 1, 1, 1, 1, 1) * num_tokens
    index = (batch + rows)[..., :, None] + place[..., 0, None, :]  # (B, Q, H, L, K, 2, 2)
    if num_tables > 1:
        index = index * num_tables + torch.arange(num_tables, dtype=torch.int32).view(-1, 1, 1, 1, 1)
    (x, y), (x_inside, y_inside) = weights.unbind(-2), inside.unbind(-2)
    return (x, x_inside), (y, y_inside), index


def _transposed_sums(index, weight, grad, num_rows: int):
    """Rows of the table's gradient: for each row the weighted sum of the bags (bags, D) that read it."""
    ordered, order = index.flatten().sort()
    starts = torch.searchsorted(ordered, torch.arange(num_rows, dtype=ordered.dtype))
    bags = order // index.shape[1]
    return F.embedding_bag(bags, grad, starts, mode="sum", per_sample_weights=weight[order])
