"""DepthNet: a picture of a person to the depth of the pelvis."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from shards.people.skeleton import MIRRORED
from trainer.models.blade_depthnet.backbones import make_backbone
from trainer.models.blade_depthnet.config import DepthNetConfig
from trainer.people.layers import (
    NUM_GEOMETRY,
    JointMaps,
    QueryDecoder,
    conv_norm,
    crop_geometry,
    normalise_images,
    perceptron,
)


@dataclass(frozen=True, kw_only=True)
class DepthAnswer:
    """What a DepthNet says of B crops."""

    depth_m: torch.Tensor
    """(B,) z of the pelvis in the camera's axes"""
    joints: torch.Tensor | None = None
    """(B, J, 2) (x, y) as shares of the crop's sides; None: this network estimates no joints"""
    seen: torch.Tensor | None = None
    """(B, J) logits"""
    heat: torch.Tensor | None = None
    """(B, J, h, w) logits of the joints' places"""


class DepthNet(nn.Module):
    """Backbone, interface (two convolutions of stride 2), a decoder with one query, and a head."""

    def __init__(self, config: DepthNetConfig):
        super().__init__()
        self.config, width = config, config.interface_width
        self.backbone = make_backbone(config)
        channels = self.backbone.out_channels
        self.interface = nn.Sequential(conv_norm(channels, width, 2), nn.ReLU(), conv_norm(width, width, 2), nn.ReLU())
        self.decoder = QueryDecoder(1, width, config.num_layers, config.num_heads, config.feedforward)
        self.joints = JointMaps(channels, config.num_joints) if config.num_joints else None
        extra = 3 * config.num_joints + NUM_GEOMETRY * config.with_geometry
        if extra:
            self.head = perceptron(width + extra, config.head_width, 1)
        else:
            self.head = nn.Sequential(nn.Linear(width, 1))
        start = (config.start_depth_m or config.max_depth_m / 2) / config.max_depth_m
        nn.init.constant_(self.head[-1].bias, math.log(start / (1 - start)))

    def forward(self, image: torch.Tensor, box: torch.Tensor, picture: torch.Tensor) -> DepthAnswer:
        """Crops image (B, H, W, 3) uint8, their boxes (B, 3) and whole pictures' sizes (B, 2) to depths."""
        size, maps = self.config.map_size, self.backbone(normalise_images(image))
        resized = maps if size is None else F.interpolate(maps, (size, size), mode="bilinear", align_corners=False)
        tokens = self.interface(resized).flatten(2).transpose(1, 2)  # (B, K, C), without their places as in the paper
        known = [self.decoder(tokens)[:, 0]]
        joints = seen = heat = None
        if self.joints:
            joints, seen, heat = self.joints(maps)
            known += [joints.flatten(1) - 0.5, seen.sigmoid()]
        if self.config.with_geometry:
            known.append(crop_geometry(box, picture))
        logit = self.head(torch.cat(known, -1))[:, 0].float()
        return DepthAnswer(depth_m=self.config.max_depth_m * logit.sigmoid(), joints=joints, seen=seen, heat=heat)

    def find(self, image: torch.Tensor, box: torch.Tensor, picture: torch.Tensor) -> DepthAnswer:
        """`forward`; with model.answers_mirrored also of mirror images, both depths' geometric mean."""
        found = self(image, box, picture)
        if not self.config.answers_mirrored:
            return found
        left = picture[:, 0] - box[:, 0] - box[:, 2]
        other = self(image.flip(2), torch.stack([left, box[:, 1], box[:, 2]], -1), picture)
        depth_m = (found.depth_m * other.depth_m).sqrt()
        if found.joints is None:
            return DepthAnswer(depth_m=depth_m)
        joints = other.joints.new_tensor([1, 0]) + other.joints * other.joints.new_tensor([-1, 1])
        return DepthAnswer(
            depth_m=depth_m,
            joints=(found.joints + joints[:, MIRRORED]) / 2,
            seen=(found.seen + other.seen[:, MIRRORED]) / 2,
            heat=(found.heat + other.heat[:, MIRRORED].flip(-1)) / 2,
        )

    def answer(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What is said of a batch with image, box and picture: depth_m (B,); joints and joints_score if it has some."""
        found = self.find(batch["image"], batch["box"], batch["picture"])
        said = {"depth_m": found.depth_m}
        if found.joints is not None:
            said |= {"joints": found.joints, "joints_score": found.seen.sigmoid()}
        return said
