"""CoTracker3's image encoder, and the pyramid of features that points are compared with.

Legend: B batch, T frames, C channels, H W input pixels, h w cells of a level.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from trainer.models.cotracker3.config import Cotracker3Config
from trainer.models.cotracker3.plain_cpu import is_plain_cpu

FRAMES_AT_ONCE = 2
"""Frames that are encoded together on a CPU: their maps are small enough for its cache, and for memory used before."""
FRAMES_AT_ONCE_ELSEWHERE = 64
NORM_EPSILON = 1e-5


def normalise(x: torch.Tensor) -> torch.Tensor:
    """Instance norm without weights of what a convolution gave, (B, C, h, w), in its place on a CPU."""
    return _Normalise.apply(x) if is_plain_cpu(x) else F.instance_norm(x, eps=NORM_EPSILON)


def convolve_positive(x: torch.Tensor, convolution: nn.Conv2d) -> torch.Tensor:
    """ReLU, then a convolution. x (B, C, h, w) may be overwritten where nothing is trained."""
    if not torch.is_grad_enabled():
        return convolution(x.relu_())
    if not is_plain_cpu(x):
        return convolution(x.relu())
    return _ConvolvePositive.apply(x, None, False, convolution.weight, convolution.bias, convolution.padding)


def clip_gradient(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What ReLU lets through of a gradient: where x is positive."""
    return torch.ops.aten.threshold_backward(grad, x, 0)


class _Normalise(torch.autograd.Function):
    """x (B, C, h, w) -> x normalised, in place: of the two, only the result is kept. Fast with channels last, too."""

    @staticmethod
    def forward(ctx, x):
        x.sub_(x.mean((2, 3), keepdim=True))
        inverse = x.square().mean((2, 3), keepdim=True).add_(NORM_EPSILON).rsqrt_()  # (B, C, 1, 1)
        x.mul_(inverse)
        ctx.mark_dirty(x)
        ctx.save_for_backward(x, inverse)
        return x

    @staticmethod
    def backward(ctx, grad):
        x, inverse = ctx.saved_tensors
        along = (grad * x).mean((2, 3), keepdim=True)
        return torch.addcmul(grad, x, along, value=-1).sub_(grad.mean((2, 3), keepdim=True)).mul_(inverse)


def add_positive(x: torch.Tensor, y: torch.Tensor | None, clips_y: bool) -> torch.Tensor:
    """relu(relu(x) + y), or relu(x) without y, or relu(x) + relu(y) where that is clipped, too."""
    if y is None:
        return x.relu()
    return x.relu().add_(y.relu()) if clips_y else x.relu().add_(y).relu_()


def split_gradient(
    grad: torch.Tensor, summed: torch.Tensor, x: torch.Tensor, y: torch.Tensor | None, clips_y: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The gradients of x and y from that of `add_positive` of them, `summed`."""
    grad = clip_gradient(grad, summed)
    if y is None:
        return grad, None
    return clip_gradient(grad, x), clip_gradient(grad, y) if clips_y else grad


class _ConvolvePositive(torch.autograd.Function):
    """A convolution of `add_positive`; keeps x and y, of which the backward pass forms it again."""

    @staticmethod
    def forward(ctx, x, y, clips_y, weight, bias, padding):
        ctx.save_for_backward(x, y, weight)
        ctx.clips_y, ctx.padding = clips_y, padding
        return F.conv2d(add_positive(x, y, clips_y), weight, bias, padding=padding)

    @staticmethod
    def backward(ctx, grad):
        x, y, weight = ctx.saved_tensors
        summed = add_positive(x, y, ctx.clips_y)
        grad, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
            grad, summed, weight, weight.shape[:1], (1, 1), ctx.padding, (1, 1), False, (0, 0), 1, (True, True, True)
        )
        grad_x, grad_y = split_gradient(grad, summed, x, y, ctx.clips_y)
        return grad_x, grad_y, None, grad_weight, grad_bias, None


class _AddPositive(torch.autograd.Function):
    """`add_positive`; keeps x and the result, or x and y and not the result, whichever is kept anyway.

    Only where y is kept can it be clipped.
    """

    @staticmethod
    def forward(ctx, x, y, clips_y, keeps_result):
        result = add_positive(x, y, clips_y)
        ctx.save_for_backward(x, result if keeps_result else y)
        ctx.clips_y, ctx.keeps_result = clips_y, keeps_result
        return result

    @staticmethod
    def backward(ctx, grad):
        x, other = ctx.saved_tensors
        summed = other if ctx.keeps_result else add_positive(x, other, ctx.clips_y)
        return *split_gradient(grad, summed, x, other, ctx.clips_y), None, None


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm and a shortcut; keys conv1, conv2, downsample.0."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1)
        self.downsample = nn.Sequential(nn.Conv2d(channels_in, channels, 1, stride)) if stride != 1 else None

    def branches(self, x: torch.Tensor, *, clips: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """The two maps whose `add_positive` is the block's result for x, or for its positive part if `clips`."""
        convolved = convolve_positive(x, self.conv1) if clips else self.conv1(x)
        shortcut = x if self.downsample is None else normalise(self.downsample(x))
        return normalise(convolve_positive(normalise(convolved), self.conv2)), shortcut


class Stage(nn.Sequential):
    """Two residual blocks, the first with the stride. Without one, they see the positive part of x: what comes before
    the first stage is kept as its norm left it, and not once more as ReLU did."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__(ResidualBlock(channels_in, channels, stride), ResidualBlock(channels, channels, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second = self
        clips = first.downsample is None
        x, y = first.branches(x, clips=clips)
        between = _AddPositive.apply(x, y, clips, False)
        if torch.is_grad_enabled() and is_plain_cpu(x):
            # Nobody keeps what lies between the blocks: the convolution and the shortcut form it again of x and y.
            conv = second.conv1
            z = _ConvolvePositive.apply(x, y, clips, conv.weight, conv.bias, conv.padding)
            z = normalise(convolve_positive(normalise(z), second.conv2))
        else:
            z, between = second.branches(between)
        return _AddPositive.apply(z, between, False, True)


def convolve_resized(x: torch.Tensor, weight: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A 3x3 convolution (D, C, 3, 3) of maps x (B, C, h, w) enlarged to `size` (H, W): (B, D, H, W).

    To enlarge (bilinearly, corners onto corners) is linear too, so the nine products of the convolution are formed on
    the small maps: less work by as much as those are smaller. Then columns and rows are enlarged and added up.
    """
    batch, channels, height, width = x.shape
    outputs = weight.shape[0]
    cells = x.permute(0, 2, 3, 1).reshape(-1, channels)
    products = cells @ weight.permute(1, 2, 3, 0).reshape(channels, -1)  # (B * h * w, 3 * 3 * D)
    products = products.view(batch, height * width, 3, 3 * outputs).transpose(1, 2)
    rows, columns = enlarge_taps(height, size[0], x), enlarge_taps(width, size[1], x)
    tall = torch.bmm(
        rows.flatten(1).expand(batch, -1, -1), products.reshape(batch, 3 * height, width * 3 * outputs)
    )  # (B, H, w * 3 * D)
    wide = torch.bmm(
        columns.transpose(1, 2).flatten(1).expand(batch * size[0], -1, -1), tall.view(-1, width * 3, outputs)
    )  # (B * H, W, D)
    return wide.view(batch, *size, outputs).permute(0, 3, 1, 2)


def enlarge_taps(length: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """Shares (size, 3, length) of a row's cells in the enlarged cells before, at and after each; none beyond the edge.

    Of the type and on the device of `like`.
    """
    identity = torch.eye(length, dtype=like.dtype, device=like.device)[None]
    enlarged = F.interpolate(identity, size, mode="linear", align_corners=True)[0]  # (length, size)
    return F.pad(enlarged, (1, 1)).unfold(1, 3, 1).permute(1, 2, 0)


class Encoder(nn.Module):
    """Frames (B, 3, H, W) from -1 to 1 -> features (B, C, H/4, W/4), not normalised."""

    def __init__(self, config: Cotracker3Config):
        super().__init__()
        first, second, third, fourth = widths = config.encoder_widths
        self.conv1 = nn.Conv2d(3, first, 7, 2, 3)
        self.layer1 = Stage(first, first, 1)
        self.layer2 = Stage(first, second, 2)
        self.layer3 = Stage(second, third, 2)
        self.layer4 = Stage(third, fourth, 2)
        self.conv2 = nn.Conv2d(sum(widths), 2 * config.feature_dim, 3, 1, 1)
        self.conv3 = nn.Conv2d(2 * config.feature_dim, config.feature_dim, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        size = frames.shape[-2] // 4, frames.shape[-1] // 4
        if frames.device.type == "cpu":
            frames = frames.contiguous(memory_format=torch.channels_last)
        x = normalise(self.conv1(frames))
        parts = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            parts.append(x)
        return convolve_positive(normalise(self.join(parts, size)), self.conv3)

    def join(self, parts: list[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
        """`conv2` of the stages' maps, all resized to `size` (h, w) and concatenated."""
        weights = self.conv2.weight.split([x.shape[1] for x in parts], 1)
        # Each map with its part of the weights: no joint one is kept next to those that the stages keep.
        joined = F.conv2d(resize(parts[0], size), weights[0], self.conv2.bias, padding=1)
        joined = joined.add_(F.conv2d(resize(parts[1], size), weights[1], padding=1))
        for x, weight in zip(parts[2:], weights[2:], strict=True):
            joined = joined.add_(convolve_resized(x, weight, size))
        return joined


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps (B, C, h, w) at another size, bilinearly, the corners' centres laid onto each other."""
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=True)


class _Levels(torch.autograd.Function):
    """Parts of the features (b, C, h, w) -> all levels (B, h, w, C), b adding up to B; see `make_levels`.

    Keeps the finest level, and not the features. The backward pass, too, takes part after part: no gradient of all
    features exists at once.
    """

    @staticmethod
    def forward(ctx, num_levels, *parts):
        pyramids, inverses = [], []
        for part in parts:
            inverses.append(part.square().sum(1, keepdim=True).clamp_(min=1e-12).rsqrt_())  # (b, 1, h, w)
            pyramid = [(part * inverses[-1]).contiguous(memory_format=torch.channels_last)]
            for _ in range(1, num_levels):
                pyramid.append(F.avg_pool2d(pyramid[-1], 2))
            pyramids.append([level.permute(0, 2, 3, 1) for level in pyramid])
        levels = [torch.cat(level) for level in zip(*pyramids, strict=True)]
        ctx.save_for_backward(levels[0], *inverses)
        return tuple(levels)

    @staticmethod
    def backward(ctx, *grads):
        finest, *inverses = ctx.saved_tensors
        found, begin = [], 0
        for inverse in inverses:
            here = slice(begin, begin := begin + len(inverse))
            unit, *finer, grad = (x[here].permute(0, 3, 1, 2) for x in (finest, *grads))
            for other in reversed(finer):
                grad = other + torch.ops.aten.avg_pool2d_backward(
                    grad, other, (2, 2), (2, 2), (0, 0), False, True, None
                )
            along = (grad * unit).sum(1, keepdim=True) * (inverse < 1e6)
            found.append(torch.addcmul(grad, unit, along, value=-1).mul_(inverse))
        return None, *found


def make_levels(parts: Sequence[torch.Tensor], num_levels: int) -> list[torch.Tensor]:
    """Features of unit length on every level, finest first, (B, h, w, C): the channels of a cell lie together.

    The parts (b, C, h, w), consecutive frames, are divided by their length over C, which counts as 1e-6 at least. A
    coarser level has the means of four cells of the finer one; an odd row or column is left out.
    """
    return list(_Levels.apply(num_levels, *(part.float() for part in parts)))


def join_levels(parts: Sequence[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Levels (B, T, h, w, C) of consecutive frames as those of all of them."""
    return [torch.cat(level, 1) for level in zip(*parts, strict=True)]
