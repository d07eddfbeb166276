"""Networks of Vista from diffusers and transformers, which are imported only when one is built: that takes seconds."""

from typing import TYPE_CHECKING

from torch import nn

from trainer.models.vista.config import AutoencoderConfig, PictureConfig, UNetConfig
from trainer.models.vista.convolution import flatten_convolutions

if TYPE_CHECKING:
    from trainer.models.vista.unet import VistaUNet

INSTALL = "pip install 'frameline[vista]'"


def make_unet(config: UNetConfig) -> "VistaUNet":
    """The network with fresh weights."""
    from trainer.models.vista.unet import VistaUNet

    return VistaUNet(config)


def make_autoencoder(config: AutoencoderConfig) -> nn.Module:
    """diffusers' AutoencoderKLTemporalDecoder with fresh weights."""
    from diffusers import AutoencoderKLTemporalDecoder

    network = AutoencoderKLTemporalDecoder(
        block_out_channels=config.widths,
        down_block_types=("DownEncoderBlock2D",) * len(config.widths),
        layers_per_block=config.blocks_per_level,
        latent_channels=config.latent_channels,
    )
    flatten_convolutions(network)
    return network


def make_picture_encoder(config: PictureConfig) -> nn.Module:
    """transformers' CLIPVisionModelWithProjection with fresh weights; ValueError where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"Vista's picture encoder needs transformers ({error}); install it: {INSTALL}") from None
    settings = transformers.CLIPVisionConfig(
        hidden_size=config.width,
        intermediate_size=config.feedforward,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        image_size=config.image_size,
        patch_size=config.patch_size,
        projection_dim=config.out_width,
        hidden_act="gelu",
    )
    return transformers.CLIPVisionModelWithProjection(settings)
