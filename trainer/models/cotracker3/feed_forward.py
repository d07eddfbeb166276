"""The transformer's feed-forward net on a CPU: a few rows at once, and little kept for the backward pass.

Legend: R tokens, C channels, D hidden channels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.cotracker3.plain_cpu import is_plain_cpu

EPSILON = 1e-6
ROWS_AT_ONCE = 512
"""Tokens whose hidden values are computed together: these stay in the processor's cache."""


def norm(x: torch.Tensor) -> torch.Tensor:
    """Layer norm without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON)


class Mlp(nn.Module):
    """Layer norm, linear, GELU (tanh), linear, and a shortcut around them; keys fc1 and fc2."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not is_plain_cpu(x):
            return x + self.fc2(F.gelu(self.fc1(norm(x)), approximate="tanh"))
        parameters = self.fc1.weight, self.fc1.bias, self.fc2.weight, self.fc2.bias
        return _FeedForward.apply(x.flatten(0, -2), *parameters, torch.is_grad_enabled()).view(x.shape)


class _FeedForward(torch.autograd.Function):
    """x (R, C) -> (R, C). Keeps x and the hidden values before GELU; norm and GELU are computed again."""

    @staticmethod
    def forward(ctx, x, weight1, bias1, weight2, bias2, keeps):
        result = torch.empty_like(x)
        hidden = x.new_empty(len(x) if keeps else ROWS_AT_ONCE, len(weight1))  # (R, D)
        for rows in _parts(x):
            part = x[rows]
            h = hidden[rows] if keeps else hidden[: len(part)]
            torch.addmm(bias1, norm(part), weight1.t(), out=h)
            h = torch.ops.aten.gelu(h, approximate="tanh")
            torch.addmm(part, h, weight2.t(), out=result[rows]).add_(bias2)
        ctx.save_for_backward(x, hidden, weight1, weight2)
        return result

    @staticmethod
    def backward(ctx, grad):
        x, hidden, weight1, weight2 = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x)
        grad_weight1, grad_weight2 = torch.zeros_like(weight1), torch.zeros_like(weight2)
        grad_bias1 = weight1.new_zeros(len(weight1))
        for rows in _parts(x):
            part, h = grad[rows], hidden[rows]
            grad_weight2.addmm_(part.t(), F.gelu(h, approximate="tanh"))
            grad_h = torch.ops.aten.gelu_backward(part @ weight2, h, approximate="tanh")
            normed, mean, inverse = torch.native_layer_norm(x[rows], x.shape[1:], None, None, EPSILON)
            grad_weight1.addmm_(grad_h.t(), normed)
            grad_bias1 += grad_h.sum(0)
            through, *_ = torch.ops.aten.native_layer_norm_backward(
                grad_h @ weight1, x[rows], x.shape[1:], mean, inverse, None, None, (True, False, False)
            )
            torch.add(part, through, out=grad_x[rows])
        return grad_x, grad_weight1, grad_bias1, grad_weight2, grad.sum(0), None


def _parts(x: torch.Tensor) -> list[slice]:
    return [slice(first, first + ROWS_AT_ONCE) for first in range(0, len(x), ROWS_AT_ONCE)]
