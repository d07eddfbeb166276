"""What DepthNet sees with: Depth Anything V2 through transformers, or a small trunk of convolutions."""

from pathlib import Path

import torch
from torch import nn

from trainer.models.blade_depthnet.config import DepthNetConfig
from trainer.people.layers import ConvTrunk

PATCH = 14
"""Depth Anything's sides of a patch, pixels: images must be a multiple of it."""
TINY = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 4, "features": 32}
"""Shape of dav2_tiny."""


class DepthAnything(nn.Module):
    """The finest fusion map of Depth Anything V2's DPT head (its features, not its depth)."""

    def __init__(self, network: nn.Module, *, is_frozen: bool):
        super().__init__()
        self.network, self.is_frozen = network, is_frozen
        self.out_channels = network.config.fusion_hidden_size
        # What takes no part in the map, so that no process waits for its gradients:
        first = network.neck.fusion_stage.layers[0]  # nothing comes before it that it could add
        for unused in (network.head, first.residual_layer1, network.backbone.embeddings.mask_token):
            unused.requires_grad_(False)
        if is_frozen:
            network.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "DepthAnything":
        """Set the mode; a frozen network stays in that of evaluation."""
        super().train(mode)
        if self.is_frozen:
            self.network.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Maps (B, C, H', W') of normalised images (B, 3, H, W), whose sides are multiples of 14."""
        if images.shape[-1] % PATCH or images.shape[-2] % PATCH:
            raise ValueError(
                f"Depth Anything takes images whose sides are multiples of {PATCH}, not {tuple(images.shape[-2:])}; "
                "set data.people.image_size=518, or another multiple"
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            encoded = self.network.backbone.forward_with_filtered_kwargs(images)
            rows, columns = (side // PATCH for side in images.shape[-2:])
            return self.network.neck(encoded.feature_maps, rows, columns)[-1]


def make_backbone(config: DepthNetConfig) -> nn.Module:
    """The backbone of a DepthNet: maps (B, out_channels, H', W') of normalised images (B, 3, H, W).

    Raises ValueError where transformers is not installed or the user's folder is not there.
    """
    if config.backbone == "conv_tiny":
        return ConvTrunk(config.backbone_width)
    transformers = import_transformers()
    if config.backbone == "dav2_metric_l":
        folder = Path(config.backbone_path)
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"{folder}: no config.json of Depth Anything V2 there (model.backbone_path); put the folder "
                "Depth-Anything-V2-Metric-Indoor-Large-hf there, with config.json and model.safetensors"
            )
        network = transformers.DepthAnythingForDepthEstimation.from_pretrained(folder, local_files_only=True)
        return DepthAnything(network, is_frozen=True)
    layers = TINY["num_hidden_layers"]
    encoder = transformers.Dinov2Config(
        hidden_size=TINY["hidden_size"], num_hidden_layers=layers, num_attention_heads=TINY["num_attention_heads"],
        image_size=PATCH * 9, patch_size=PATCH, reshape_hidden_states=False,
        out_indices=list(range(1, layers + 1)), apply_layernorm=True,
    )  # fmt: skip
    settings = transformers.DepthAnythingConfig(
        backbone_config=encoder, patch_size=PATCH, reassemble_hidden_size=TINY["hidden_size"],
        neck_hidden_sizes=[TINY["features"]] * 4, fusion_hidden_size=TINY["features"], head_hidden_size=16,
        reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    return DepthAnything(transformers.DepthAnythingForDepthEstimation(settings), is_frozen=False)


def import_transformers():
    """The package transformers; ValueError with the command that installs it."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError(
            f"this backbone needs transformers ({error}); install it: pip install 'frameline[blade]'"
        ) from None
    return transformers
