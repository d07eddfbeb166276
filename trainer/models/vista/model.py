"""Vista as it is trained and used: the network, the space that it works in, and clips made from their first frames.

Legend: B clips, T frames, H W pixels, C h w channels and cells of the space that the network works in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from trainer.models.vista.build import make_autoencoder, make_picture_encoder, make_unet
from trainer.models.vista.conditions import Condition, describe
from trainer.models.vista.config import FROZEN
from trainer.models.vista.edm import karras_sigmas
from trainer.models.vista.latents import (
    continue_condition,
    decode_latents,
    encode_condition,
    encode_frames,
    encode_pictures,
)
from trainer.models.vista.recipe import VistaConfig
from trainer.models.vista.sampler import GUIDANCE, NUM_CARRIED, make_clips

Batch = Mapping[str, torch.Tensor]
"""Windows as trainer.driving.samples makes them, B of them stacked."""


class Vista(nn.Module):
    """A driving world model with fresh weights; ValueError for one of latents where transformers is not installed.

    `unet` learns; of a model of latents `autoencoder` and `tower` are frozen, and part of its weights, so that these
    need no other file. Of one of pixels both are None.
    """

    def __init__(self, config: VistaConfig):
        super().__init__()
        self.config = config
        self.unet = make_unet(config.unet)
        self.autoencoder = self.tower = None
        if config.space == "latents":
            autoencoder, tower = FROZEN[config.frozen]
            self.autoencoder = make_autoencoder(autoencoder).requires_grad_(False)
            self.tower = make_picture_encoder(tower).requires_grad_(False)

    def to_space(self, frames: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """(B, T, C, h, w) of frames (B, T, 3, H, W) in [-1, 1]: the frames, or latents drawn from the generator (on the
        frames' device), without one their modes."""
        if self.autoencoder is None:
            return frames
        with torch.no_grad(), _in_full_precision(frames):
            return encode_frames(self.autoencoder, frames, generator)

    def to_frames(self, clips: torch.Tensor) -> torch.Tensor:
        """The inverse: frames (B, T, 3, H, W), about in [-1, 1]."""
        if self.autoencoder is None:
            return clips
        with torch.no_grad(), _in_full_precision(clips):
            return decode_latents(self.autoencoder, clips)

    def condition(self, batch: Batch) -> Condition:
        """What windows are made from besides noise: their first frames, and what the driver does.

        Without autoencoder the first frame goes beside each noisy one, and its token is zero.
        """
        first = scale_frames(batch["frames"][:, :1])[:, 0]
        if self.autoencoder is None:
            token, latent = first.new_zeros(len(first), self.config.unet.context_width), first
        else:
            with torch.no_grad(), _in_full_precision(first):
                token, latent = encode_pictures(self.tower, first), encode_condition(self.autoencoder, first)
        motion = None
        if self.config.unet.frame_values:
            motion = (add_up(batch["motion"], self.config.motion_factors), batch["moves"])
        found = describe(token, latent, (batch["values"], batch["present"]), motion=motion)
        start = latent if self.config.around_first else None
        return replace(
            found, start=start, ids=torch.cat([batch["fps"].to(found.ids)[:, None] - 1, found.ids[:, 1:]], dim=1)
        )

    def continued(self, condition: Condition, carried: torch.Tensor) -> Condition:
        """The condition of a round that begins with the last frames (B, n, C, h, w) of the one before."""
        if self.autoencoder is None:
            start = None if condition.start is None else carried[:, 0]
            return replace(condition, latent=carried[:, 0], start=start)
        with torch.no_grad(), _in_full_precision(carried):
            return continue_condition(self.autoencoder, self.tower, condition, carried)

    def make(
        self,
        batch: Batch,
        num_steps: int,
        generator: torch.Generator,
        *,
        guidance: float = GUIDANCE,
        schedule: str = "constant",
        num_given: int = 1,
    ) -> torch.Tensor:
        """Windows' frames (B, T, 3, H, W) in [-1, 1] as the model makes them, told what the batch says.

        Of the batch's frames the first `num_given` are seen. Noise is drawn from the generator alone; guidance 1 asks
        the network once a step, and not twice.
        """
        frames = batch["frames"]
        settings = {"guidance": guidance, "schedule": schedule}
        given = {**batch, "frames": frames[:, :num_given]}
        clips = self.roll_out([given], frames.shape[1], num_steps, generator, **settings)
        return self.to_frames(clips).clamp(-1, 1)

    def roll_out(
        self,
        rounds: Sequence[Batch],
        num_frames: int,
        num_steps: int,
        generator: torch.Generator | Sequence[torch.Generator],
        *,
        guidance: float = GUIDANCE,
        schedule: str | None = None,
        num_carried: int = NUM_CARRIED,
    ) -> torch.Tensor:
        """Clips (B, R * (T - n) + n, C, h, w) of R rounds of T = num_frames, each begun with the last n = num_carried
        of the one before, and told what its batch says.

        `frames` of each batch are those that the first round is given, all of them. schedule None: as make_clips.
        """
        first = self.to_space(scale_frames(rounds[0]["frames"]))
        return make_clips(
            self.unet,
            [self.condition(batch) for batch in rounds],
            first,
            num_frames,
            self.sigmas(num_steps).to(first.device),
            generator,
            continued=self.continued,
            num_carried=num_carried,
            schedule=schedule,
            guidance=guidance,
            tokens=self.config.tokens,
            sigma_data=self.config.objective.sigma_data,
        )

    def sigmas(self, num_steps: int) -> torch.Tensor:
        """Noise levels (num_steps + 1,) to sample at."""
        return karras_sigmas(num_steps, smallest=self.config.smallest_sigma, largest=self.config.largest_sigma)


def scale_frames(frames: torch.Tensor) -> torch.Tensor:
    """Frames uint8 as float32 in [-1, 1]."""
    return frames.float() / 127.5 - 1


def add_up(motion: torch.Tensor, factors: tuple[float, float]) -> torch.Tensor:
    """(B, T, 2): how far each frame is from the first, of the changes since the frame before (B, T, 2), times factors.

    What a frame looks like follows from the sum, which the network need not form; a network reads numbers of about 1.
    """
    sums = torch.cat([torch.zeros_like(motion[:, :1]), motion[:, 1:]], dim=1).cumsum(1)
    return sums * sums.new_tensor(factors)


def _in_full_precision(like: torch.Tensor) -> torch.autocast:
    """The frozen networks run without mixed precision, as in the reference."""
    return torch.autocast(like.device.type, enabled=False)
