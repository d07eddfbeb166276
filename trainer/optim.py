"""The optimiser and its learning rate as a pure function of the step."""

import math

import torch
from torch import nn

from trainer.config import OptimizerConfig

WARMUP_START = 1.0e-5
"""First learning rate as a share of the peak (LBM's recipe)."""


def make_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool) -> torch.optim.AdamW:
    """AdamW over all parameters that need a gradient, norms and embeddings included (LBM's recipe)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(
        parameters, lr=config.learning_rate, weight_decay=config.weight_decay, betas=betas, fused=fused
    )


def learning_rate_at(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Learning rate of `step` (from 0): linear warm-up over the first share of all steps, then a cosine to zero."""
    warmup = max(1, round(config.warmup_fraction * num_steps))
    if step < warmup:
        share = WARMUP_START + (1.0 - WARMUP_START) * step / warmup
    else:
        share = 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))
    return config.learning_rate * share


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give all parameter groups the learning rate of this step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
