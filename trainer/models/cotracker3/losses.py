"""The four losses of CoTracker3 as pure functions.

Legend: B batch, T frames, N points, I iterations. Positions in input pixels; masks (B, T, N) bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from trainer.models.cotracker3.config import Cotracker3Config


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What an iteration says: points (B, T, N, 2) in cells or pixels, logits of visibility and confidence (B, T, N)."""

    points: torch.Tensor
    visibility: torch.Tensor
    confidence: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is known of a window: points (B, T, N, 2) input pixels, visible, and which positions count, (B, T, N)."""

    points: torch.Tensor
    visible: torch.Tensor
    counted: torch.Tensor


def distance(points: torch.Tensor, truth: torch.Tensor, huber_delta: float | None) -> torch.Tensor:
    """Mean over x and y of Huber's or the absolute error, (B, T, N)."""
    if huber_delta is None:
        return (points - truth).abs().mean(-1)
    return F.huber_loss(points, truth, reduction="none", delta=huber_delta).mean(-1)


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the values where the mask is true; zero where it nowhere is."""
    return torch.where(mask, values, 0.0).sum() / (1e-6 + mask.sum())


def position_loss(
    estimates: Sequence[Estimate], truth: Truth, mask: torch.Tensor, *, gamma: float, huber_delta: float | None
) -> torch.Tensor:
    """Mean over iterations of the masked position error, the last one's whole, each earlier one's times gamma more."""
    last = len(estimates) - 1
    return sum(
        gamma ** (last - i) * masked_mean(distance(x.points.float(), truth.points, huber_delta), mask)
        for i, x in enumerate(estimates)
    ) / len(estimates)


def visibility_loss(estimates: Sequence[Estimate], truth: Truth) -> torch.Tensor:
    """Binary cross-entropy of visibility, mean over all points, frames and iterations."""
    target = truth.visible.float()
    each = [F.binary_cross_entropy_with_logits(x.visibility.float(), target) for x in estimates]
    return torch.stack(each).mean()


def confidence_loss(estimates: Sequence[Estimate], truth: Truth, within: float) -> torch.Tensor:
    """Binary cross-entropy of confidence against an error of at most `within` pixels; a hidden point counts as zero."""
    total = 0.0
    for x in estimates:
        right = (x.points.detach().float() - truth.points).square().sum(-1) <= within**2
        entropy = F.binary_cross_entropy_with_logits(x.confidence.float(), right.float(), reduction="none")
        total = total + torch.where(truth.visible, entropy, 0.0).mean()
    return total / len(estimates)


def sum_losses(
    windows: Sequence[Sequence[Estimate]], truths: Sequence[Truth], config: Cotracker3Config
) -> dict[str, torch.Tensor]:
    """The weighted losses by name, each the mean over the windows; points in input pixels."""
    losses = {}
    for name, weight in (
        ("visible_loss", config.lambda_visible),
        ("invisible_loss", config.lambda_invisible),
        ("visibility_loss", config.lambda_visibility),
        ("confidence_loss", config.lambda_confidence),
    ):
        if weight:
            pairs = zip(windows, truths, strict=True)
            losses[name] = weight * torch.stack([_loss(name, *pair, config) for pair in pairs]).mean()
    return losses


def _loss(name: str, estimates: Sequence[Estimate], truth: Truth, config: Cotracker3Config) -> torch.Tensor:
    if name == "visible_loss":
        mask = truth.counted & truth.visible
        return position_loss(estimates, truth, mask, gamma=config.gamma, huber_delta=config.huber_delta)
    if name == "invisible_loss":
        return position_loss(estimates, truth, truth.counted & ~truth.visible, gamma=config.gamma, huber_delta=None)
    if name == "visibility_loss":
        return visibility_loss(estimates, truth)
    return confidence_loss(estimates, truth, config.confident_within)
