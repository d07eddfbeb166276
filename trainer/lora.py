"""Low-rank adapters: a model keeps its weights and learns a small correction of some of them (Hu et al. 2021).

Own, as peft needs transformers and accelerate, and wraps a layer's call: here models also read a layer's weight from
outside. torch's parametrizations correct the weight itself, whoever reads it.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import save
from torch import nn
from torch.nn.utils import parametrize

from shards.files import appearing, write_bytes, write_text
from trainer.config import LoraConfig

ORIGINAL, DOWN, UP = (f".parametrizations.weight.{name}" for name in ("original", "0.down", "0.up"))
"""What comes after a layer's name in the keys of an adapted model."""


class LowRank(nn.Module):
    """What is added to a weight (O, I): scale * up @ down, of which up (O, R) is zero in the beginning."""

    def __init__(self, weight: torch.Tensor, config: LoraConfig):
        super().__init__()
        num_out, num_in = weight.shape
        # Gaussian with 1 / rank as Vista's; peft calls it init_lora_weights="gaussian".
        self.down = nn.Parameter(torch.randn(config.rank, num_in, dtype=weight.dtype) / config.rank)
        self.up = nn.Parameter(torch.zeros(num_out, config.rank, dtype=weight.dtype))
        self.scale = config.alpha / config.rank

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The corrected weight (O, I)."""
        return torch.addmm(weight, self.up, self.down, alpha=self.scale)


def adapt(model: nn.Module, config: LoraConfig | None) -> nn.Module:
    """Give the model's linear layers that `config` names adapters, in place, and freeze all else; None changes nothing.

    A name is the end of a layer's name in the model, as in peft: `linear1` is `linear1` and `layers.0.linear1`. Layers
    that `config.whole` names go on learning all of their weights. What the model itself froze stays as it is. Raises
    ValueError for a name that no other linear layer has, or no layer that learns.
    """
    if config is None:
        return model
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.weight.requires_grad
    }
    chosen = {}
    for suffix in config.modules:
        found = {name: layer for name, layer in layers.items() if f".{name}".endswith(f".{suffix}")}
        if not found:
            some = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers})[:8])
            raise ValueError(f"training.lora.modules: no linear layer is called '{suffix}'; there are such as {some}")
        chosen |= found
    whole = [parameter for suffix in config.whole for parameter in _learned_in(model, suffix)]
    model.requires_grad_(False)
    for parameter in whole:
        parameter.requires_grad_(True)
    for name in layers:  # in the model's order, whatever the recipe's is
        if name in chosen:
            parametrize.register_parametrization(chosen[name], "weight", LowRank(chosen[name].weight, config))
    return model


def _learned_in(model: nn.Module, suffix: str) -> list[nn.Parameter]:
    layers = [layer for name, layer in model.named_modules() if f".{name}".endswith(f".{suffix}")]
    found = [parameter for layer in layers for parameter in layer.parameters() if parameter.requires_grad]
    if not found:
        raise ValueError(f"training.lora.whole: no layer that learns is called '{suffix}'")
    return found


def merged(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state dict with every correction in its weight: W + scale * up @ down, under the keys of the model without.

    Of a model without adapters its state dict.
    """
    tensors = {}
    for key, value in model.state_dict().items():
        if key.endswith(ORIGINAL):
            layer = key.removesuffix(ORIGINAL)
            with torch.no_grad():
                tensors[f"{layer}.weight"] = model.get_submodule(layer).weight
        elif not key.endswith((DOWN, UP)):
            tensors[key] = value
    return tensors


def save_adapters(folder: Path, model: nn.Module, config: LoraConfig) -> int:
    """Write the adapters alone as peft keeps them, adapter_model.safetensors and adapter_config.json; their number.

    With them what learned whole beside them.
    """
    tensors = {
        f"base_model.model.{key.removesuffix(end)}.{name}.weight": value.detach().cpu().contiguous()
        for end, name in ((DOWN, "lora_A"), (UP, "lora_B"))
        for key, value in model.state_dict().items()
        if key.endswith(end)
    }
    for name, parameter in model.named_parameters():
        if config.whole and parameter.requires_grad and not name.endswith((DOWN, UP)):
            tensors[f"base_model.model.{name}"] = parameter.detach().cpu().contiguous()
    settings = {"peft_type": "LORA", "r": config.rank, "lora_alpha": config.alpha, "target_modules": config.modules}
    settings |= {"bias": "none", "fan_in_fan_out": False, "lora_dropout": 0.0, "inference_mode": True}
    settings |= {"modules_to_save": config.whole or None}
    with appearing(folder) as temporary:
        write_bytes(temporary / "adapter_model.safetensors", save(tensors, {"format": "pt"}))
        write_text(temporary / "adapter_config.json", json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return len(tensors)
