"""How likely an action is, by the network alone: where its samples agree, it has seen such driving.

Legend: S samples, B clips, T frames, C channels, H W cells of a latent.
"""

import torch


def reward_agreement(samples: torch.Tensor, num_given: int = 0) -> torch.Tensor:
    """exp(-variance) of samples (S, B, T, C, H, W) of the same condition from other noise: (B,), at most 1.

    The variance is the unbiased one over samples, its mean over all else. The reference's takes in the given frames
    too, whose variance is zero, so that it depends on the number of frames; `num_given` leaves the first out. Raises
    ValueError for fewer than two samples, or where no frame is left.
    """
    if len(samples) < 2 or not 0 <= num_given < samples.shape[2]:
        raise ValueError(
            f"{len(samples)} samples of {samples.shape[2]} frames, {num_given} of them given: agreement needs at least "
            "2 samples and a frame that was made"
        )
    return (-samples[:, :, num_given:].float().var(dim=0).mean((1, 2, 3, 4))).exp()
