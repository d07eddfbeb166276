"""Feed-forward net and the post-norm block around an attention that was computed elsewhere."""

import torch
from torch import nn


class FeedForward(nn.Module):
    """Linear, GELU, dropout, linear (and dropout where it ends a block); keys net.0 and net.3."""

    def __init__(self, dim: int, hidden: int, dim_out: int, dropout: float, *, final_dropout: bool = True):
        super().__init__()
        layers = [nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim_out)]
        self.net = nn.Sequential(*layers, *([nn.Dropout(dropout)] if final_dropout else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


def add_block(module: nn.Module, name: str, dim: int, dropout: float) -> None:
    """Give `module` the norm, feed-forward net and second norm of a block: <name>_norm, <name>_ffn, <name>_norm2."""
    module.add_module(f"{name}_norm", nn.LayerNorm(dim))
    module.add_module(f"{name}_ffn", FeedForward(dim, 4 * dim, dim, dropout))
    module.add_module(f"{name}_norm2", nn.LayerNorm(dim))


def run_block(module: nn.Module, name: str, query: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """LayerNorm(q + dropout(attended)), then LayerNorm(q + ffn(q)); shapes (..., C) stay."""
    ffn = getattr(module, f"{name}_ffn")
    dropped = nn.functional.dropout(attended, module.dropout, module.training)
    query = getattr(module, f"{name}_norm")(query + dropped)
    return getattr(module, f"{name}_norm2")(query + ffn(query))
