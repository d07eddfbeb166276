"""Feed-forward net and the post-norm block around an attention that was computed elsewhere."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.lbm.config import LbmConfig


class FeedForward(nn.Module):
    """Linear, GELU, dropout, linear (and dropout where it ends a block); keys net.0 and net.3.

    With `recompute` the backward pass computes the hidden values again instead of keeping three copies of them.
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        dim_out: int,
        dropout: float,
        *,
        final_dropout: bool = True,
        recompute: bool = False,
    ):
        super().__init__()
        self.recompute = recompute
        layers = [nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim_out)]
        self.net = nn.Sequential(*layers, *([nn.Dropout(dropout)] if final_dropout else []))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.net, x, use_reentrant=False)
        return self.net(x)


def add_block(module: nn.Module, name: str, config: LbmConfig) -> None:
    """Give `module` the norm, feed-forward net and second norm of a block: <name>_norm, <name>_ffn, <name>_norm2."""
    dim, recompute = config.dim, config.recompute == "feed_forward"
    module.add_module(f"{name}_norm", nn.LayerNorm(dim))
    module.add_module(f"{name}_ffn", FeedForward(dim, 4 * dim, dim, config.dropout, recompute=recompute))
    module.add_module(f"{name}_norm2", nn.LayerNorm(dim))


def run_block(module: nn.Module, name: str, query: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    """LayerNorm(q + dropout(attended)), then LayerNorm(q + ffn(q)); shapes (..., C) stay."""
    ffn = getattr(module, f"{name}_ffn")
    dropped = nn.functional.dropout(attended, module.dropout, module.training)
    query = getattr(module, f"{name}_norm")(query + dropped)
    return getattr(module, f"{name}_norm2")(query + ffn(query))
