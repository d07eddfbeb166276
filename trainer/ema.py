"""An exponential moving average of the weights, held as the weights are: whole, or each process its shard."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import nn

from trainer.optim import trained
from trainer.strategy import shard_like


class Ema:
    """The average of the parameters that are trained; others, and buffers, are the model's own."""

    def __init__(self, model: nn.Module, decay: float):
        """Begin with the model's weights, once it is on its device and sharded; decay: 0..1, of the weights before."""
        self.model, self.decay = model, decay
        self.tensors = {name: parameter.detach().clone() for name, parameter in trained(model).items()}

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Take in the weights after a step, the `num_updates`th: average = d * average + (1 - d) * weights.

        d is min(decay, (1 + n) / (10 + n)), which forgets the beginning: the formula of TensorFlow's
        ExponentialMovingAverage(num_updates), which latent diffusion (its LitEma), diffusers (EMAModel) and Vista keep.
        Nothing leaves the device.
        """
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        torch._foreach_lerp_(list(self.tensors.values()), list(trained(self.model).values()), 1 - decay)

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take over whole tensors of the same names; a process with a shard takes its part of them."""
        for name, value in shard_like(tensors, self.tensors).items():
            self.tensors[name].copy_(value)


@contextlib.contextmanager
def averaged(model: nn.Module, ema: Ema | None) -> Iterator[None]:
    """Put the averages into the model for a block, if there are any; afterwards it has the very weights it had."""
    own = trained(model) if ema else {}
    kept = {name: parameter.detach().clone() for name, parameter in own.items()}
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(ema.tensors[name])
    try:
        yield
    finally:
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(kept[name])
