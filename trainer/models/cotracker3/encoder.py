"""CoTracker3's image encoder, and the pyramid of features that points are compared with.

Legend: B batch, T frames, C channels, H W input pixels, h w cells of a level.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.cotracker3.config import Cotracker3Config

FRAMES_AT_ONCE = 8
"""Frames that are encoded together where nothing is trained: more cost memory and no less time."""


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Instance norm without weights, (B, C, h, w)."""
    return F.instance_norm(x)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm and a shortcut; keys conv1, conv2, downsample.0."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride)) if stride != 1 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else normalise(self.downsample(x))
        x = F.relu_(normalise(self.conv1(x)))
        # In place, as nothing else needs the outputs of norms: a third of the encoder's memory in training.
        return F.relu_(F.relu_(normalise(self.conv2(x))) + shortcut)


def make_stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """Two residual blocks, the first with the stride."""
    return nn.Sequential(ResidualBlock(channels_in, channels, stride), ResidualBlock(channels, channels, 1))


class Encoder(nn.Module):
    """Frames (B, 3, H, W) from -1 to 1 -> features (B, C, H/4, W/4), not normalised."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        first, second, third, fourth = widths = config.encoder_widths
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3)
        self.layer1 = make_stage(first, first, 1)
        self.layer2 = make_stage(first, second, 2)
        self.layer3 = make_stage(second, third, 2)
        self.layer4 = make_stage(third, fourth, 2)
        self.conv2 = nn.Conv2d(sum(widths), 2 * config.feature_dim, 3, 1, 1)
        self.conv3 = nn.Conv2d(2 * config.feature_dim, config.feature_dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        size = frames.shape[-2] // 4, frames.shape[-1] // 4
        x = F.relu_(normalise(self.conv1(frames)))
        parts = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            same = x.shape[-2:] == size
            parts.append(x if same else F.interpolate(x, size, mode="bilinear", align_corners=True))
        return self.conv3(F.relu_(normalise(self.conv2(torch.cat(parts, 1)))))


def make_levels(features: torch.Tensor, num_levels: int) -> list[torch.Tensor]:
    """Unit features of every level, finest first, (B, h, w, C): the channels of a cell lie together."""
    features = features.float()
    squared = features.square().sum(1, keepdim=True)
    levels = [features / squared.clamp(min=1e-12).sqrt()]
    for _ in range(1, num_levels):
        levels.append(F.avg_pool2d(levels[-1], 2))
    return [level.permute(0, 2, 3, 1).contiguous() for level in levels]


def join_levels(parts: Sequence[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Levels (B, T, h, w, C) of consecutive frames as those of all of them."""
    return [torch.cat(level, 1) for level in zip(*parts, strict=True)]
