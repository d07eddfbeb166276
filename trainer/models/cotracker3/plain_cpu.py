"""Where the formulations for a CPU apply: torch's own serve other devices and half precision."""

import torch


def is_plain_cpu(x: torch.Tensor) -> bool:
    """Whether x lies in a CPU's memory and is computed with in its own precision."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
