"""Videos of a trained world model: rounds of windows that are told what the driver does, and how far samples agree.

Legend: B clips, T frames of a round, C h w channels and cells of the space that the network works in.
"""

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from trainer.batch import Batch, Sample, collate
from trainer.checkpoint import load_into, load_weights
from trainer.config import Recipe
from trainer.models import TASKS
from trainer.models.vista.model import Vista
from trainer.models.vista.objective import ObjectiveConfig
from trainer.models.vista.reward import reward_agreement
from trainer.models.vista.sampler import GUIDANCE, NUM_CARRIED, SCHEDULES

NUM_STEPS = 50
"""Euler's steps of the reference's samples."""


@dataclass(frozen=True, kw_only=True)
class Making:
    """How clips are made from noise. Checked when made; ValueError names the option."""

    num_steps: int = NUM_STEPS
    guidance: float = GUIDANCE
    """1: as the network says, by one call a step instead of two"""
    schedule: str = "constant"
    """One of SCHEDULES: which frames are led how strongly"""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"--steps {self.num_steps} must be at least 1")
        if not self.guidance >= 1:
            raise ValueError(f"--guidance {self.guidance} must be at least 1, which leads nowhere")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"--schedule {self.schedule}: use {', '.join(SCHEDULES)}")

    @property
    def calls_per_step(self) -> int:
        """How often the network is asked in a step."""
        return 1 if self.guidance == 1 else 2


def load_vista(weights: Path, device: str) -> tuple[Vista, Recipe]:
    """The world model inside a weights file in evaluation mode, and its recipe; ValueError for weights of another."""
    tensors, recipe = load_weights(weights)
    if recipe.data.driving is None:
        right = "trainer.predict_people" if recipe.data.people else "trainer.predict, or trainer.track"
        raise ValueError(f"{weights}: stage {recipe.stage} is no world model; use python -m {right}")
    task = TASKS[recipe.model["name"]]
    model = task.build(recipe.model)
    load_into(model, task.fit_weights(tensors, model), weights)
    return model.eval().to(device), recipe


def most_given(objective: ObjectiveConfig) -> int:
    """How many first frames a model was given at most when it was trained."""
    return max((number for number, weight in enumerate(objective.condition_weights) if weight > 0), default=0)


def check_given(num_given: int, objective: ObjectiveConfig, num_frames: int) -> None:
    """ValueError where so many first frames are not what the model was trained with."""
    most = most_given(objective)
    if not 1 <= num_given <= max(1, most) or num_given >= num_frames:
        raise ValueError(
            f"--given {num_given}: these weights were trained with at most {most} given of {num_frames} frames"
        )


def carried_of(objective: ObjectiveConfig, num_frames: int) -> int:
    """How many frames a round gives to the next: Vista's 3, fewer where the model was not trained with so many."""
    return max(1, min(NUM_CARRIED, most_given(objective), num_frames - 1))


def generator_of(seed: int, name: str, number: int = 0) -> torch.Generator:
    """The generator of sample `number` of what is called `name`: on the CPU, the same noise on any device."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(name.encode()), number])
    return torch.Generator().manual_seed(int(entropy.generate_state(1, np.uint64)[0] >> 1))


def make_rounds(
    model: Vista,
    first: np.ndarray,
    rounds: Sequence[Sequence[Sample]],
    num_frames: int,
    generators: Sequence[torch.Generator],
    making: Making,
) -> torch.Tensor:
    """Clips (B, R * (T - n) + n, C, h, w) of R rounds of T frames, n of them the last of the round before.

    `first` (B, m, H, W, 3) uint8 are the frames that the first round is given, `rounds[r][b]` what clip b is told in
    round r (trainer.driving.telling.tell), and each clip's noise is from its own generator.
    """
    device = next(model.parameters()).device
    given = torch.from_numpy(np.ascontiguousarray(first.transpose(0, 1, 4, 2, 3))).to(device)  # (B, m, 3, H, W)
    batches: list[Batch] = []
    for told in rounds:
        batch = {name: value.to(device) for name, value in collate(list(told)).items()}
        batches.append(batch | {"frames": given})
    with torch.no_grad():
        return model.roll_out(
            batches,
            num_frames,
            making.num_steps,
            generators,
            guidance=making.guidance,
            schedule=making.schedule,
            num_carried=carried_of(model.config.objective, num_frames),
        )


def to_pictures(model: Vista, clips: torch.Tensor) -> np.ndarray:
    """Frames (B, T, H, W, 3) uint8 of clips (B, T, C, h, w)."""
    frames = model.to_frames(clips).clamp(-1, 1)
    return ((frames + 1) * 127.5).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()


def rewards_of(samples: Sequence[torch.Tensor], num_given: int) -> list[float]:
    """How far samples, each (B, T, C, h, w) of the same clips from other noise, agree: exp(-variance) of each clip."""
    return reward_agreement(torch.stack(list(samples)).cpu(), num_given).tolist()


@contextlib.contextmanager
def counting(network: nn.Module, total: int, label: str) -> Iterator[None]:
    """Show how often the network was asked, of so many times."""
    with tqdm(total=total, desc=label, unit="call", disable=None) as bar:

        def count(*_) -> None:
            bar.update()

        handle = network.register_forward_hook(count)
        try:
            yield
        finally:
            handle.remove()
