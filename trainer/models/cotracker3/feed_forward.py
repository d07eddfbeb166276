"""The transformer's feed-forward net on a CPU: a few rows at once, and little kept for the backward pass.

Legend: R tokens, C channels, D hidden channels.
"""

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.cotracker3.linear import multiply, norm, norm_backward
from trainer.models.cotracker3.plain_cpu import is_plain_cpu

ROWS_AT_ONCE = 512
"""Tokens whose hidden values are computed together: these stay in the processor's cache."""


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
        hidden = x.new_empty(len(x) if keeps else 0, len(weight1))  # (R, D)
        for rows in _parts(x):
            h = multiply(norm(x[rows]), weight1, bias1)
            if keeps:
                hidden[rows] = h
            torch.ops.aten.gelu_(h, approximate="tanh")
            torch.add(x[rows], multiply(h, weight2, bias2), out=result[rows])
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
            grad_h = torch.ops.aten.gelu_backward(multiply(part, weight2.t()), h, approximate="tanh")
            grad_weight1.addmm_(grad_h.t(), norm(x[rows]))
            grad_bias1 += grad_h.sum(0)
            torch.add(part, norm_backward(multiply(grad_h, weight1.t()), x[rows]), out=grad_x[rows])
        return grad_x, grad_weight1, grad_bias1, grad_weight2, grad.sum(0), None


def _parts(x: torch.Tensor) -> list[slice]:
    return [slice(first, first + ROWS_AT_ONCE) for first in range(0, len(x), ROWS_AT_ONCE)]
