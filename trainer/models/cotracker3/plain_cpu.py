"""Where the formulations for a CPU apply: torch's own serve other devices, half precision and exported graphs."""

import torch


def is_plain_cpu(x: torch.Tensor) -> bool:
    """Whether x lies in a CPU's memory and is computed with here and now, in its own precision."""
    return x.device.type == "cpu" and not torch.is_autocast_enabled("cpu") and not torch.compiler.is_compiling()
