"""Batch norm over the clips of all processes: torch's own on GPUs, and the same sums on CPU, where torch has none."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.nn.functional import all_reduce


class CpuSyncBatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d whose training statistics are those of all processes of the group; the state dict is the same."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Normalise maps (B, C, H, W); in training every process has to call it, with any B."""
        if not (self.training and dist.is_initialized()):
            return super().forward(maps)
        # Two passes: the variance as a difference of large sums would lose digits.
        count = maps.new_tensor(float(maps.numel() // maps.shape[1]))
        total = all_reduce(torch.cat([maps.sum((0, 2, 3)), count[None]]))  # (C + 1,)
        count = total[-1]
        mean = total[:-1] / count
        centred = maps - mean[:, None, None]
        variance = all_reduce(centred.square().sum((0, 2, 3))) / count  # (C,)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def synchronise_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Let every nn.BatchNorm2d of a model on `device` take its statistics over all processes; parameters are the same.

    Raises ValueError for a device that neither implementation serves.
    """
    if device.type not in ("cuda", "cpu"):
        raise ValueError(f"training.sync_batch_norm=true works on cuda and cpu, not on {device.type}; use false")
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, _synced(child, device))


def _synced(norm: nn.BatchNorm2d, device: torch.device) -> nn.Module:
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(norm)
    synced = CpuSyncBatchNorm(norm.num_features, norm.eps, norm.momentum, dtype=norm.weight.dtype)
    synced.load_state_dict(norm.state_dict())
    synced.weight, synced.bias = norm.weight, norm.bias
    return synced.train(norm.training)
