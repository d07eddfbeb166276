"""Clips from noise: Euler's steps, guidance, and videos of many rounds, each with its own action.

Legend: B clips, T frames, C channels, H W cells of a latent.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch

from trainer.models.vista import edm
from trainer.models.vista.conditions import Condition, Network, attach, denoise_with, without
from trainer.models.vista.priors import mask_conditions, replace

Denoiser = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""What is under the noise of (B, T, C, H, W) at levels (B,): the same shape."""
SCHEDULES = ("constant", "linear", "triangle")
NUM_CARRIED = 3
"""Frames that a round gives to the next: enough for place, speed and acceleration."""
GUIDANCE = 2.5


def guidance_scales(schedule: str, num_frames: int, largest: float = GUIDANCE, smallest: float = 1.0) -> torch.Tensor:
    """How strongly each frame is led, (T,) float32: 1 is as the network says, more is away from what it says without
    a condition. constant: the largest in all frames; linear: from the smallest to the largest; triangle: the smallest
    in the first and last, the largest in the middle.

    Raises ValueError for an unknown schedule.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"guidance {schedule}; use {', '.join(SCHEDULES)}")
    place = torch.linspace(0, 1, num_frames)
    share = {"constant": torch.ones(num_frames), "linear": place, "triangle": 1 - (2 * place - 1).abs()}[schedule]
    return smallest + (largest - smallest) * share


def make_denoiser(
    network: Network,
    condition: Condition,
    given: torch.Tensor,
    scales: torch.Tensor,
    *,
    tokens: str | None = "concat",
    sigma_data: float = 1.0,
) -> Denoiser:
    """The network with its condition, led by scales (T,) away from its answer without; `given` (B, T) bool.

    Both are asked one after the other, by which a clip twice as large fits. Where all scales are 1, only the first.
    """
    unled = without(condition)
    led, free = (attach(network, each, given, tokens) for each in (condition, unled))
    is_led = bool((scales != 1).any())

    def denoise(noisy: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        found = denoise_with(led, condition, noisy, sigma, sigma_data)
        if not is_led:
            return found
        plain = denoise_with(free, unled, noisy, sigma, sigma_data)
        return plain + scales.to(found).view(1, -1, 1, 1, 1) * (found - plain)

    return denoise


def sample(
    denoiser: Denoiser, noise: torch.Tensor, sigmas: torch.Tensor, clean: torch.Tensor, given: torch.Tensor
) -> torch.Tensor:
    """Clips (B, T, C, H, W) float32 from noise of level 1 by Euler's steps over levels (num_steps + 1,), last zero.

    Frames of `given` (B, T) are those of `clean` (B, T, C, H, W) before every step and in the end.
    """
    clips = noise.float() * (1 + sigmas[0].square()).sqrt()
    for now, then in pairwise(sigmas):
        clips = replace(clips, clean, given)
        slope = (clips - denoiser(clips, now.expand(len(clips)))) / now
        clips = clips + (then - now) * slope
    return replace(clips, clean, given)


def roll_out(
    prepare: Callable[[int, torch.Tensor, torch.Tensor], Denoiser],
    first: torch.Tensor,
    num_rounds: int,
    num_frames: int,
    sigmas: torch.Tensor,
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    noise_offset: float = 0.0,
    num_carried: int = NUM_CARRIED,
) -> torch.Tensor:
    """A video (B, num_rounds * (T - 3) + 3, C, H, W) of rounds of T frames, each begun with the last 3 of the one
    before, or the last `num_carried`. With B generators each clip's noise is from its own.

    `first` (B, n, C, H, W) are the n frames that the first round is given, without noise; `prepare(round, given frames
    (B, n, C, H, W), mask (B, T))` makes a round's denoiser, by which each has its own action and its own first frame.
    Raises ValueError where no frame would be left to make.
    """
    if num_rounds < 1:
        raise ValueError(f"{num_rounds} rounds make no video; use at least 1")
    video, carried = None, first
    for number in range(num_rounds):
        num_given = torch.full((len(first),), carried.shape[1], device=first.device)
        given = mask_conditions(num_given, num_frames)
        shape = (len(first), num_frames, *first.shape[2:])
        clean = torch.zeros(shape, device=first.device)
        clean[:, : carried.shape[1]] = carried
        noise = edm.draw_noise(shape, generator, offset=noise_offset).to(first.device)
        clip = sample(prepare(number, carried, given), noise, sigmas, clean, given)
        video = clip if video is None else torch.cat([video, clip[:, num_carried:]], dim=1)
        carried = clip[:, -num_carried:]
    return video


def make_clips(
    network: Network,
    conditions: Sequence[Condition],
    first: torch.Tensor,
    num_frames: int,
    sigmas: torch.Tensor,
    generator: torch.Generator | Sequence[torch.Generator],
    *,
    continued: Callable[[Condition, torch.Tensor], Condition],
    num_carried: int = NUM_CARRIED,
    schedule: str | None = None,
    guidance: float = GUIDANCE,
    tokens: str | None = "concat",
    sigma_data: float = 1.0,
) -> torch.Tensor:
    """A video of one round for each of `conditions`, as `roll_out`; their actions are each round's own.

    `continued(condition, carried frames (B, 3, C, H, W))` gives a later round's condition the token and latent of the
    first of them, which it begins with. schedule None: constant for one round, a triangle for more, as the reference;
    its largest scale is `guidance`.
    """
    schedule = schedule or ("constant" if len(conditions) == 1 else "triangle")
    scales = guidance_scales(schedule, num_frames, guidance)

    def prepare(number: int, carried: torch.Tensor, given: torch.Tensor) -> Denoiser:
        condition = conditions[number] if number == 0 else continued(conditions[number], carried)
        return make_denoiser(network, condition, given, scales, tokens=tokens, sigma_data=sigma_data)

    with torch.no_grad():
        return roll_out(prepare, first, len(conditions), num_frames, sigmas, generator, num_carried=num_carried)
