"""Losses of people: each a pure function with a mask, the mean over what counts."""

import torch
import torch.nn.functional as F

from trainer.people.rotations import angles_between


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean of `values` where the mask (of leading axes) is true; 0, with a gradient of 0, where it is nowhere."""
    mask = mask.reshape(*mask.shape, *[1] * (values.ndim - mask.ndim)).expand_as(values).to(values.dtype)
    return (values * mask).sum() / mask.sum().clamp(min=1)


def join_crops(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A batch whose samples are K crops of a picture (B, K, ...) as one of single crops (B K, ...), else as it is."""
    if batch["image"].ndim == 4:
        return batch
    return {name: value.flatten(0, 1) if value.ndim > 1 else value for name, value in batch.items()}


def relative_depth_loss(depth_m: torch.Tensor, true_m: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L1 with the weight 1 / true (BLADE's stage 1), of depths (B,) with mask (B,)."""
    return masked_mean((depth_m - true_m).abs() / true_m, mask)


def log_depth_loss(depth_m: torch.Tensor, true_m: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L1 of the logarithms of depths (B,) with mask (B,)."""
    return masked_mean((depth_m.log() - true_m.log()).abs(), mask)


def joint_place_loss(joints: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 of places (B, J, 2), shares of the crop's sides, of joints that lie in the crop: others have no place."""
    return masked_mean((joints - true).abs(), is_inside(true))


def heat_loss(heat: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of heat (B, J, h, w) against the cells around true places (B, J, 2), shares of the crop's sides.

    The four cells share 1 as bilinear interpolation does, so that their mean place is the true one. Joints outside of
    the crop do not count.
    """
    rows, columns = heat.shape[-2:]
    place = true.clamp(0, 1) * true.new_tensor([columns, rows]) - 0.5
    across = (1 - (place[..., :1] - torch.arange(columns, device=heat.device)).abs()).clamp(min=0)  # (B, J, columns)
    down = (1 - (place[..., 1:] - torch.arange(rows, device=heat.device)).abs()).clamp(min=0)  # (B, J, rows)
    share = (down[..., :, None] * across[..., None, :]).flatten(2)  # (B, J, h w)
    entropy = -(share * heat.flatten(2).log_softmax(-1)).sum(-1)
    return masked_mean(entropy, is_inside(true))


def is_inside(places: torch.Tensor) -> torch.Tensor:
    """(B, J) bool: whether places (B, J, 2), shares of the crop's sides, lie in the crop."""
    return ((places >= 0) & (places <= 1)).all(-1)


def seen_loss(logits: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (B, J) against seen (B, J) bool."""
    return F.binary_cross_entropy_with_logits(logits, seen.to(logits.dtype))


def geodesic_loss(rotations: torch.Tensor, true: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean angle in radians between rotations (B, J, 3, 3), with mask (B,)."""
    return masked_mean(angles_between(rotations, true), mask)


def distance_loss(values: torch.Tensor, true: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """L1 of anything (B, ...) with mask (B,)."""
    return masked_mean((values - true).abs(), mask)
