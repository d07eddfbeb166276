"""The `model` section of a recipe of Vista."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from trainer.models.vista.config import FROZEN, PRESETS, UNetConfig
from trainer.models.vista.objective import ObjectiveConfig
from trainer.strict import build, suggestion

SPACES = ("latents", "pixels")


@dataclass(frozen=True, kw_only=True)
class VistaConfig:
    """A network, what it works on, and how it learns."""

    unet: UNetConfig
    """Of a recipe: keys that differ from the preset's."""
    objective: ObjectiveConfig = dataclasses.field(default_factory=ObjectiveConfig)
    preset: str = "svd"
    """Sizes of the network: svd, small, tiny or pixels (trainer/models/vista/config.py)."""
    space: str = "latents"
    """latents: of the frozen autoencoder, with the frozen tower's token of the first frame; pixels: frames as they are,
    without a token."""
    frozen: str = "svd"
    """Sizes of autoencoder and tower: svd or tiny."""
    published: str | None = None
    """The file that a training without init_from begins with: svd_xt.safetensors or vista.safetensors, which are yours
    to put there (nothing is downloaded). null: fresh weights."""
    published_unet: bool = True
    """false: of that file autoencoder and tower alone, for a network of other sizes."""
    largest_sigma: float = 700.0
    """Noise level at which sampling begins."""
    smallest_sigma: float = 0.002
    around_first: bool = False
    """Noise is taken off what changes since the first frame, and not off frames: where a network knows nothing it says
    the first frame, which a small one then need not learn. For pixels; objective.sigma_data is that of changes.
    The reference has no such."""
    motion_factors: tuple[float, float] = (1.0, 20.0)
    """With unet.frame_values=2 each frame is told how far the camera has moved since the first, metres, and how far it
    has turned to the left, radians, times these."""

    def __post_init__(self) -> None:
        for name, known in (("preset", PRESETS), ("space", SPACES), ("frozen", FROZEN)):
            if getattr(self, name) not in known:
                raise ValueError(f"model.{name}={getattr(self, name)}: {suggestion(getattr(self, name), known)}")
        if self.unet.frame_values not in (0, 2):
            raise ValueError(f"model.unet.frame_values={self.unet.frame_values}: use 2 (moved, turned), or 0 for none")
        if self.around_first and self.space != "pixels":
            raise ValueError("model.around_first=true is for model.space=pixels; set it to false")
        if not 0 < self.smallest_sigma < self.largest_sigma:
            raise ValueError(f"model.smallest_sigma={self.smallest_sigma} must be above 0 and below largest_sigma")
        channels = self.channels
        if (self.unet.in_channels, self.unet.out_channels) != (2 * channels, channels):
            raise ValueError(
                f"model.space={self.space} takes model.unet.in_channels={2 * channels} and out_channels={channels}; "
                f"model.preset={self.preset} has {self.unet.in_channels} and {self.unet.out_channels}"
            )
        if self.space == "latents" and self.unet.context_width != FROZEN[self.frozen][1].out_width:
            raise ValueError(
                f"model.unet.context_width={self.unet.context_width}, but tokens of model.frozen={self.frozen} have "
                f"{FROZEN[self.frozen][1].out_width}; set it to that"
            )

    @property
    def channels(self) -> int:
        """Of a frame in the space that the network works in."""
        return 3 if self.space == "pixels" else FROZEN[self.frozen][0].latent_channels

    @property
    def tokens(self) -> str | None:
        """How actions are told: concat or separate; None for a network without."""
        return self.unet.action_tokens if self.unet.with_actions else None

    @property
    def cell(self) -> int:
        """Pixels of a side of a cell of the space that the network works in."""
        return 1 if self.space == "pixels" else 2 ** (len(FROZEN[self.frozen][0].widths) - 1)

    def check_size(self, height: int, width: int, where: str) -> None:
        """Raise ValueError for frames, pixels, that a model of latents cannot take; `where` says who asks for them."""
        side = self.cell * 2 ** (len(self.unet.widths) - 1)
        if self.space == "latents" and (height % side or width % side):
            raise ValueError(
                f"{where}: frames of {height}x{width}; this model takes sides that are multiples of {side}"
            )


def read_config(values: dict[str, Any]) -> VistaConfig:
    """The config of a recipe's `model` section; ValueError for unknown keys, with the closest known one."""
    values = {key: value for key, value in values.items() if key != "name"}
    preset, changes = values.get("preset", "svd"), values.get("unet") or {}
    if preset not in PRESETS:
        raise ValueError(f"model.preset={preset}: {suggestion(str(preset), PRESETS)}")
    if not isinstance(changes, dict):
        raise ValueError(f"model.unet={changes!r}: expected a mapping of keys that differ from the preset's")
    sizes = dataclasses.asdict(PRESETS[preset]) | changes
    return build(VistaConfig, values | {"unet": sizes, "objective": values.get("objective") or {}}, "model")
