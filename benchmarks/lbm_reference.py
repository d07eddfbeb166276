"""The reference's LBM (George-Zhuang/lbm, from a checkout) for benchmarks/lbm_speed.py, with our weights.

Nothing of it is changed. What it imports and a machine may lack is stood in for: mmcv's deformable attention by the
reference's own copy of it, torchvision's ResNet-18 by the plain network without weights, and the object tracker, which
no measurement calls. einops must be installed.
"""

import importlib
import sys
import types
from pathlib import Path

import torch
from torch import nn

SETTINGS = {
    "N": 256, "T": 24, "input_size": (384, 512), "stride": 4, "num_layers": 3, "embed_dim": 256, "num_heads": 4,
    "num_levels": 4, "num_neighbors": 9, "memory_size": 12, "top_k_regions": 9, "dropout": 0.1, "lambda_cls": 3.0,
    "lambda_vis": 1.0, "lambda_reg": 1.0, "lambda_unc": 1.0, "lambda_ref": 1.0, "loss_after_query": True,
}  # fmt: skip
"""Its published recipe (lbm/configs/lbm.yaml)."""


class _Residual(nn.Module):
    """Two 3x3 convolutions beside the identity, or a strided 1x1; keys as torchvision's."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample = None
        if stride > 1:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x):
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(out + (x if self.downsample is None else self.downsample(x)))


def resnet18(weights=None) -> types.SimpleNamespace:
    """The parts of a ResNet-18 that LBM takes, in torchvision's names; without weights."""
    stages = {
        f"layer{number + 1}": nn.Sequential(_Residual(before, after, 1 + (number > 0)), _Residual(after, after, 1))
        for number, (before, after) in enumerate(((64, 64), (64, 128), (128, 256)))
    }
    stem = {"conv1": nn.Conv2d(3, 64, 7, 2, 3, bias=False), "bn1": nn.BatchNorm2d(64), "relu": nn.ReLU(inplace=True)}
    return types.SimpleNamespace(**stem, maxpool=nn.MaxPool2d(3, 2, 1), **stages)


class _Normalize:
    """torchvision.transforms.Normalize of a tensor (B, C, H, W)."""

    def __init__(self, mean, std):
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __call__(self, x):
        return (x - self.mean.to(x)) / self.std.to(x)


def stand_in(name: str, **contents) -> None:
    """Put a module of `contents` in the place of `name`, and empty packages above it where there are none."""
    parts = name.split(".")
    for depth in range(1, len(parts)):
        sys.modules.setdefault(".".join(parts[:depth]), types.ModuleType(parts[depth - 1]))
    module = sys.modules[name] = types.ModuleType(name)
    module.__dict__.update(contents)
    if len(parts) > 1:
        setattr(sys.modules[".".join(parts[:-1])], parts[-1], module)


def load(checkout: Path, state: dict[str, torch.Tensor]) -> nn.Module:
    """Its LBM_online (training forward, `init`, `online_forward`) with weights `state`, all of whose keys must match.

    Raises ValueError where `checkout` holds no lbm/models/lbm/lbm.py, or einops is missing.
    """
    if not (checkout / "lbm" / "models" / "lbm" / "lbm.py").is_file():
        raise ValueError(f"{checkout} has no lbm/models/lbm/lbm.py; clone George-Zhuang/lbm and give its folder")
    if importlib.util.find_spec("einops") is None:
        raise ValueError("the reference needs einops: pip install einops")
    # A package without the __init__.py of some versions, which import what is not there.
    sys.path.insert(0, str(checkout))
    models = types.ModuleType("lbm.models")
    models.__path__ = [str(checkout / "lbm" / "models")]
    sys.modules["lbm.models"] = models
    attention = importlib.import_module("lbm.models.lbm.msdeformattn").MultiScaleDeformableAttention
    stand_in("mmcv.ops", MultiScaleDeformableAttention=attention)
    stand_in("torchvision.transforms", Normalize=_Normalize)
    stand_in("torchvision.models", resnet18=resnet18, ResNet18_Weights=types.SimpleNamespace(DEFAULT=None))
    for name in ("lbm.models.lbm.object_tracker", "lbm.utils.object_tracker"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].LBMObjTracker = None
    models.LBM = importlib.import_module("lbm.models.lbm.lbm").LBM
    model = importlib.import_module("lbm.models.lbm_online").LBM_online(types.SimpleNamespace(**SETTINGS))
    model.visibility_treshold = model.visibility_threshold = 0.8  # spelled differently in its files
    model.load_state_dict(state, strict=True)
    return model
