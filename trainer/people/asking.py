"""A model of people asked about a clip: crops in, answers in the whole picture's pixels out."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from shards import Clip
from trainer.people.config import PeopleData
from trainer.people.samples import sample_of_clip

AT_ONCE = 64
"""Crops in one batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PeopleAnswer:
    """What a model says of T frames of one person; arrays float32."""

    depth_m: np.ndarray | None = None
    """(T,) z of the pelvis; None: this model does not know it"""
    shape: np.ndarray | None = None
    """(T, S); None: this model says nothing of the pose"""
    rotations: np.ndarray | None = None
    """(T, J, 3, 3)"""
    joints_px: np.ndarray | None = None
    """(T, J, 2) pixels of the whole picture; None: this model finds no joints"""
    joints_score: np.ndarray | None = None
    """(T, J) 0 to 1: how sure a joint is to be seen"""


@torch.no_grad()
def ask(model: nn.Module, clip: Clip, people: PeopleData, depth_noise: float = 0.0) -> PeopleAnswer:
    """What a model in evaluation mode says of every frame of a clip, each by itself.

    The crops are those of training, without jitter and mirror: by `box` their squares are around the true 2D joints in
    the picture, as if a detector had found them. depth_noise: the deviation of a factor's logarithm, by which the depth
    that a PoseNet is told is wrong, the same for a clip at every call.
    """
    device = next(model.parameters()).device
    samples = [sample_of_clip(clip, frame, people) for frame in range(len(clip.video))]
    factors = np.ones(len(samples), np.float32)
    if depth_noise:
        rng = np.random.default_rng([len(clip.key), *clip.key.encode()])
        factors = np.exp(depth_noise * rng.standard_normal(len(samples))).astype(np.float32)
    parts = []
    for first in range(0, len(samples), AT_ONCE):
        chosen = samples[first : first + AT_ONCE]
        batch = {
            name: torch.from_numpy(np.stack([sample[name] for sample in chosen])).to(device)
            for name in ("image", "box", "picture", "pelvis_m")
        }
        batch["depth_factor"] = torch.from_numpy(factors[first : first + AT_ONCE]).to(device)
        parts.append({name: value.float().cpu().numpy() for name, value in model.answer(batch).items()})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if "joints" in whole:
        box = np.stack([sample["box"] for sample in samples])  # (T, 3)
        whole["joints_px"] = box[:, None, :2] + whole.pop("joints") * box[:, None, 2:]
    return PeopleAnswer(**whole)
