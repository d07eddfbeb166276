"""Points that are tracked along with those that were asked for, because joint tracking gets better by them.

Positions are (x, y) in pixels of the model's input whose centres are whole numbers, as published. Legend: B batch,
N points, G points along a side of a grid.
"""

import torch

SUPPORT_SIDE = 6
"""Points a side of the grid beside a person's points or mask, as published."""
LOCAL_SIDE, LOCAL_EXTENT = 8, 50.0
"""Points a side and pixels of the grid around a point that is tracked alone, as published."""
MARGIN = 1 / 64
"""Between the border of a grid's area and its first points, as a share of the area's width."""


def make_grid(side: int, size: tuple[float, float], centre: tuple[float, float] | None = None) -> torch.Tensor:
    """Evenly spaced points (G * G, 2), row by row, of an area of `size` (height, width) around `centre` (x, y).

    Default is the middle of a picture of that size. A single point lies in the centre.
    """
    height, width = size
    x, y = (width / 2, height / 2) if centre is None else centre
    if side == 1:
        return torch.tensor([[x, y]], dtype=torch.float32)
    margin = MARGIN * width
    columns = torch.linspace(x - width / 2 + margin, x + width / 2 - margin, side)
    rows = torch.linspace(y - height / 2 + margin, y + height / 2 - margin, side)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1).flatten(0, 1)


def make_support(queries: torch.Tensor, side: int, size: tuple[int, int], *, is_alone: bool = False) -> torch.Tensor:
    """Support (B, M, 3) as (t, x, y) for queries (B, N, 3): a grid over frame 0 with `side` points a side, 0 for none.

    is_alone: each query, N = 1, gets a grid around its own place besides; in frame 0 too, as published.
    """
    points = make_grid(side, size).to(queries).expand(len(queries), -1, -1) if side else queries[:, :0, 1:]
    if is_alone:
        around = make_grid(LOCAL_SIDE, (LOCAL_EXTENT, LOCAL_EXTENT), (0.0, 0.0)).to(queries)
        points = torch.cat([points, queries[..., 1:] + around], 1)
    return torch.cat([torch.zeros_like(points[..., :1]), points], -1)
