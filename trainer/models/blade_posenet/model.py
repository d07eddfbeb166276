"""PoseNet: a picture of a person, and the depth of the pelvis, to pose and shape."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.blade_depthnet.task import build as build_depthnet
from trainer.models.blade_posenet.backbones import make_backbone
from trainer.models.blade_posenet.config import PoseNetConfig
from trainer.people.layers import NUM_GEOMETRY, JointMaps, QueryDecoder, crop_geometry, normalise_images, perceptron
from trainer.people.rotations import matrices_of_six
from trainer.people.skinning import SkinnedBody

DEPTH_WIDTH = 64
"""Hidden width of what makes a depth into something to add to tokens."""


@dataclass(frozen=True, kw_only=True)
class PoseAnswer:
    """What a PoseNet says of B crops."""

    rotations: torch.Tensor
    """(B, J, 3, 3)"""
    shape: torch.Tensor
    """(B, S)"""
    joints: torch.Tensor
    """(B, J, 2) (x, y) as shares of the crop's sides"""
    seen: torch.Tensor
    """(B, J) logits"""
    heat: torch.Tensor
    """(B, J, h, w) logits of the joints' places"""


class DepthInjection(nn.Module):
    """What a depth adds to tokens: a perceptron of its inverse that begins at zero and passes no gradient back."""

    def __init__(self, dim: int):
        super().__init__()
        self.layers = perceptron(1, DEPTH_WIDTH, 2 * dim)
        nn.init.zeros_(self.layers[-1].weight)
        nn.init.zeros_(self.layers[-1].bias)

    def forward(self, depth_m: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 1, C) for the tokens of the picture, and (B, 1, C) for the queries, of depths (B,) in metres."""
        return self.layers(1 / depth_m.detach()[:, None])[:, None].chunk(2, -1)


class PoseNet(nn.Module):
    """Backbone, joints in the picture, a decoder with a query for each joint, and heads for rotations and shape."""

    def __init__(self, config: PoseNetConfig):
        super().__init__()
        self.config, dim, joints = config, config.dim, config.num_joints
        self.backbone = make_backbone(config)
        channels = self.backbone.out_channels
        self.joints = JointMaps(channels, joints)
        self.tokens = nn.Conv2d(channels, dim, 1)
        self.places = perceptron(2, dim, dim, num_layers=2)
        self.found = nn.Linear(3 + channels + NUM_GEOMETRY, dim)
        self.decoder = QueryDecoder(joints, dim, config.num_layers, config.num_heads, config.feedforward)
        self.rotation_head = perceptron(dim, dim, 6)
        self.rest = nn.Parameter(torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(joints, 1))  # (J, 6)
        self.shape_head = perceptron(dim * joints, config.head_width, config.num_shapes)
        # Last, so that one seed gives one start whatever the depth.
        self.injection = None if config.depth == "none" else DepthInjection(dim)
        self.depthnet = build_depthnet(config.depthnet) if config.depthnet and config.depth != "oracle" else None
        if self.depthnet:
            self.depthnet.requires_grad_(False).eval()
        self.body: SkinnedBody | None = None
        """What losses on joints and vertices are computed with; `get_ready` of the task sets it."""

    def train(self, mode: bool = True) -> "PoseNet":
        """Set the mode; DepthNet stays in that of evaluation."""
        super().train(mode)
        if self.depthnet:
            self.depthnet.eval()
        return self

    @torch.no_grad()
    def find_depth(self, batch: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """(B,) metres: DepthNet's depth of a batch, or the true one; None for a PoseNet that knows neither."""
        if self.config.depth == "oracle":
            return batch["pelvis_m"][:, 2]
        if self.depthnet is None:
            return None
        return self.depthnet.find(batch["image"], batch["box"], batch["picture"]).depth_m

    def forward(
        self, image: torch.Tensor, box: torch.Tensor, picture: torch.Tensor, depth_m: torch.Tensor | None
    ) -> PoseAnswer:
        """Crops image (B, H, W, 3) uint8, their boxes (B, 3), whole pictures' sizes (B, 2), depths (B,) in metres."""
        maps = self.backbone(normalise_images(image))
        joints, seen, heat = self.joints(maps)
        sampled = F.grid_sample(maps, joints[:, :, None].detach() * 2 - 1, align_corners=False)[..., 0]  # (B, C, J)
        geometry = crop_geometry(box, picture)[:, None].expand(-1, joints.shape[1], -1)
        known = [joints - 0.5, seen[..., None].sigmoid(), sampled.transpose(1, 2), geometry]
        queries = self.found(torch.cat(known, -1))  # (B, J, dim)
        tokens = self._tokens(maps)
        if self.injection:
            to_tokens, to_queries = self.injection(depth_m)
            tokens, queries = tokens + to_tokens, queries + to_queries
        read = self.decoder(tokens, queries)  # (B, J, dim)
        six = self.rest + self.rotation_head(read)
        shape = self.shape_head(read.flatten(1))
        return PoseAnswer(
            rotations=matrices_of_six(six.float()), shape=shape.float(), joints=joints, seen=seen, heat=heat
        )

    def _tokens(self, maps: torch.Tensor) -> torch.Tensor:
        """(B, K, dim): the maps' cells with their places."""
        if self.config.token_size:
            maps = F.adaptive_avg_pool2d(maps, self.config.token_size)
        height, width = maps.shape[-2:]
        y, x = torch.meshgrid(
            torch.linspace(-1, 1, height, device=maps.device),
            torch.linspace(-1, 1, width, device=maps.device),
            indexing="ij",
        )
        places = self.places(torch.stack([x, y], -1).reshape(-1, 2))
        return self.tokens(maps).flatten(2).transpose(1, 2) + places

    def answer(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is said of a batch with image, box and picture: shape, rotations, joints, joints_score, and depth_m (B,)
        where it is known.

        pelvis_m (B, 3) is read where depth is `oracle`; depth_factor (B,) multiplies the depth that the pose is told.
        """
        depth_m = self.find_depth(batch)
        told = None if self.injection is None else depth_m * batch["depth_factor"]
        found = self(batch["image"], batch["box"], batch["picture"], told)
        return ({} if depth_m is None else {"depth_m": depth_m}) | {
            "shape": found.shape,
            "rotations": found.rotations,
            "joints": found.joints,
            "joints_score": found.seen.sigmoid(),
        }
