"""What a PoseNet is made of. Imports no torch."""

from dataclasses import dataclass
from typing import Any

BACKBONES = ("dinov2", "dinov2_tiny", "conv_tiny")
"""DINOv2 from a folder of the user's, the same class small and untrained, and a small trunk of convolutions."""
DEPTHS = ("predicted", "none", "oracle")
"""Which depth the pose is made for: DepthNet's, none at all, or the true one (an upper bound).

YAML reads the word true as a boolean."""


@dataclass(frozen=True, kw_only=True)
class PoseNetConfig:
    """Backbone, decoder and heads of a PoseNet, where its depth is from, and what its losses weigh."""

    backbone: str = "dinov2"
    backbone_path: str | None = None
    """Folder of dinov2: model.safetensors and config.json as transformers reads them. Nothing is downloaded."""
    backbone_width: int = 24
    """conv_tiny: channels of its finest level; it gives twice as many."""
    backbone_from_depthnet: bool = False
    """Begin with the backbone and the joint maps of the DepthNet that init_from brings; both have the same backbone."""
    depth: str = "predicted"
    depthnet: dict[str, Any] | None = None
    """The `model` section of the DepthNet whose weights init_from brings. Where depth is `none` it answers the depth
    that the pose is told nothing of; null: this PoseNet says none. Not used where depth is `oracle`."""
    depth_noise: float = 0.1
    """In training the depth is multiplied by exp of a normal number of this deviation."""
    dim: int = 256
    token_size: int | None = None
    """The maps are averaged to so many tokens a side for the decoder; null: all of them."""
    num_layers: int = 6
    num_heads: int = 8
    feedforward: int = 1024
    head_width: int = 512
    num_joints: int = 22
    num_shapes: int = 10
    """Shape coefficients of the body file."""
    num_vertices: int | None = None
    """So many vertices, evenly spread over their numbers, count in the loss; null: all."""
    lambda_root: float = 1.0
    lambda_pose: float = 1.0
    """Geodesic angles in radians: of the pelvis, and the mean over the other joints."""
    lambda_shape: float = 1.0
    lambda_joints: float = 5.0
    lambda_vertices: float = 5.0
    """L1 in metres from the pelvis."""
    lambda_places: float = 1.0
    """L1 of the joints in the picture, shares of the crop's side: theirs the camera is solved from."""
    lambda_heat: float = 0.2
    lambda_seen: float = 0.1

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"model.backbone={self.backbone}; known: {', '.join(BACKBONES)}")
        if self.depth not in DEPTHS:
            raise ValueError(f"model.depth={self.depth}; known: {', '.join(DEPTHS)}")
        if self.depth == "predicted" and not self.depthnet:
            raise ValueError(
                "model.depth=predicted needs the section model.depthnet, or set model.depth to none or oracle"
            )
        if self.depth_noise < 0:
            raise ValueError(f"model.depth_noise={self.depth_noise} must be at least 0")
        if self.backbone == "dinov2" and not self.backbone_path:
            raise ValueError(
                "model.backbone=dinov2 reads a folder of yours: set model.backbone_path (DINOv2 in the format of "
                "transformers, with config.json and model.safetensors)"
            )
        if self.dim % self.num_heads:
            raise ValueError(f"model.dim={self.dim} must be a multiple of model.num_heads={self.num_heads}")
