"""Dynamic priors: frames of a clip that are given to the network without noise, so that it knows how things move.

One frame tells where things are, two how fast they go, three how that changes. Legend: B clips, T frames.
"""

from collections.abc import Sequence

import torch

CONDITION_WEIGHTS = (1, 2, 4, 8)
"""How often a training clip has no condition frame, its first, its first two, its first three."""


def draw_num_conditions(
    num_clips: int, generator: torch.Generator, weights: Sequence[float] = CONDITION_WEIGHTS
) -> torch.Tensor:
    """How many first frames of each clip are given, (B,) int64: n with weights[n], on the generator's device.

    Raises ValueError for weights that are negative or all zero.
    """
    if not weights or min(weights) < 0 or not sum(weights) > 0:
        raise ValueError(f"condition weights {list(weights)}: give how often 0, 1, 2, ... frames are given, as 1 2 4 8")
    shares = torch.tensor(list(weights), dtype=torch.float32, device=generator.device)
    return torch.multinomial(shares, num_clips, replacement=True, generator=generator)


def mask_conditions(num_conditions: torch.Tensor, num_frames: int) -> torch.Tensor:
    """Which frames are given, (B, T) bool, where the first (B,) of each clip are.

    Raises ValueError where a clip would have no frame left to make.
    """
    most = int(num_conditions.max())
    if most >= num_frames:
        raise ValueError(f"{most} of {num_frames} frames given leave none to make; use clips of more frames")
    return torch.arange(num_frames, device=num_conditions.device) < num_conditions[:, None]


def replace(frames: torch.Tensor, clean: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Frames (B, T, ...) with those of the mask (B, T) as in `clean` (B, T, ...)."""
    return torch.where(mask.view(*mask.shape, *[1] * (frames.ndim - 2)), clean, frames)
