"""A body in torch: what `shards.people.body.pose_body` computes, with gradients."""

import torch
from torch import nn

from shards.people.body import Body

CONSTANTS = ("template_m", "shape_directions", "joints_m", "joint_directions", "weights")


class SkinnedBody(nn.Module):
    """The arrays of a body file as constants that follow a model to its device and never enter its state dict.

    vertices: numbers of those that are posed; None: all.
    """

    def __init__(self, body: Body, vertices: torch.Tensor | None = None):
        super().__init__()
        self.name, self.digest, self.parents = body.name, body.digest, body.parents.tolist()
        for name in CONSTANTS:
            self.register_buffer(name, torch.from_numpy(getattr(body, name)), persistent=False)
        corrections = body.pose_directions
        corrections = None if corrections is None else torch.from_numpy(corrections).float()
        self.register_buffer("pose_directions", corrections, persistent=False)
        if vertices is not None:
            self.template_m, self.weights = self.template_m[vertices], self.weights[vertices]
            self.shape_directions = self.shape_directions[:, vertices]
            if corrections is not None:
                self.pose_directions = self.pose_directions[:, vertices]

    def forward(self, shape: torch.Tensor, rotations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Vertices (B, V, 3) and joints (B, J, 3), metres from the pelvis, of shape (B, S) and rotations (B, J, 3, 3).

        Formula: Loper et al. 2015 (SMPL), equations 2 to 10.
        """
        batch = len(rotations)
        rest = self.template_m + torch.tensordot(shape, self.shape_directions, 1)  # (B, V, 3)
        joints = self.joints_m + torch.tensordot(shape, self.joint_directions, 1)  # (B, J, 3)
        if self.pose_directions is not None:
            bend = (rotations[:, 1:] - torch.eye(3).to(rotations)).flatten(1)
            rest = rest + torch.tensordot(bend, self.pose_directions, 1)
        turned, placed = self._chain(rotations, joints)
        offset = placed - (turned @ joints[..., None]).squeeze(-1)
        blended = self.weights @ torch.cat([turned.flatten(2), offset], -1)  # (B, V, 12)
        vertices = (blended[..., :9].reshape(batch, -1, 3, 3) @ rest[..., None]).squeeze(-1) + blended[..., 9:]
        return vertices, placed

    def _chain(self, rotations: torch.Tensor, joints: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotations (B, J, 3, 3) of all joints in the camera's axes, and their places (B, J, 3) from the pelvis."""
        turned, placed = [rotations[:, 0]], [torch.zeros_like(joints[:, 0])]
        for joint, parent in enumerate(self.parents[1:], start=1):
            bone = joints[:, joint] - joints[:, parent]
            placed.append(placed[parent] + (turned[parent] @ bone[..., None]).squeeze(-1))
            turned.append(turned[parent] @ rotations[:, joint])
        return torch.stack(turned, 1), torch.stack(placed, 1)
