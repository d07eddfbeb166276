"""Between frames and latents, and from a picture to its token, by the frozen networks of Stable Video Diffusion.

Legend: B clips, T frames, H W pixels; frames are in [-1, 1]. A latent has 4 channels and an eighth of the sides.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.vista.conditions import Condition

LATENT_SCALE = 0.18215
"""Latents of videos are multiplied by it, to have about unit deviation; those of the condition frame are not."""
WINDOW, OVERLAP = 14, 3
"""Frames that are decoded together, and how many of them also with the next ones."""
PICTURE_MEAN, PICTURE_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""CLIP's, of pictures in [0, 1]."""


def scale_frames(frames: torch.Tensor) -> torch.Tensor:
    """Frames uint8 as float32 in [-1, 1]."""
    return frames.float() / 127.5 - 1


def encode_moments(autoencoder: nn.Module, frames: torch.Tensor, *, num_together: int = 1) -> torch.Tensor:
    """What the autoencoder says of frames (B, T, 3, H, W): moments (B, T, 2, 4, H / 8, W / 8), the mean of each latent
    and the logarithm of its variance, not scaled.

    Memory is that of `num_together` frames.
    """
    parts = []
    for some in frames.flatten(0, 1).split(num_together):
        found = autoencoder.encode(some).latent_dist
        parts.append(torch.stack([found.mean, found.logvar], 1))
    return torch.cat(parts).unflatten(0, frames.shape[:2])


def draw_latents(moments: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Scaled latents (B, T, 4, h, w) of moments (B, T, 2, 4, h, w), drawn from the generator; None: the modes.

    A frame at a time: what is drawn does not depend on how many frames were encoded together, or when.
    """
    mean, log_variance = moments.float().unbind(2)
    if generator is None:
        return LATENT_SCALE * mean
    shape, count = mean.shape[2:], mean.shape[0] * mean.shape[1]
    noise = [torch.randn(shape, generator=generator, device=mean.device) for _ in range(count)]
    return LATENT_SCALE * (mean + (0.5 * log_variance).exp() * torch.stack(noise).view_as(mean))


def encode_frames(
    autoencoder: nn.Module, frames: torch.Tensor, generator: torch.Generator | None = None, *, num_together: int = 1
) -> torch.Tensor:
    """Scaled latents (B, T, 4, H / 8, W / 8) of frames (B, T, 3, H, W), drawn from the generator; None: the modes."""
    return draw_latents(encode_moments(autoencoder, frames, num_together=num_together), generator)


def encode_condition(autoencoder: nn.Module, frames: torch.Tensor) -> torch.Tensor:
    """What goes beside each noisy frame: modes (B, 4, H / 8, W / 8) of first frames (B, 3, H, W), not scaled."""
    return encode_moments(autoencoder, frames[:, None])[:, 0, 0]


def decode_latents(
    autoencoder: nn.Module, latents: torch.Tensor, *, window: int = WINDOW, overlap: int = OVERLAP
) -> torch.Tensor:
    """Frames (B, T, 3, H, W), about [-1, 1], of scaled latents (B, T, 4, H / 8, W / 8).

    So many frames at a time go through the decoder, whose layers see neighbours; frames of two windows are their mean.
    Raises ValueError for windows that do not advance.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"windows of {window} frames cannot overlap by {overlap}; use fewer, such as {window // 4}")
    num_clips, num_frames = latents.shape[:2]
    frames, counts = None, latents.new_zeros(num_frames)
    start = 0
    while True:
        part = latents[:, start : start + window] / LATENT_SCALE
        decoded = autoencoder.decode(part.flatten(0, 1), num_frames=part.shape[1]).sample
        decoded = decoded.unflatten(0, part.shape[:2])
        if frames is None:
            frames = decoded.new_zeros(num_clips, num_frames, *decoded.shape[2:])
        frames[:, start : start + window] += decoded
        counts[start : start + window] += 1
        if start + window >= num_frames:
            return frames / counts.view(1, -1, 1, 1, 1)
        start += window - overlap


def encode_pictures(tower: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    """Tokens (B, D) of pictures (B, 3, H, W) in [-1, 1]; the whole picture is squeezed into the tower's square.

    The reference blurs before it shrinks, by another library's filter; here it is torch's bicubic with antialiasing.
    """
    side = tower.config.image_size
    small = F.interpolate(pictures.float(), (side, side), mode="bicubic", align_corners=True, antialias=True)
    mean, std = (small.new_tensor(x).view(1, 3, 1, 1) for x in (PICTURE_MEAN, PICTURE_STD))
    return tower((small / 2 + 0.5 - mean) / std).image_embeds


def continue_condition(
    autoencoder: nn.Module, tower: nn.Module, condition: Condition, carried: torch.Tensor
) -> Condition:
    """The condition of a round that begins with scaled latents (B, 3, 4, H / 8, W / 8) of the round before.

    Its latent is the first of them, not encoded again, and its token that of the frame decoded from it. The reference
    decodes it among all frames of its round, here it is among those that are carried over.
    """
    frames = decode_latents(autoencoder, carried)
    return replace(
        condition, token=encode_pictures(tower, frames[:, 0].clamp(-1, 1)), latent=carried[:, 0] / LATENT_SCALE
    )
