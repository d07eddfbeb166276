"""Parts of a training step of Vista as the reference is described to make them, to be measured beside ours.

benchmarks/vista_step.py puts them in the place of ours, whose answers they have. Legend: B clips, T frames, H W cells
of a latent, N = B * (frames or cells) rows, Q queries, C width of a picture token, A of an action, D of a layer.
"""

import torch
import torch.nn.functional as F
from torch import nn

from trainer.lora import adapt
from trainer.models.vista.convolution import OverTime
from trainer.models.vista.losses import KEPT_RADIUS_SQUARED
from trainer.optim import trained


def loop_mask(height: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Which frequencies are kept, (H, W), zero in the middle: an element at a time, on the device."""
    mask = torch.ones(height, width, device=device)
    for row in range(height):
        for column in range(width):
            if (2 * row / height - 1) ** 2 + (2 * column / width - 1) ** 2 <= KEPT_RADIUS_SQUARED:
                mask[row, column] = 0
    return mask


def filter_by_loop(latents: torch.Tensor) -> torch.Tensor:
    """Images (..., H, W) without their low frequencies; the mask is made for each call."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(latents.float()), dim=(-2, -1))
    kept = spectrum * loop_mask(*latents.shape[-2:], latents.device)
    return torch.fft.ifft2(torch.fft.ifftshift(kept, dim=(-2, -1))).real


def structure_loss(prediction: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean square difference of what both (B, T, C, H, W) have of high frequencies, times the weight (B,)."""
    square = (filter_by_loop(prediction) - filter_by_loop(target)).square()
    return (weight.view(-1, 1, 1, 1, 1) * square).mean()


class EveryCell:
    """Attention to one token a clip, asked anew by every row: queries, keys and a softmax over one key."""

    def __call__(
        self,
        attention: nn.Module,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(N, Q, D) of queries (N, Q, D) and tokens (B, 1, C + A)."""
        assert attention_mask is None
        tokens = encoder_hidden_states.repeat_interleave(len(hidden_states) // len(encoder_hidden_states), dim=0)
        parts = (attention.to_q(hidden_states), attention.to_k(tokens), attention.to_v(tokens))
        query, key, value = (x.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for x in parts)
        done = F.scaled_dot_product_attention(query, key, value)  # (N, heads, Q, D / heads)
        return attention.to_out[0](done.transpose(1, 2).flatten(2))


def ask_every_cell(network: nn.Module) -> None:
    """Let all attentions to the context ask for every cell, in place, and all of their weights learn."""
    network.requires_grad_(True)
    for attention in network.cross_attentions():
        attention.set_processor(EveryCell())


def use_volumes(network: nn.Module) -> None:
    """Compute convolutions over time as diffusers' blocks do, as those of volumes, in place."""
    for layer in network.modules():
        if isinstance(layer, OverTime):
            layer.__class__ = nn.Conv3d


def learn_with_adapters(network: nn.Module, config) -> list[nn.Parameter]:
    """Give the network adapters, in place, which the optimiser has alone; the gradients of all else are made, too."""
    learned = list(trained(adapt(network, config)).values())
    network.requires_grad_(True)
    return learned


class FullAverage:
    """The average of all weights, learned or not, kept as the model's own buffers would be."""

    def __init__(self, network: nn.Module, decay: float):
        self.network, self.decay = network, decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Take in the weights after a step, the `num_updates`th."""
        rate = 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))
        for name, parameter in self.network.named_parameters():
            self.tensors[name].sub_(rate * (self.tensors[name] - parameter))
