"""One training step's losses: noise is put on clips, the network takes it off, and what it missed is weighed.

Legend: B clips, T frames, C channels, H W cells of a latent (or pixels, where a network is trained on them).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from trainer.models.vista import edm
from trainer.models.vista.conditions import DROP_RATE, Condition, Network, attach, denoise_with, drop
from trainer.models.vista.losses import DYNAMICS_NORMS, diffusion_loss, structure_loss
from trainer.models.vista.priors import CONDITION_WEIGHTS, draw_num_conditions, mask_conditions, replace


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """What is drawn in training, and what the losses weigh. The defaults are the reference's."""

    log_sigma_mean: float = edm.LOG_SIGMA_MEAN
    log_sigma_std: float = edm.LOG_SIGMA_STD
    sigma_data: float = 1.0
    """Standard deviation of the latents; with 1 the network learns v."""
    noise_offset: float = edm.NOISE_OFFSET
    condition_weights: Sequence[float] = CONDITION_WEIGHTS
    """How often 0, 1, 2, 3 first frames are given."""
    drop_rate: float = DROP_RATE
    dynamics_norm: str | None = "clip_l2"
    """clip_l2 (the reference), mean, or null for no dynamics weight."""
    lambda_structure: float = 0.1

    def __post_init__(self) -> None:
        if self.dynamics_norm is not None and self.dynamics_norm not in DYNAMICS_NORMS:
            raise ValueError(f"dynamics_norm={self.dynamics_norm}; use {', '.join(DYNAMICS_NORMS)} or null")
        if not 0 <= self.drop_rate < 1 or not self.sigma_data > 0:
            raise ValueError(f"drop_rate={self.drop_rate} must be in [0, 1), sigma_data={self.sigma_data} above 0")


def losses_of_clips(
    network: Network,
    clean: torch.Tensor,
    condition: Condition,
    generator: torch.Generator,
    config: ObjectiveConfig,
    tokens: str | None = "concat",
) -> dict[str, torch.Tensor]:
    """Weighted losses by name of clips (B, T, C, H, W) float32 without noise; all draws are from the generator.

    `tokens` is the network's form of actions, None where it has none. Raises ValueError for clips of no more frames
    than may be given.
    """
    num_clips, num_frames = clean.shape[:2]
    settings = {"mean": config.log_sigma_mean, "std": config.log_sigma_std}
    sigma = edm.draw_sigmas(num_clips, generator, **settings).to(clean.device)
    noise = edm.draw_noise(tuple(clean.shape), generator, offset=config.noise_offset).to(clean.device)
    given = mask_conditions(draw_num_conditions(num_clips, generator, config.condition_weights), num_frames)
    given = given.to(clean.device)
    condition = drop(condition, config.drop_rate, generator)
    return losses_at(network, clean, condition, sigma, noise, given, config, tokens)


def losses_at(
    network: Network,
    clean: torch.Tensor,
    condition: Condition,
    sigma: torch.Tensor,
    noise: torch.Tensor,
    given: torch.Tensor,
    config: ObjectiveConfig,
    tokens: str | None = "concat",
) -> dict[str, torch.Tensor]:
    """The same losses where all is drawn: noise (B, T, C, H, W) of levels sigma (B,) on frames that are not given
    (B, T)."""
    noisy = replace(clean + sigma.view(-1, 1, 1, 1, 1) * noise, clean, given)
    answer = attach(network, condition, given, tokens)
    prediction = replace(denoise_with(answer, condition, noisy, sigma, config.sigma_data), clean, given)
    weight = edm.weigh(sigma, config.sigma_data)
    losses = {"diffusion_loss": diffusion_loss(prediction, clean, weight, dynamics_norm=config.dynamics_norm)}
    if config.lambda_structure:
        losses["structure_loss"] = config.lambda_structure * structure_loss(prediction, clean, weight)
    return losses
