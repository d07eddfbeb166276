"""Networks of Vista from diffusers, which is imported here alone and only when one is built."""

from types import ModuleType
from typing import TYPE_CHECKING

from trainer.models.vista.config import UNetConfig

if TYPE_CHECKING:
    from trainer.models.vista.unet import VistaUNet


def make_unet(config: UNetConfig) -> "VistaUNet":
    """The network with fresh weights; ValueError where diffusers is not installed."""
    import_diffusers()
    from trainer.models.vista.unet import VistaUNet

    return VistaUNet(config)


def import_diffusers() -> ModuleType:
    """The package diffusers; ValueError with the command that installs it."""
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(f"Vista needs diffusers ({error}); install it: pip install 'frameline[vista]'") from None
    return diffusers
