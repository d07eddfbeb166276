"""Does Vista's network do as it is told? `python -m benchmarks.vista_tokens --tokens concat separate --steps 400`.

A small world: a camera turns in front of a smooth panorama of 64 pixels around, in which a square stands. The action is
how far it has turned at each frame, pixels: as the trajectory's x in one token or in separate ones, or as the motion of
each frame (`frames`); the network sees frame 0 and makes the 4 others, of
16x16 pixels, without an autoencoder. Printed for held-out clips: PSNR with the true action, another clip's, and none;
of copying frame 0; and how far the made clip has turned, found by comparing its last frame with the panorama, against
what it was told.
"""

import argparse
import copy
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainer.models.vista.actions import ACTIONS, NUM_VALUES
from trainer.models.vista.build import make_unet
from trainer.models.vista.conditions import Condition, describe
from trainer.models.vista.config import UNetConfig
from trainer.models.vista.edm import draw_noise, karras_sigmas
from trainer.models.vista.objective import ObjectiveConfig, losses_of_clips
from trainer.models.vista.priors import mask_conditions
from trainer.models.vista.sampler import make_denoiser, sample

FRAMES, SIDE, AROUND, WAVES, TOKEN = 5, 16, 64, 10, 24
OBJECTIVE = ObjectiveConfig(
    log_sigma_mean=-0.4, log_sigma_std=1.2, sigma_data=0.5, drop_rate=0.1, condition_weights=(0, 1)
)
"""Karras et al.'s draw for pixels; frame 0 is always given."""
NETWORK = {"widths": (32, 64), "attending": (False, True), "blocks_per_level": 1, "head_width": 16, "id_width": 32,
           "in_channels": 6, "out_channels": 3, "context_width": TOKEN}  # fmt: skip

FORMS = {
    "concat": {"action_tokens": "concat"},
    "separate": {"action_tokens": "separate"},
    "frames": {"with_actions": False, "frame_values": 1},
}


@dataclass(frozen=True, kw_only=True)
class Worlds:
    """Panoramas of B clips as waves (B, 3, WAVES, 3, 2), their squares, how far the camera turned (B, T) pixels."""

    waves: torch.Tensor
    place: torch.Tensor
    row: torch.Tensor
    colour: torch.Tensor
    turned: torch.Tensor


def draw_worlds(num: int, generator: torch.Generator) -> Worlds:
    """Worlds of so many clips: cameras turn by up to 1.6 pixels a frame, not quite evenly."""

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator)

    waves = torch.randn(num, 3, WAVES, 3, 2, generator=generator)
    rate = 1.6 * (2 * uniform(num, 1) - 1) + 0.2 * torch.randn(num, FRAMES - 1, generator=generator)
    return Worlds(
        waves=0.25 * waves / torch.arange(1, WAVES + 1).view(-1, 1, 1) ** 0.2,
        place=3 + 10 * uniform(num),
        row=torch.randint(2, 10, (num,), generator=generator),
        colour=2 * uniform(num, 3) - 1,
        turned=nn.functional.pad(rate.cumsum(1), (1, 0)),
    )


def render(worlds: Worlds, turned: torch.Tensor) -> torch.Tensor:
    """Frames (B, T, 3, 16, 16) in [-1, 1] of cameras that have turned by (B, T) pixels."""
    columns = torch.arange(SIDE) + turned[..., None]  # (B, T, W)
    number = torch.arange(1, WAVES + 1).view(1, -1, 1, 1)
    phases = 2 * math.pi * number * columns[:, None] / AROUND  # (B, WAVES, T, W)
    height = math.pi * torch.arange(SIDE) / SIDE
    down = torch.stack([torch.ones(SIDE), height.cos(), (2 * height).cos()])  # (3, H)
    across = torch.stack([phases.cos(), phases.sin()], -1)
    smooth = torch.einsum("bckrs,bktws,rh->btchw", worlds.waves, across, down)
    away = (columns - worlds.place[:, None, None] + AROUND / 2) % AROUND - AROUND / 2
    rows = ((torch.arange(SIDE) - worlds.row[:, None]).abs() <= 2).float()  # (B, H)
    share = (2 - away.abs()).clamp(0, 1)[:, :, None, None, :] * rows[:, None, None, :, None]
    return (smooth * (1 - share) + share * worlds.colour[:, None, :, None, None]).clamp(-1, 1)


def tell(clips: torch.Tensor, turned: torch.Tensor | None, tokens: str) -> Condition:
    """The condition of clips (B, T, 3, 16, 16): frame 0, and how far to turn (B, T); None: not told."""
    values, present = torch.zeros(len(clips), NUM_VALUES), torch.zeros(len(clips), len(ACTIONS), dtype=torch.bool)
    if tokens == "frames":
        known = torch.full((len(clips),), turned is not None)
        motion = torch.zeros(len(clips), FRAMES, 1) if turned is None else turned[..., None]
        return describe(torch.zeros(len(clips), TOKEN), clips[:, 0], motion=(motion, known))
    if turned is not None:
        values[:, 1:9:2], present[:, 1] = turned[:, 1:], True
    return describe(torch.zeros(len(clips), TOKEN), clips[:, 0], (values, present))


def train(tokens: str, steps: int, batch: int, seed: int) -> nn.Module:
    """A network after so many steps, its weights averaged."""
    torch.manual_seed(seed)
    network = make_unet(UNetConfig(**NETWORK, **FORMS[tokens]))
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=2e-3)
    averaged, smoothed = copy.deepcopy(network).eval(), None
    averages = [x for x, y in zip(averaged.parameters(), network.parameters(), strict=True) if y.requires_grad]
    generator, began = torch.Generator().manual_seed(seed + 1), time.process_time()
    for step in range(steps):
        worlds = draw_worlds(batch, generator)
        clips = render(worlds, worlds.turned)
        condition = tell(clips, worlds.turned, tokens)
        losses = losses_of_clips(network, clips, condition, generator, OBJECTIVE, FORMS[tokens].get("action_tokens"))
        loss = sum(losses.values())
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 20)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        with torch.no_grad():
            for average, parameter in zip(averages, learned, strict=True):
                average.lerp_(parameter, 1 - min(0.99, (1 + step) / (10 + step)))
        smoothed = loss.item() if smoothed is None else 0.97 * smoothed + 0.03 * loss.item()
        if (step + 1) % 50 == 0:
            print(
                f"{tokens}: step {step + 1}, loss {smoothed:.4f}, {time.process_time() - began:.0f} CPU s", flush=True
            )
    return averaged


def make(network: nn.Module, clips: torch.Tensor, turned: torch.Tensor | None, tokens: str) -> torch.Tensor:
    """Clips as the network makes them from frame 0 in 12 steps, without guidance."""
    given = mask_conditions(torch.ones(len(clips), dtype=torch.int64), FRAMES)
    noise = draw_noise(tuple(clips.shape), torch.Generator().manual_seed(5), offset=0.0)
    with torch.no_grad():
        settings = {"tokens": FORMS[tokens].get("action_tokens"), "sigma_data": OBJECTIVE.sigma_data}
        denoiser = make_denoiser(network, tell(clips, turned, tokens), given, torch.ones(FRAMES), **settings)
        return sample(denoiser, noise, karras_sigmas(12, largest=80.0), clips, given)


def measure_psnr(made: torch.Tensor, true: torch.Tensor) -> list[float]:
    """PSNR dB of each made frame, (T - 1), the mean over clips."""
    error = (made - true)[:, 1:].square().mean((2, 3, 4))
    return (10 * torch.log10(4 / error)).mean(0).tolist()


def find_turn(worlds: Worlds, made: torch.Tensor) -> torch.Tensor:
    """How far the last frame of clips has turned, (B,) pixels: where the true panorama is most like it."""
    places = torch.arange(-9, 9.01, 0.1)
    errors = [(made[:, -1:] - render(worlds, x.expand(len(made), 1))).square().mean((1, 2, 3, 4)) for x in places]
    return places[torch.stack(errors).argmin(0)]


def score(network: nn.Module, tokens: str, num: int) -> dict[str, dict[str, float | list[float]]]:
    """Figures of held-out clips by what the network was told."""
    worlds = draw_worlds(num, torch.Generator().manual_seed(99))
    clips = render(worlds, worlds.turned)
    table = {}
    for name, turned in (("true", worlds.turned), ("shuffled", worlds.turned.roll(1, 0)), ("none", None)):
        made = make(network, clips, turned, tokens)
        told = worlds.turned if turned is None else turned
        found = find_turn(worlds, made)
        table[name] = {
            "psnr": measure_psnr(made, clips),
            "turn_error_px": (found - told[:, -1]).abs().mean().item(),
            "turn_correlation": torch.corrcoef(torch.stack([found, told[:, -1]]))[0, 1].item(),
        }
    return {**table, "copy": {"psnr": measure_psnr(clips[:, :1].expand_as(clips), clips)}}


def main(arguments: Sequence[str]) -> int:
    """Train and score a network for each form of tokens."""
    parser = argparse.ArgumentParser(prog="benchmarks.vista_tokens", description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", nargs="+", choices=list(FORMS), default=list(FORMS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--clips", type=int, default=32, help="held-out clips")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="JSON of all figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    table = {}
    for tokens in options.tokens:
        table[tokens] = score(train(tokens, options.steps, options.batch, options.seed), tokens, options.clips)
        for told, figures in table[tokens].items():
            psnr = figures["psnr"]
            words = f"{tokens}, {told}: PSNR {sum(psnr) / len(psnr):.2f} ({' '.join(f'{x:.1f}' for x in psnr)})"
            if "turn_error_px" in figures:
                words += f", turned {figures['turn_error_px']:.2f} px off"
                words += f", correlation {figures['turn_correlation']:.3f}"
            print(words, flush=True)
    if options.out:
        options.out.write_text(json.dumps(table, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
