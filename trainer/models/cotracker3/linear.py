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


BEFORE = {
    "norm": (norm, norm_backward),
    "gelu": (F.gelu, torch.ops.aten.gelu_backward),
}
"""What may come before a linear layer, and the gradient of its input from that of its result and the input."""


def linear(x: torch.Tensor, layer: nn.Linear, *, before: str | None = None) -> torch.Tensor:
    """`layer` of x (..., K), or of what `before` makes of it."""
    if not is_plain_cpu(x):
        return layer(BEFORE[before][0](x) if before else x)
    return _Linear.apply(x.flatten(0, -2), layer.weight, layer.bias, before).unflatten(0, x.shape[:-1])


class _Linear(torch.autograd.Function):
    """x (R, K), weight (D, K), bias (D,) -> (R, D). Keeps x and not what comes before the layer."""

    @staticmethod
    def forward(ctx, x, weight, bias, before):
        ctx.save_for_backward(x, weight)
        ctx.before = before
        return multiply(BEFORE[before][0](x) if before else x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = multiply(grad, weight.t())
        if not ctx.before:
            return grad_x, grad.t() @ x, grad.sum(0), None
        forward, backward = BEFORE[ctx.before]
        return backward(grad_x, x), grad.t() @ forward(x), grad.sum(0), None
