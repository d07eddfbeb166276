"""Diffusion with continuous noise levels, after Karras et al. (2022), in the form that Stable Video Diffusion uses.

Legend: B clips, T frames, C channels, H W cells of the latent. A noise level sigma is the standard deviation of the
noise on a latent whose own is `sigma_data`; a clip's frames share one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

LOG_SIGMA_MEAN, LOG_SIGMA_STD = 1.0, 1.6
"""Of the normal distribution that Vista draws ln sigma from in training."""
NOISE_OFFSET = 0.02
"""Standard deviation of the part of Vista's noise that all cells of a frame's channel share."""


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Denoised = skip * noisy + out * network(input * noisy, noise); each has the shape of sigma."""

    skip: torch.Tensor
    out: torch.Tensor
    input: torch.Tensor
    noise: torch.Tensor


def scale(sigma: torch.Tensor, sigma_data: float = 1.0) -> Scaling:
    """The scaling at noise levels (...) above zero; with sigma_data 1 the network learns v (Salimans and Ho 2022)."""
    total = (sigma.square() + sigma_data**2).sqrt()
    return Scaling(
        skip=(sigma_data / total).square(), out=-sigma * sigma_data / total, input=1 / total, noise=0.25 * sigma.log()
    )


def weigh(sigma: torch.Tensor, sigma_data: float = 1.0) -> torch.Tensor:
    """Loss weight (...) of noise levels: 1 / out squared, so that all levels count alike for an untrained network."""
    return (sigma.square() + sigma_data**2) / (sigma * sigma_data).square()


def draw_sigmas(
    num_clips: int, generator: torch.Generator, *, mean: float = LOG_SIGMA_MEAN, std: float = LOG_SIGMA_STD
) -> torch.Tensor:
    """Noise levels (B,) float32 for training, log-normal, on the generator's device."""
    draws = torch.randn(num_clips, generator=generator, device=generator.device)
    return (mean + std * draws).exp()


def draw_noise(
    shape: tuple[int, int, int, int, int],
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    offset: float = NOISE_OFFSET,
) -> torch.Tensor:
    """Noise (B, T, C, H, W) float32 of level 1, and `offset` times one draw per frame and channel in all its cells.

    With B generators each clip's noise is from its own, and so the same in whatever company it is made.
    """
    if not isinstance(generator, torch.Generator):
        alone = (1, *shape[1:])
        return torch.cat([draw_noise(alone, each, offset=offset) for each in generator], dim=0)
    noise = torch.randn(shape, generator=generator, device=generator.device)
    if not offset:
        return noise
    return noise + offset * torch.randn(*shape[:3], 1, 1, generator=generator, device=generator.device)


def denoise(
    network: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    noisy: torch.Tensor,
    sigma: torch.Tensor,
    sigma_data: float = 1.0,
) -> torch.Tensor:
    """What the network thinks is under the noise of (B, T, C, H, W) at levels (B,): the same shape, float32.

    `network` takes the scaled input (B, T, C, H, W) and the scaled noise level (B,).
    """
    scaling = scale(sigma, sigma_data)
    skip, out, into = (x.view(-1, 1, 1, 1, 1) for x in (scaling.skip, scaling.out, scaling.input))
    return skip * noisy + out * network(into * noisy, scaling.noise).float()


def karras_sigmas(
    num_steps: int, *, smallest: float = 0.002, largest: float = 700.0, rho: float = 7.0, device: str = "cpu"
) -> torch.Tensor:
    """Noise levels (num_steps + 1,) float32 to sample at, largest first, zero last (Karras et al. 2022, eq. 5).

    Raises ValueError for fewer than one step or limits that are not 0 < smallest < largest.
    """
    if num_steps < 1 or not 0 < smallest < largest < math.inf:
        raise ValueError(
            f"cannot sample in {num_steps} steps from sigma {largest} down to {smallest}; use at least 1 step and "
            "0 < smallest < largest, such as 0.002 and 700"
        )
    low, high = smallest ** (1 / rho), largest ** (1 / rho)
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    sigmas = (high + ramp * (low - high)) ** rho
    return torch.cat([sigmas, sigmas.new_zeros(1)]).to(device, torch.float32)
