"""What the driver does, as numbers that a network reads: five kinds of action, each there or not.

Legend: B clips. A clip's values are one row (19,) in the order of ACTIONS, and `present` says which kinds count, (5,).
Each number becomes a sinusoid of 128, the kinds in a row 19 * 128 = 2432 features; those of a missing kind are zero.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

TOKENS = ("concat", "separate")
"""How actions are attended to: as a part of the picture's only token (the reference), or each kind as a token of its
own. A softmax over one token is 1, so that in the first form no query and no key has any effect or learns anything."""
SINUSOID = 128
MAX_PERIOD = 10000.0


@dataclass(frozen=True, kw_only=True)
class Action:
    """A kind of action: its name, how many numbers it has, and what each is multiplied with for the network."""

    name: str
    num_values: int
    factor: float = 1.0


ACTIONS = (
    Action(name="command", num_values=1),  # a command's number
    Action(name="trajectory", num_values=8),  # x, y in metres in 0.5, 1.0, 1.5, 2.0 s, in the first frame's axes
    # m/s in 0.5, ... 2.0 s. The reference takes nuScenes' CAN value as it is, which nuScenes says is in km/h.
    Action(name="speed", num_values=4, factor=3.6),
    Action(name="angle", num_values=4, factor=1 / 780),  # degrees of the steering wheel in 0.5, ... 2.0 s
    Action(name="goal", num_values=2),  # x, y in the picture, as shares of its width and height
)
"""The order is the reference's; its factors too, in our units."""
NUM_VALUES = sum(action.num_values for action in ACTIONS)
NUM_FEATURES = NUM_VALUES * SINUSOID


def pack_actions(actions: Mapping[str, Sequence[float] | None]) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (19,) float32 and presence (5,) bool of one clip's actions by name; what is not named or None is missing.

    Raises ValueError for an unknown name, another number of values, and values that are not finite.
    """
    known = {action.name: action for action in ACTIONS}
    for name, given in actions.items():
        if name not in known:
            raise ValueError(f"there is no action '{name}'; known: {', '.join(known)}")
        if given is None:
            continue
        if len(given) != known[name].num_values or not all(map(math.isfinite, given)):
            raise ValueError(f"action {name}={list(given)}: give {known[name].num_values} finite numbers, or none")
    rows = [actions.get(name) for name in known]
    values = [row if row is not None else [0.0] * known[name].num_values for name, row in zip(known, rows, strict=True)]
    return torch.tensor([x for row in values for x in row]).float(), torch.tensor([row is not None for row in rows])


def encode_actions(values: torch.Tensor, present: torch.Tensor, tokens: str = "concat") -> torch.Tensor:
    """Features of actions (B, 19) that are present (B, 5): one token (B, 1, 2432), or one a kind (B, 5, 2432).

    In the separate form a kind's features are where they are in the one token, and zeros elsewhere. Raises ValueError
    for a form that is not in TOKENS.
    """
    if tokens not in TOKENS:
        raise ValueError(f"action_tokens={tokens}; use {' or '.join(TOKENS)}")
    device = values.device
    counts = torch.tensor([action.num_values for action in ACTIONS], device=device)
    factors = torch.tensor([action.factor for action in ACTIONS], device=device).repeat_interleave(counts)
    kinds = torch.arange(len(ACTIONS), device=device).repeat_interleave(counts)  # (19,)
    features = sinusoids(values.float() * factors)  # (B, 19, 128)
    if tokens == "concat":
        used = present.index_select(1, kinds)[:, None]  # (B, 1, 19)
    else:
        used = present[:, :, None] & (kinds == torch.arange(len(ACTIONS), device=device)[:, None])  # (B, 5, 19)
    return torch.where(used[..., None], features[:, None], 0.0).flatten(2)


def sinusoids(values: torch.Tensor) -> torch.Tensor:
    """Cosines, then sines, of values (...) at 64 frequencies from 1 down to almost 1/10000: (..., 128) float32."""
    half = SINUSOID // 2
    frequencies = MAX_PERIOD ** -(torch.arange(half, device=values.device, dtype=torch.float32) / half)
    angles = values.float()[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def drop_actions(present: torch.Tensor, rate: float, generator: torch.Generator) -> torch.Tensor:
    """Presence (B, 5) after each kind of each clip was dropped at a rate: by this a network learns to do without."""
    kept = torch.rand(present.shape, generator=generator, device=generator.device) >= rate
    return present & kept.to(present.device)


def keep_one(present: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Presence (B, 5) of one kind only, drawn evenly from those that a clip has; none where it has none."""
    draws = torch.rand(present.shape, generator=generator, device=generator.device).to(present.device)
    draws = torch.where(present, draws, -1.0)
    chosen = torch.nn.functional.one_hot(draws.argmax(1), present.shape[1]).bool()
    return chosen & present
