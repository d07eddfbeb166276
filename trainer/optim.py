"""The optimiser and its learning rate as a pure function of the step."""

import math
from typing import Any

import torch
from torch import nn

from trainer.config import OptimizerConfig, suggestion

WARMUP_START = 1.0e-5
"""First learning rate of `warmup_cosine` as a share of the peak (LBM's recipe)."""
WARMUP_CONSTANT_START = 1.0e-6
"""That of `warmup_constant` (Vista's configuration)."""
ONE_CYCLE_START = 1 / 25
"""First learning rate of `one_cycle` as a share of the peak: torch's div_factor, which CoTracker3's training keeps."""
FACTOR = "learning_rate_factor"
"""Key of a group of the optimiser: its learning rate is so many times the recipe's."""
ONE_CYCLE_END = ONE_CYCLE_START / 1.0e4
"""The last one: torch's final_div_factor."""


def make_optimizer(model: nn.Module, config: OptimizerConfig, *, fused: bool) -> torch.optim.AdamW:
    """AdamW over all parameters that need a gradient, norms and embeddings included (LBM's recipe).

    One group for each part of the model that learning_rate_factors names, and one for the rest. Raises ValueError for a
    part that is not there, or has nothing to train.
    """
    groups: dict[str, list[nn.Parameter]] = {part: [] for part in (*config.learning_rate_factors, "")}
    for name, parameter in trained(model).items():
        part = next((part for part in config.learning_rate_factors if lies_in(name, part)), "")
        groups[part].append(parameter)
    for part in config.learning_rate_factors:
        if not groups[part]:
            parts = {each for name in trained(model) for each in name.split(".") if not each.isdigit()}
            known = suggestion(part, parts)
            raise ValueError(f"optimizer.learning_rate_factors.{part}: the model trains no such part, {known}")
    factors = {**config.learning_rate_factors, "": config.rest_factor}
    return torch.optim.AdamW(
        [{"params": parameters, FACTOR: factors[part]} for part, parameters in groups.items() if parameters],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        betas=(config.beta1, config.beta2),
        fused=fused,
    )


def lies_in(name: str, part: str) -> bool:
    """Whether a parameter's dotted name leads through a part: whole names, at any depth."""
    return f".{part}." in f".{name}"


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that an optimiser has, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def numbered(model: nn.Module, optimizer: Any) -> dict[str, nn.Parameter]:
    """The parameters of an optimiser by name, in the order in which its state dict numbers them: group by group.

    An optimiser that holds shards (trainer.zero2) names the parameters that they are of: `parameters`.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    own = [each for group in optimizer.param_groups for each in group["params"]]
    return {names[id(each)]: each for each in getattr(optimizer, "parameters", own)}


def learning_rate_at(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Learning rate of `step` (from 0) of a training of `num_steps`, by the recipe's schedule."""
    if config.schedule == "constant":
        return config.learning_rate
    if config.schedule == "warmup_constant":
        return config.learning_rate * warmup_constant(step, config.warmup_steps)
    if config.schedule == "one_cycle":
        return config.learning_rate * one_cycle(step, num_steps + config.extra_steps, config.warmup_fraction)
    return config.learning_rate * warmup_cosine(step, num_steps, config.warmup_fraction)


def warmup_cosine(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Share of the peak: linear warm-up over the first share of all steps, then a cosine to zero (LBM)."""
    warmup = max(1, round(warmup_fraction * num_steps))
    if step < warmup:
        return WARMUP_START + (1.0 - WARMUP_START) * step / warmup
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def warmup_constant(step: int, warmup_steps: int) -> float:
    """Share of the peak: linear over so many steps, then all of it (Vista)."""
    share = min(1.0, step / warmup_steps) if warmup_steps else 1.0
    return WARMUP_CONSTANT_START + (1 - WARMUP_CONSTANT_START) * share


def one_cycle(step: int, num_steps: int, warmup_fraction: float) -> float:
    """Share of the peak: half a cosine up from 1/25 over the first share of all steps, half a cosine down.

    What torch.optim.lr_scheduler.OneCycleLR(total_steps=num_steps, pct_start=warmup_fraction) gives with its other
    settings as they are (Smith and Topin 2018); its peak lies between two steps where the share is no whole number.
    """
    peak = warmup_fraction * num_steps - 1
    if step <= peak:
        return _half_cosine(ONE_CYCLE_START, 1.0, step / max(peak, 1e-12))
    return _half_cosine(1.0, ONE_CYCLE_END, (step - peak) / (num_steps - 1 - peak))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * share))


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give all parameter groups the learning rate of this step, times their own factor."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get(FACTOR, 1.0)
