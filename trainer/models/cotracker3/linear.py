"""Linear layers on a CPU: oneDNN's products, a fifth faster than the ones torch takes, and no norm kept for backward.

Legend: R rows (tokens), K channels in, D channels out.
"""

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.cotracker3.plain_cpu import is_plain_cpu

EPSILON = 1e-6


def norm(x: torch.Tensor) -> torch.Tensor:
    """Layer norm without weights."""
    return F.layer_norm(x, x.shape[-1:], eps=EPSILON)


def norm_backward(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient of x (R, K) from that of its norm."""
    _, mean, inverse = torch.native_layer_norm(x, x.shape[1:], None, None, EPSILON)
    found, *_ = torch.ops.aten.native_layer_norm_backward(
        grad, x, x.shape[1:], mean, inverse, None, None, (True, False, False)
    )
    return found


def multiply(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x (R, K) times weight (D, K) transposed, plus bias (D,); not differentiable. In any layout of memory."""
    if x.dtype is torch.float32 and torch.backends.mkldnn.is_available():
        # What torch.compile calls: F.linear takes another library on x86.
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return F.linear(x, weight, bias)


def linear(x: torch.Tensor, layer: nn.Linear, *, normed: bool = False) -> torch.Tensor:
    """`layer` of x (..., K), or of its norm."""
    if not is_plain_cpu(x):
        return layer(norm(x) if normed else x)
    return _Linear.apply(x.flatten(0, -2), layer.weight, layer.bias, normed).unflatten(0, x.shape[:-1])


class _Linear(torch.autograd.Function):
    """x (R, K), weight (D, K), bias (D,) -> (R, D). Of x and its norm only x is kept."""

    @staticmethod
    def forward(ctx, x, weight, bias, normed):
        ctx.save_for_backward(x, weight)
        ctx.normed = normed
        return multiply(norm(x) if normed else x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_weight = grad.t() @ (norm(x) if ctx.normed else x)
        grad_x = multiply(grad, weight.t())
        return norm_backward(grad_x, x) if ctx.normed else grad_x, grad_weight, grad.sum(0), None
