"""What a DepthNet is made of. The defaults are the paper's. Imports no torch."""

from dataclasses import dataclass

from shards.people.skeleton import JOINTS

BACKBONES = ("dav2_metric_l", "dav2_tiny", "conv_tiny")
"""Depth Anything V2 metric (large, from a folder of the user's, frozen), the same class small and untrained, and a
small trunk of convolutions."""


@dataclass(frozen=True, kw_only=True)
class DepthNetConfig:
    """Backbone, interface, decoder and head of a DepthNet, and what its losses weigh."""

    backbone: str = "dav2_metric_l"
    backbone_path: str | None = None
    """Folder of dav2_metric_l: model.safetensors and config.json as transformers reads them. Nothing is downloaded."""
    backbone_width: int = 24
    """conv_tiny: channels of its finest level; it gives twice as many."""
    map_size: int | None = 224
    """The backbone's map is resized to so many cells a side; null: as it comes."""
    interface_width: int = 256
    """Channels of the two convolutions of stride 2 between backbone and decoder, and of the decoder."""
    num_layers: int = 2
    num_heads: int = 4
    feedforward: int = 1024
    max_depth_m: float = 10.0
    """The answer is a sigmoid's share of it."""
    start_depth_m: float | None = None
    """What an untrained head answers; null: half of max_depth_m."""
    num_joints: int = 0
    """Joints in the picture that are estimated beside the depth, and that it is concluded from; 0: none (the paper)."""
    with_geometry: bool = False
    """Tell the head where the crop lies in the picture and how large it is (never the focal length)."""
    answers_mirrored: bool = False
    """What is answered is the mean of what is said of a crop and of its mirror image (never in training)."""
    head_width: int = 256
    """Hidden width of the head, where it reads joints or geometry; the paper's is one linear layer."""
    loss: str = "relative"
    """relative: |z - true| / true (the paper); log: |log z - log true|, whose best guess is the median."""
    lambda_depth: float = 1.0
    lambda_joints: float = 0.0
    """Weight of the joints' L1 distance, a share of the crop's side."""
    lambda_heat: float = 0.0
    """Weight of the cross-entropy of the joints' heat maps, which they learn from sooner than from their mean place."""
    lambda_seen: float = 0.0
    """Weight of the cross-entropy of which joints are seen."""

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ValueError(f"model.backbone={self.backbone}; known: {', '.join(BACKBONES)}")
        if self.loss not in ("relative", "log"):
            raise ValueError(f"model.loss={self.loss}; use relative or log")
        if self.backbone == "dav2_metric_l" and not self.backbone_path:
            raise ValueError(
                "model.backbone=dav2_metric_l reads a folder of yours: set model.backbone_path (Depth Anything V2 "
                "Metric Indoor Large in the format of transformers, with config.json and model.safetensors)"
            )
        if self.interface_width % self.num_heads:
            raise ValueError(
                f"model.interface_width={self.interface_width} must be a multiple of model.num_heads={self.num_heads}"
            )
        if self.start_depth_m is not None and not 0 < self.start_depth_m < self.max_depth_m:
            raise ValueError(f"model.start_depth_m={self.start_depth_m} must lie between 0 and {self.max_depth_m}")
        if not self.num_joints and (self.lambda_joints or self.lambda_seen):
            raise ValueError("model.lambda_joints and lambda_seen need joints: set model.num_joints=22, or them to 0.0")
        if self.answers_mirrored and self.num_joints not in (0, len(JOINTS)):
            raise ValueError(
                f"model.answers_mirrored knows the other side of {len(JOINTS)} joints, not of {self.num_joints}"
            )
        if self.num_joints and not self.lambda_joints:
            raise ValueError("model.num_joints without model.lambda_joints: nothing would teach the joints")
