"""What a Vista network is made of. The defaults are Stable Video Diffusion's sizes. Imports no torch."""

from dataclasses import dataclass

GROUPS = 32
"""Of the group norms in diffusers' blocks."""


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Sizes of the UNet, and how it takes actions."""

    widths: tuple[int, ...] = (320, 640, 1280, 1280)
    """Channels of each level, finest first; each level has half the cells a side of the one before."""
    attending: tuple[bool, ...] = (True, True, True, False)
    """Which levels have attention."""
    blocks_per_level: int = 2
    head_width: int = 64
    in_channels: int = 8
    """Noisy latent and condition latent."""
    out_channels: int = 4
    context_width: int = 1024
    """Of the picture's token."""
    id_width: int = 256
    """Of the sinusoid of each of a clip's three numbers: frames a second less 1, motion, noise on the condition."""
    num_frames: int = 25
    with_actions: bool = True
    """Phase 1 has none."""
    frame_values: int = 0
    """How many numbers tell each frame's motion, by its time embedding; the reference has none. A token tells all
    frames the same, and what differs between them has to be learned; this tells each its own."""
    scales: bool = False
    """What layers within frames are told (noise, motion) multiplies their channels too, and is not only added to them
    (the reference): so a layer does this or that with what it sees. No published names either."""
    recompute: str = "none"
    """What the backward pass computes again instead of keeping it: `none`, or `layer`, a residual block and its
    attention at a time."""
    action_tokens: str = "concat"
    """concat: actions are a part of the picture's token (the reference); separate: each kind is a token of its own."""

    @property
    def has_published_names(self) -> bool:
        """Whether files of others have all of its weights."""
        return not self.frame_values and not self.scales

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.attending) or not self.widths:
            raise ValueError(f"model.widths={list(self.widths)}, attending={list(self.attending)}: one each a level")
        for width in self.widths:
            if width % GROUPS or width % self.head_width:
                raise ValueError(
                    f"model.widths={list(self.widths)}: each must be a multiple of {GROUPS} (group norm) and of "
                    f"model.head_width={self.head_width}"
                )
        if self.recompute not in ("none", "layer"):
            raise ValueError(f"model.recompute={self.recompute}; use none or layer")
        if self.action_tokens not in ("concat", "separate"):
            raise ValueError(f"model.action_tokens={self.action_tokens}; use concat or separate")


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Sizes of the autoencoder between frames and latents, whose decoder sees neighbouring frames."""

    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Channels of each level, finest first; a cell is 2 ** (levels - 1) pixels a side."""
    blocks_per_level: int = 2
    """The published have 2, and so have their middles."""
    latent_channels: int = 4


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """Sizes of the tower that makes a picture one token: OpenCLIP's ViT-H-14."""

    width: int = 1280
    feedforward: int = 5120
    num_layers: int = 32
    num_heads: int = 16
    image_size: int = 224
    patch_size: int = 14
    out_width: int = 1024


PRESETS = {
    "svd": UNetConfig(),
    "small": UNetConfig(
        widths=(64, 128), attending=(True, True), blocks_per_level=1, head_width=32, context_width=64, id_width=32
    ),
    "tiny": UNetConfig(
        widths=(32, 64), attending=(True, True), blocks_per_level=1, head_width=16, context_width=24, id_width=32
    ),
    "pixels": UNetConfig(
        widths=(32, 64), attending=(False, True), blocks_per_level=1, head_width=16, context_width=24, id_width=32,
        in_channels=6, out_channels=3,
    ),
}  # fmt: skip
"""svd: Vista's own, 1.65 billion parameters with actions; the others train on a CPU, `pixels` on frames as they are."""
FROZEN = {
    "svd": (AutoencoderConfig(), PictureConfig()),
    "tiny": (
        AutoencoderConfig(widths=(32, 32, 32, 32), blocks_per_level=1),
        PictureConfig(width=32, feedforward=64, num_layers=1, num_heads=2, image_size=28, patch_size=14, out_width=24),
    ),
}
"""The frozen networks between frames and latents: Stable Video Diffusion's, and sizes for tests."""
