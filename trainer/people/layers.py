"""Parts that both networks of people are made of: a small trunk, joints from maps, and a decoder of learned queries."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
"""ImageNet's, as fractions of 255: what Depth Anything and DINOv2 were trained with."""
NUM_GEOMETRY = 4
"""Numbers of `crop_geometry`."""


def normalise_images(images: torch.Tensor) -> torch.Tensor:
    """(B, 3, H, W) float32 of images (B, H, W, 3) uint8: ImageNet's mean 0 and deviation 1."""
    images = images.permute(0, 3, 1, 2).float() / 255
    mean, std = (images.new_tensor(value)[:, None, None] for value in (IMAGE_MEAN, IMAGE_STD))
    return (images - mean) / std


def crop_geometry(box: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """(B, 4): where a crop's centre is from the picture's, its size, and the picture's shape. No focal length.

    box (B, 3) left, top, side and picture (B, 2) width, height, in the picture's pixels; lengths are shares of its
    longer side, sizes logarithms.
    """
    box, picture = box.float(), picture.float()
    longer = picture.amax(-1, keepdim=True)
    centre = (box[:, :2] + box[:, 2:] / 2 - picture / 2) / longer
    return torch.cat([centre, (box[:, 2:] / longer).log(), (picture[:, :1] / picture[:, 1:]).log()], -1)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.first, self.second = conv_norm(width, width), conv_norm(width, width)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H, W) to maps of the same shape."""
        return F.relu(maps + self.second(F.relu(self.first(maps))))


def conv_norm(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution and its batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs))


class ConvTrunk(nn.Module):
    """A small pyramid: maps at a quarter of the image, to which those at an eighth and a sixteenth are added."""

    def __init__(self, width: int):
        super().__init__()
        widths = (width, 2 * width, 3 * width)
        self.stem = nn.Sequential(conv_norm(3, width // 2, 2), nn.ReLU(), conv_norm(width // 2, width, 2), nn.ReLU())
        self.levels = nn.ModuleList(
            nn.Sequential(
                *([conv_norm(widths[level - 1], size, 2), nn.ReLU()] if level else []), Residual(size), Residual(size)
            )
            for level, size in enumerate(widths)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(size, 2 * width, 1) for size in widths)
        self.fuse = nn.Sequential(conv_norm(2 * width, 2 * width), nn.ReLU())
        self.out_channels = 2 * width

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H / 4, W / 4) of normalised images (B, 3, H, W)."""
        maps, pyramid = self.stem(images), []
        for level in self.levels:
            maps = level(maps)
            pyramid.append(maps)
        fused = self.laterals[0](pyramid[0])
        for lateral, coarse in zip(self.laterals[1:], pyramid[1:], strict=True):
            fused = fused + F.interpolate(lateral(coarse), fused.shape[-2:], mode="bilinear", align_corners=False)
        return self.fuse(fused)


class JointMaps(nn.Module):
    """One heat map a joint; the joint is the mean place under its softmax (Sun et al. 2018, integral regression)."""

    def __init__(self, channels: int, num_joints: int):
        super().__init__()
        self.heat = nn.Conv2d(channels, num_joints, 1)
        self.seen = nn.Linear(channels, num_joints)

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Joints (B, J, 2) as (x, y) shares of the crop's sides, logits (B, J) of being seen, heat (B, J, H, W)."""
        height, width = maps.shape[-2:]
        heat = self.heat(maps)
        shares = heat.flatten(2).softmax(-1)  # (B, J, H W)
        y, x = torch.meshgrid(
            (torch.arange(height, device=maps.device) + 0.5) / height,
            (torch.arange(width, device=maps.device) + 0.5) / width,
            indexing="ij",
        )
        joints = shares @ torch.stack([x, y], -1).reshape(-1, 2)
        of_joints = shares @ maps.flatten(2).transpose(1, 2)  # (B, J, C): what the maps hold at each joint
        seen = (of_joints * self.seen.weight).sum(-1) + self.seen.bias
        return joints, seen, heat


class QueryDecoder(nn.Module):
    """Learned queries that read tokens through torch's transformer decoder."""

    def __init__(self, num_queries: int, dim: int, num_layers: int, num_heads: int, feedforward: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(num_queries, dim) * 0.02)
        layer = nn.TransformerDecoderLayer(dim, num_heads, feedforward, dropout=0.0, batch_first=True)
        self.decoder = nn.TransformerDecoder(layer, num_layers)

    def forward(self, tokens: torch.Tensor, extra: torch.Tensor | None = None) -> torch.Tensor:
        """(B, queries, C) of tokens (B, K, C); `extra` (B, queries, C) is added to the queries first."""
        queries = self.queries.expand(len(tokens), -1, -1)
        return self.decoder(queries if extra is None else queries + extra, tokens)


def perceptron(inputs: int, hidden: int, outputs: int, num_layers: int = 3) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    widths = [inputs, *[hidden] * (num_layers - 1), outputs]
    layers: list[nn.Module] = []
    for first, second in pairwise(widths):
        layers += [nn.Linear(first, second), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
