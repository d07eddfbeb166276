"""Rotations as six numbers, and the angle between two of them."""

import torch
import torch.nn.functional as F

SMALLEST_SINE = 1.0e-7
"""Keeps the gradient of an angle finite where two rotations agree."""


def matrices_of_six(six: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) rotations of (..., 6): the first two columns before they are made orthonormal (Zhou et al. 2019)."""
    first, second = six[..., :3], six[..., 3:]
    x = F.normalize(first, dim=-1)
    y = F.normalize(second - (x * second).sum(-1, keepdim=True) * x, dim=-1)
    return torch.stack([x, y, torch.cross(x, y, dim=-1)], -1)


def six_of_matrices(matrices: torch.Tensor) -> torch.Tensor:
    """(..., 6): the first two columns of (..., 3, 3) rotations, one after the other."""
    return torch.cat([matrices[..., 0], matrices[..., 1]], -1)


def angles_between(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """(...) radians, 0 to pi: the angle of the rotation from one (..., 3, 3) to the other, with a finite gradient.

    By the arctangent of twice its sine and twice its cosine: an arccosine has no gradient at either end.
    """
    turn = first.transpose(-1, -2) @ second
    cosine = turn.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    axis = torch.stack(
        [turn[..., 2, 1] - turn[..., 1, 2], turn[..., 0, 2] - turn[..., 2, 0], turn[..., 1, 0] - turn[..., 0, 1]], -1
    )
    return torch.atan2((axis.square().sum(-1) + SMALLEST_SINE**2).sqrt(), cosine)
