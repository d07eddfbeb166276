"""Weights of others: what torch.save or safetensors wrote, in one file or many -> a state dict with the published keys.

Nothing in the file is executed: torch's own restricted unpickler reads it, and of foreign classes it may only make
argparse.Namespace, which the training checkpoints of LBM's reference hold beside the weights (its `args`).
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

NESTED_UNDER = ("model", "state_dict")
"""Where a checkpoint keeps its state dict; a file may also be the state dict itself."""
PREFIXES = ("module.", "_orig_mod.", "_forward_module.")
"""What DistributedDataParallel, torch.compile and Lightning's DeepSpeed put before every key, once for each time they
wrapped the model."""
INDEX = ".index.json"
FILES_OF_A_FOLDER = (f"model.safetensors{INDEX}", "model.safetensors", f"pytorch_model.bin{INDEX}", "pytorch_model.bin")
"""What holds the weights of a folder, of which the first is taken. DeepSpeed's zero_to_fp32 makes such folders."""


def read_published(path: Path, beginnings: tuple[str, ...] = ("",)) -> dict[str, torch.Tensor]:
    """The state dict of a torch or .safetensors file, without the prefixes of wrappers: keys that begin so, or all.

    Also of many files: of an .index.json beside them, which says in which each key is, or of the folder of either.
    Raises ValueError for a file that cannot be read, that asks for code, or that holds no finite state dict.
    """
    content = _read(_file_of(path), beginnings)
    for name in NESTED_UNDER:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
            break
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: holds no weights: neither a state dict nor one under {' or '.join(NESTED_UNDER)}")
    tensors: dict[str, torch.Tensor] = {}
    for key, value in content.items():
        name = _without_prefixes(str(key))
        if not name.startswith(beginnings):
            continue
        if not isinstance(value, torch.Tensor):
            raise ValueError(f"{path}: '{key}' is a {type(value).__name__}, no tensor; this is no state dict")
        if name in tensors:
            raise ValueError(f"{path}: two keys are '{name}' without the prefixes {' and '.join(PREFIXES)}")
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{path}: '{key}' holds NaN or infinite values; take an earlier checkpoint")
        tensors[name] = value
    return tensors


def _file_of(path: Path) -> Path:
    if not path.is_dir():
        return path
    found = [path / name for name in FILES_OF_A_FOLDER if (path / name).is_file()]
    if not found:
        raise ValueError(f"{path}: a folder without {' or '.join(FILES_OF_A_FOLDER)}; name the file of the weights")
    return found[0]


def _read(path: Path, beginnings: tuple[str, ...] = ("",)) -> Any:
    if path.name.endswith(INDEX):
        return _read_indexed(path)
    return _read_safetensors(path, beginnings) if path.suffix == ".safetensors" else _read_torch(path)


def _read_indexed(path: Path) -> dict[str, torch.Tensor]:
    """The keys of an index, each from the file beside it that the index names."""
    try:
        files = dict(json.loads(path.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path}: no index of weights: expected JSON with a weight_map; fetch it again") from None
    contents = {}
    for name in sorted(set(map(str, files.values()))):
        if Path(name).name != name or name.endswith(INDEX):
            raise ValueError(f"{path}: refused: weight_map names '{name}', which is no file beside it")
        if not (path.parent / name).is_file():
            raise ValueError(f"{path}: the file {name} is missing; fetch it again")
        contents[name] = _read(path.parent / name)
    if not all(isinstance(content, dict) for content in contents.values()):
        raise ValueError(f"{path}: not all of its files hold a state dict")
    held = {(key, name) for name, content in contents.items() for key in content}
    wrong = sorted(f"'{key}' in {name}" for key, name in held ^ set(files.items()))
    if wrong:
        raise ValueError(f"{path}: files and weight_map disagree: {'; '.join(wrong[:3])}; fetch all of them again")
    return {key: contents[name][key] for key, name in files.items()}


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


def _read_safetensors(path: Path, beginnings: tuple[str, ...]) -> dict[str, torch.Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            keys = [key for key in file.keys() if _without_prefixes(key).startswith(beginnings)]  # noqa: SIM118
            return {key: file.get_tensor(key) for key in keys}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error}); fetch it again") from None
