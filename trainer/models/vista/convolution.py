"""Convolutions over time, of kernels (K, 1, 1), as planes: equal to those of diffusers' blocks, and faster.

Legend: B clips, C channels, T frames, H W cells.
"""

import torch
import torch.nn.functional as F
from torch import nn


class OverTime(nn.Conv3d):
    """A layer of kernel (K, 1, 1) with the weights of another. Each cell is by itself: time and cells make a plane.

    Libraries know convolutions of planes better than those of volumes, which a CPU has no fast kernel for.
    """

    def __init__(self, layer: nn.Conv3d):
        super().__init__(layer.in_channels, layer.out_channels, layer.kernel_size, padding=layer.padding, device="meta")
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, C', T, H, W) of (B, C, T, H, W)."""
        planes, padding = clips.flatten(3), (self.padding[0], 0)
        return F.conv2d(planes, self.weight.squeeze(-1), self.bias, padding=padding).unflatten(3, clips.shape[3:])


def flatten_convolutions(network: nn.Module) -> None:
    """Make every convolution over time alone an OverTime, in place; names of weights stay."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if type(layer) is nn.Conv3d and is_over_time(layer):
                setattr(parent, name, OverTime(layer))


def is_over_time(layer: nn.Conv3d) -> bool:
    """Whether a layer sees one cell at a time, at all of its frames."""
    plain = layer.stride == layer.dilation == (1, 1, 1) and layer.groups == 1 and layer.padding_mode == "zeros"
    return plain and layer.kernel_size[1:] == (1, 1) and layer.padding[1:] == (0, 0) and layer.bias is not None
