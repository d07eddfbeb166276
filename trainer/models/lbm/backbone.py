"""The image encoder: a ResNet-18 trunk up to its third stage, fused at stride 4.

Legend: B batch (of frames), C channels, H W input pixels, h w = H/4 W/4 cells, N points.
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from trainer.models.lbm.config import LbmConfig


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norm and a shortcut (He et al. 2016); state-dict keys as torchvision's."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride != 1 or channels_in != channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


def make_stage(channels_in: int, channels: int, stride: int) -> nn.Sequential:
    """Two basic blocks, the first with the stride."""
    return nn.Sequential(BasicBlock(channels_in, channels, stride), BasicBlock(channels, channels, 1))


class Backbone(nn.Module):
    """Frames (B, 3, H, W), normalised -> features with position embedding (B, C, h, w)."""

    def __init__(self, config: LbmConfig):
        super().__init__()
        width, self.recompute = config.backbone_width, config.recompute == "frame"
        self.layer1 = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            make_stage(width, width, 1),
        )
        self.layer2 = make_stage(width, 2 * width, 2)
        self.layer3 = make_stage(2 * width, 4 * width, 2)
        self.proj1 = nn.Conv2d(width, width, 1)
        self.proj2 = nn.Conv2d(2 * width, width, 1)
        self.proj3 = nn.Conv2d(4 * width, width, 1)
        self.fusion = nn.Sequential(nn.Conv2d(3 * width, config.dim, 1), nn.BatchNorm2d(config.dim), nn.GELU())
        self.frame_pos_embedding = nn.Parameter(torch.empty(1, config.dim, *config.map_size))
        nn.init.trunc_normal_(self.frame_pos_embedding, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is None:
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if self.recompute and torch.is_grad_enabled():
            contexts = lambda: (contextlib.nullcontext(), self.statistics_kept())  # noqa: E731
            return checkpoint(self.encode, frames, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        return self.encode(frames)

    @contextlib.contextmanager
    def statistics_kept(self) -> Iterator[None]:
        """Batch norm's running statistics stay as they are: what is computed again must not count twice."""
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        before = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, (momentum, count) in zip(norms, before, strict=True):
                norm.momentum = momentum
                norm.num_batches_tracked.copy_(count)

    def encode(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames (B, 3, H, W), normalised -> (B, C, h, w)."""
        x1 = self.layer1(frames)  # (B, C, h, w)
        x2 = self.layer2(x1)  # (B, 2C, h/2, w/2)
        x3 = self.layer3(x2)  # (B, 4C, h/4, w/4)
        size = x1.shape[-2:]
        parts = [
            self.proj1(x1),
            F.interpolate(self.proj2(x2), size, mode="bilinear", align_corners=False),
            F.interpolate(self.proj3(x3), size, mode="bilinear", align_corners=False),
        ]
        return self.fusion(torch.cat(parts, 1)) + self.frame_pos_embedding


def sample_features(features: torch.Tensor, points: torch.Tensor, config: LbmConfig) -> torch.Tensor:
    """Bilinear features (B, N, C) of a map (B, C, h, w) at points (B, N, 2) in input pixels; border beyond the edge."""
    height, width = config.input_size
    grid = 2 * points / points.new_tensor([width, height]) - 1  # (B, N, 2)
    sampled = F.grid_sample(features, grid[:, :, None].to(features.dtype), padding_mode="border", align_corners=False)
    return sampled[..., 0].transpose(1, 2)
