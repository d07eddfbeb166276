"""What a clip is made from besides noise: a picture's token and latent, actions, and three numbers.

Legend: B clips, T frames, C channels of a latent, H W its cells, D width of a picture's token, A of an action's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from trainer.models.vista.actions import ACTIONS, NUM_FEATURES, NUM_VALUES, drop_actions, encode_actions, sinusoids
from trainer.models.vista.edm import denoise

DROP_RATE = 0.15
"""How often training leaves out the token, the latent and each action, each for itself: for guidance when sampling."""
MOTION = 127.0
"""The number that stands for an amount of motion, which Vista keeps as it is."""
Network = Callable[..., torch.Tensor]
"""A VistaUNet, or what is called like one."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Of B clips: the first frame's token (B, D) and latent (B, C, H, W), actions (B, 19) where present (B, 5), and
    ids (B, 3). The latent is the mode of the autoencoder, without the factor that scales latents of videos.

    For a network with `frame_values` also motion (B, T, K), numbers of each frame, of the clips of `moves` (B,).
    `start` (B, C, H, W) is what clips are taken to be where the network says nothing, None: zero; never left out."""

    token: torch.Tensor
    latent: torch.Tensor
    actions: torch.Tensor
    present: torch.Tensor
    ids: torch.Tensor
    motion: torch.Tensor | None = None
    moves: torch.Tensor | None = None
    start: torch.Tensor | None = None


def describe(
    token: torch.Tensor,
    latent: torch.Tensor,
    actions: tuple[torch.Tensor, torch.Tensor] | None = None,
    *,
    motion: tuple[torch.Tensor, torch.Tensor] | None = None,
    frames_per_second: float = 10.0,
) -> Condition:
    """The condition of clips with a first frame's token (B, D) and latent (B, C, H, W).

    `actions` are values (B, 19) and presence (B, 5) of `pack_actions`; None: no actions. `motion` are numbers
    (B, T, K), of which a step of 1 makes a difference, and which clips have them (B,). Raises ValueError where the
    numbers of clips differ.
    """
    num = len(token)
    none = (token.new_zeros(num, NUM_VALUES), torch.zeros(num, len(ACTIONS), dtype=torch.bool, device=token.device))
    values, present = actions if actions is not None else none
    if {len(latent), len(values), len(present), *map(len, motion or ())} != {num}:
        raise ValueError(
            f"{num} tokens, {len(latent)} latents and {len(values)} rows of actions: one each a clip is needed"
        )
    ids = torch.tensor([frames_per_second - 1, MOTION, 0.0], device=token.device).expand(num, 3)
    moved, moves = motion or (None, None)
    return Condition(token=token, latent=latent, actions=values, present=present, ids=ids, motion=moved, moves=moves)


def without(condition: Condition) -> Condition:
    """The condition with all zero but its ids: what guidance leads away from."""
    return replace(
        condition,
        token=torch.zeros_like(condition.token),
        latent=torch.zeros_like(condition.latent),
        present=torch.zeros_like(condition.present),
        moves=None if condition.moves is None else torch.zeros_like(condition.moves),
    )


def drop(condition: Condition, rate: float, generator: torch.Generator) -> Condition:
    """The condition with token, latent and each action left out at a rate, each clip's and each of them for itself."""
    num, device = len(condition.token), condition.token.device
    kept = torch.rand(2, num, generator=generator, device=generator.device).to(device) >= rate
    return replace(
        condition,
        token=condition.token * kept[0][:, None],
        latent=condition.latent * kept[1][:, None, None, None],
        present=drop_actions(condition.present, rate, generator),
        moves=None if condition.moves is None else drop_actions(condition.moves[:, None], rate, generator)[:, 0],
    )


def denoise_with(
    answer: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    condition: Condition,
    noisy: torch.Tensor,
    sigma: torch.Tensor,
    sigma_data: float,
) -> torch.Tensor:
    """What is under the noise of clips (B, T, C, H, W) at levels (B,), by what `attach` made, around the condition's
    start: the same shape."""
    if condition.start is None:
        return denoise(answer, noisy, sigma, sigma_data)
    start = condition.start.to(noisy)[:, None]
    return start + denoise(answer, noisy - start, sigma, sigma_data)


def join_tokens(condition: Condition, tokens: str | None) -> torch.Tensor:
    """The context (B, L, D + A) of a network with tokens `concat` or `separate`; None, without actions: (B, 1, D)."""
    picture = condition.token[:, None]  # (B, 1, D)
    if tokens is None:
        return picture
    actions = encode_actions(condition.actions, condition.present, tokens).to(picture)
    if tokens == "concat":
        return torch.cat([picture, actions], dim=-1)
    width = picture.shape[-1]
    pad = torch.nn.functional.pad
    return torch.cat([pad(picture, (0, NUM_FEATURES)), pad(actions, (width, 0))], dim=1)  # (B, 1 + 5, D + A)


def attach(
    network: Network, condition: Condition, given: torch.Tensor, tokens: str | None
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The network as `trainer.models.vista.edm.denoise` calls it: of scaled noisy latents and levels alone.

    `given` (B, T) bool: frames without noise. The condition's latent goes beside every frame.
    """
    context = join_tokens(condition, tokens)
    more = {}
    if condition.motion is not None:
        features = sinusoids(condition.motion).flatten(2)  # (B, T, K * 128)
        more["motion"] = torch.where(condition.moves[:, None, None], features, 0.0)

    def answer(scaled: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        beside = condition.latent.to(scaled)[:, None].expand(-1, scaled.shape[1], -1, -1, -1)
        return network(torch.cat([scaled, beside], dim=2), noise, context, condition.ids, given, **more)

    return answer
