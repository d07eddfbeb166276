"""LBM's five losses as masked sums over frames; the time loop adds one frame at a time, so no map is kept.

Legend: B batch, T frames, N points, P cells, K candidates. Distances in input pixels, in fp32.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from trainer.models.lbm.config import STRIDE, LbmConfig
from trainer.models.lbm.transformer import FrameOutput

WRONG_BEYOND = 8.0
"""Pixels from the truth beyond which a point or candidate counts as wrong."""

NAMES = (
    "classification_loss",
    "visibility_loss",
    "regression_loss",
    "uncertainty_loss",
    "uncertainty_loss_topk",
)


def cell_of(points: torch.Tensor, config: LbmConfig) -> torch.Tensor:
    """Index in the P cells of points (..., 2) in pixels; points outside go to the nearest cell."""
    height, width = config.map_size
    column = (points[..., 0] / STRIDE).floor().long().clamp(0, width - 1)
    row = (points[..., 1] / STRIDE).floor().long().clamp(0, height - 1)
    return row * width + column


def masked_sum(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Sum of `values` where `mask` is true; the rest contributes neither value nor gradient."""
    return torch.where(mask, values, 0).sum()


def regression(offset: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L1 distance over x and y of offset and target (B, N, 2), clamped to [0, 8] px, summed over `mask` (B, N)."""
    return masked_sum((offset - target).abs().sum(-1).clamp(0, 2 * STRIDE), mask)


def binary(logits: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy with logits against a bool target, summed over `mask`; equal shapes."""
    entropy = F.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return masked_sum(entropy, mask)


def sum_losses(
    frame: FrameOutput, truth: torch.Tensor, visible: torch.Tensor, counted: torch.Tensor, config: LbmConfig
) -> torch.Tensor:
    """Numerators of the five losses, (5,) as in NAMES: truth (B, N, 2) input pixels, visible, counted (B, N) bool."""
    seen = visible & counted
    cell = cell_of(truth, config)
    wrong = (torch.linalg.vector_norm(frame.points - truth, dim=-1) > WRONG_BEYOND) | ~visible
    parts = [
        sum(masked_sum(layer.correlation.cross_entropy(cell), seen) for layer in frame.layers),
        binary(frame.visibility_logit, visible, counted),
        regression(frame.offset, truth - frame.reference, seen),
        binary(frame.rho_logit, wrong.detach(), counted),
        sum_candidates(frame, truth, visible, counted),
    ]
    return torch.stack(parts)


def sum_candidates(
    frame: FrameOutput, truth: torch.Tensor, visible: torch.Tensor, counted: torch.Tensor
) -> torch.Tensor:
    """Uncertainty of every candidate of all layers but the last, which has only one."""
    logits = torch.cat([layer.reference_rho for layer in frame.layers[:-1]], -1)  # (B, N, K)
    reference = torch.cat([layer.reference for layer in frame.layers[:-1]], 2)  # (B, N, K, 2)
    distance = torch.linalg.vector_norm(reference - truth[:, :, None], dim=-1)
    wrong = (distance > WRONG_BEYOND) | ~visible[..., None]
    return binary(logits, wrong, counted[..., None].expand_as(logits)) / logits.shape[-1]


@dataclass
class LossSums:
    """Numerators of the five losses (5,), added frame by frame, and their denominators."""

    config: LbmConfig
    sums: torch.Tensor | float = 0.0
    num_visible: torch.Tensor | float = 0.0
    num_counted: torch.Tensor | float = 0.0

    def add(self, sums: torch.Tensor, visible: torch.Tensor, counted: torch.Tensor) -> None:
        """Add one frame: its numerators by `sum_losses`, visible and counted (B, N) bool."""
        self.sums = self.sums + sums
        self.num_visible = self.num_visible + (visible & counted).sum()
        self.num_counted = self.num_counted + counted.sum()

    def result(self) -> dict[str, torch.Tensor]:
        """The weighted losses; a loss without a counted point is zero."""
        config = self.config
        visible, counted = (torch.as_tensor(n).clamp(min=1) for n in (self.num_visible, self.num_counted))
        uncertainty = config.lambda_uncertainty
        factors = {
            "classification_loss": config.lambda_classification / config.num_layers / visible,
            "visibility_loss": config.lambda_visibility / counted,
            "regression_loss": config.lambda_regression / visible,
            "uncertainty_loss": uncertainty ** (1 if config.uncertainty_weight_once else 2) / counted,
            "uncertainty_loss_topk": uncertainty * config.lambda_reference / counted,
        }
        return {name: part * factors[name] for name, part in zip(NAMES, self.sums.unbind(), strict=True)}
