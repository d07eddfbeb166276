"""What PoseNet sees with: DINOv2 through transformers, or a small trunk of convolutions."""

from pathlib import Path

import torch
from torch import nn

from trainer.models.blade_depthnet.backbones import import_transformers
from trainer.models.blade_posenet.config import PoseNetConfig
from trainer.people.layers import ConvTrunk

TINY = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "patch_size": 14, "image_size": 126}
"""Shape of dinov2_tiny."""


class Dino(nn.Module):
    """The patch tokens of DINOv2 as a map."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.out_channels = network, network.config.hidden_size
        network.embeddings.mask_token.requires_grad_(False)  # of its own training only

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H / patch, W / patch) of normalised images (B, 3, H, W), whose sides are multiples of a patch."""
        patch = self.network.config.patch_size
        rows, columns = (side // patch for side in images.shape[-2:])
        if images.shape[-2] % patch or images.shape[-1] % patch:
            raise ValueError(
                f"DINOv2 takes images whose sides are multiples of {patch}, not {tuple(images.shape[-2:])}; set "
                "data.people.image_size=518, or another multiple"
            )
        tokens = self.network(images).last_hidden_state[:, 1:]  # without the class token
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))


def make_backbone(config: PoseNetConfig) -> nn.Module:
    """The backbone of a PoseNet: maps (B, out_channels, H', W') of normalised images (B, 3, H, W).

    Raises ValueError where transformers is not installed or the user's folder is not there.
    """
    if config.backbone == "conv_tiny":
        return ConvTrunk(config.backbone_width)
    transformers = import_transformers()
    if config.backbone == "dinov2_tiny":
        return Dino(transformers.Dinov2Model(transformers.Dinov2Config(**TINY)))
    folder = Path(config.backbone_path)
    if not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: no config.json of DINOv2 there (model.backbone_path); put the folder dinov2-large there, with "
            "config.json and model.safetensors"
        )
    return Dino(transformers.Dinov2Model.from_pretrained(folder, local_files_only=True))
