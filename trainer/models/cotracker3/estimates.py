"""Estimates begun, cut and joined: along time, where windows follow each other, and along points.

Legend: B batch, T frames, N points.
"""

import torch

from trainer.models.cotracker3.losses import Estimate


def start_from_queries(queries: torch.Tensor, num_frames: int) -> Estimate:
    """Every point at its query (B, N, 3) cells in all frames, neither seen nor hidden."""
    points = queries[:, None, :, 1:].expand(-1, num_frames, -1, -1)
    nothing = points.new_zeros(points.shape[:-1])
    return Estimate(points=points, visibility=nothing, confidence=nothing)


def carry_on(estimate: Estimate, step: int) -> Estimate:
    """A window's estimate as the start of the next: its later frames, the last of them repeated."""

    def shift(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, step:], x[:, -1:].expand(-1, step, *x.shape[2:])], 1)

    return Estimate(
        points=shift(estimate.points), visibility=shift(estimate.visibility), confidence=shift(estimate.confidence)
    )


def choose(which: torch.Tensor, one: Estimate, other: Estimate) -> Estimate:
    """`one` where which (B, N), else `other`."""
    mask = which[:, None]
    return Estimate(
        points=torch.where(mask[..., None], one.points, other.points),
        visibility=torch.where(mask, one.visibility, other.visibility),
        confidence=torch.where(mask, one.confidence, other.confidence),
    )


def cut(estimate: Estimate, num_frames: int) -> Estimate:
    """The first frames of an estimate."""
    return Estimate(
        points=estimate.points[:, :num_frames],
        visibility=estimate.visibility[:, :num_frames],
        confidence=estimate.confidence[:, :num_frames],
    )


def keep_points(estimate: Estimate, which: slice | torch.Tensor) -> Estimate:
    """The estimate of some of the points."""
    return Estimate(
        points=estimate.points[:, :, which],
        visibility=estimate.visibility[:, :, which],
        confidence=estimate.confidence[:, :, which],
    )


def join_points(parts: list[Estimate]) -> Estimate:
    """The estimates of groups of points as one."""
    return Estimate(
        points=torch.cat([x.points for x in parts], 2),
        visibility=torch.cat([x.visibility for x in parts], 2),
        confidence=torch.cat([x.confidence for x in parts], 2),
    )


def join_windows(windows: list[tuple[int, list[Estimate]]], num_frames: int) -> Estimate:
    """The last estimate of each frame: a window overrides what those before it said of its frames."""
    parts = []
    for number, (first, estimates) in enumerate(windows):
        end = windows[number + 1][0] if number + 1 < len(windows) else num_frames
        parts.append(cut(estimates[-1], end - first))
    return Estimate(
        points=torch.cat([x.points for x in parts], 1),
        visibility=torch.cat([x.visibility for x in parts], 1),
        confidence=torch.cat([x.confidence for x in parts], 1),
    )
