"""Weights of others: a file that torch.save or safetensors wrote -> a state dict with the published keys.

Nothing in the file is executed: torch's own restricted unpickler reads it, and of foreign classes it may only make
argparse.Namespace, which the training checkpoints of LBM's reference hold beside the weights (its `args`).
"""

import argparse
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

NESTED_UNDER = ("model", "state_dict")
"""Where a checkpoint keeps its state dict; a file may also be the state dict itself."""
PREFIXES = ("module.", "_orig_mod.")
"""What DistributedDataParallel and torch.compile put before every key, once for each time they wrapped the model."""


def read_published(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a .pt or .safetensors file, without the prefixes of wrappers.

    Raises ValueError for a file that cannot be read, that asks for code, or that holds no finite state dict.
    """
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    for name in NESTED_UNDER:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: holds no weights: neither a state dict nor one under {' or '.join(NESTED_UNDER)}")
    tensors: dict[str, torch.Tensor] = {}
    for key, value in content.items():
        name = _without_prefixes(str(key))
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{path}: '{key}' is a {type(value).__name__}, no tensor; this is no state dict")
        if name in tensors:
            raise ValueError(f"{path}: two keys are '{name}' without the prefixes {' and '.join(PREFIXES)}")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: '{key}' holds NaN or infinite values; take an earlier checkpoint")
        tensors[name] = value
    return tensors


def _without_prefixes(key: str) -> str:
    while key.startswith(PREFIXES):
        key = key[len(next(prefix for prefix in PREFIXES if key.startswith(prefix))) :]
    return key


def _read_torch(path: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # damaged files raise anything
        asked = re.search(r"(?:GLOBAL|class|function) ([\w.]+\.[\w.]+)", str(error))
        if asked:
            reason = f"asks for {asked[1]}, and only tensors and plain values are read; save the state dict alone"
        else:
            reason = f"not a readable torch file ({type(error).__name__}); fetch it again"
        raise ValueError(f"{path}: refused: {reason}") from None


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); fetch it again") from None
