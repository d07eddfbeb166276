"""Vista's losses: diffusion, more where the motion is wrong, and the fine structure.

Legend: B clips, T frames, C channels, H W cells. Pure functions in float32.
"""

from functools import lru_cache

import torch

DYNAMICS_NORMS = ("clip_l2", "mean")
"""What the dynamics weight is divided by, per clip and channel: its L2 norm (the reference; it shrinks with the size of
a clip: 0.001 at 24x72x128) or its mean (the same whatever the size)."""
KEPT_RADIUS_SQUARED = 0.5
"""Frequencies farther from zero than this are fine structure; the squared radius is 1 at the middle of a side."""


def weigh_dynamics(prediction: torch.Tensor, target: torch.Tensor, norm: str = "clip_l2") -> torch.Tensor:
    """How much an error counts, (B, T, C, H, W), at least 1: more where the change since the frame before is wrong.

    Nothing is learned through it. The first frame's is 1. Raises ValueError for a norm that is not in DYNAMICS_NORMS.
    """
    if norm not in DYNAMICS_NORMS:
        raise ValueError(f"dynamics_norm={norm}; use {' or '.join(DYNAMICS_NORMS)}")
    error = (target - prediction).detach().float()
    wrong = error.diff(dim=1).square()  # (B, T - 1, C, H, W)
    axes = (1, 3, 4)
    size = wrong.square().sum(axes, keepdim=True).sqrt() if norm == "clip_l2" else wrong.mean(axes, keepdim=True)
    weight = 1 + wrong / size.clamp(min=1e-12)
    return torch.cat([torch.ones_like(error[:, :1]), weight], dim=1)


def diffusion_loss(
    prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, *, dynamics_norm: str | None = "clip_l2"
) -> torch.Tensor:
    """Mean square error of latents (B, T, C, H, W), times the noise level's weight (B,) and the dynamics weight.

    Condition frames are to be replaced in the prediction before: they then add nothing. None: no dynamics weight.
    """
    square = (prediction.float() - target.float()).square()
    if dynamics_norm is not None:
        square = square * weigh_dynamics(prediction, target, dynamics_norm)
    return (weight.view(-1, 1, 1, 1, 1) * square).mean()


def structure_loss(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean square error of the fine structure of latents (B, T, C, H, W), times the noise level's weight (B,)."""
    square = high_pass(prediction.float() - target.float()).square()  # the filter is linear
    return (weight.view(-1, 1, 1, 1, 1) * square).mean()


def high_pass(latents: torch.Tensor) -> torch.Tensor:
    """Images (..., H, W) without their low frequencies, float32."""
    spectrum = torch.fft.fft2(latents.float())
    return torch.fft.ifft2(spectrum * high_pass_mask(*latents.shape[-2:], latents.device)).real


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what a validation made must serve the next training step
def high_pass_mask(height: int, width: int, device: torch.device) -> torch.Tensor:
    """Which frequencies are kept, (H, W) float32 of 0 and 1, in the order of torch.fft.fft2; kept for the next call."""
    rows = (2 * torch.arange(height) / height - 1).square()
    columns = (2 * torch.arange(width) / width - 1).square()
    kept = rows[:, None] + columns > KEPT_RADIUS_SQUARED
    return torch.fft.ifftshift(kept).float().to(device)
