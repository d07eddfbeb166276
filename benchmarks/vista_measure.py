"""One measurement of benchmarks/vista_step.py, in a process of its own: `python -m benchmarks.vista_measure JOB_JSON`.

Prints one line of JSON. Legend: B clips, T frames, H W cells of a latent.
"""

import contextlib
import dataclasses
import json
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace
from unittest import mock

import torch
from torch import nn

from benchmarks import vista_reference as reference
from benchmarks.lbm_measure import peak_bytes
from trainer.config import LoraConfig, compose
from trainer.distributed import process_group
from trainer.ema import Ema
from trainer.loop import add_gradients, micro_batches
from trainer.lora import adapt
from trainer.models import TASKS
from trainer.models.vista import objective
from trainer.models.vista.actions import ACTIONS, NUM_VALUES
from trainer.models.vista.build import make_unet
from trainer.models.vista.conditions import Condition, describe
from trainer.models.vista.config import PRESETS
from trainer.models.vista.edm import draw_noise, draw_sigmas
from trainer.models.vista.priors import draw_num_conditions, mask_conditions
from trainer.optim import make_optimizer, trained
from trainer.strategy import Objective, clip_and_step, distribute, no_sync_unless

FLAGS = ("loop_mask", "every_cell", "keeps_gradients", "accumulates", "volumes")
"""What may be the reference's instead of ours."""
DECAY = 0.9999
LORA = {"rank": 16, "alpha": 16, "modules": ["to_q", "to_k", "to_v", "to_out.0"]}


@dataclass(frozen=True, kw_only=True)
class Size:
    """A preset of the network, and the clips that it learns from."""

    preset: str
    clips: int
    frames: int
    height: int
    width: int


SIZES = {
    "tiny": Size(preset="tiny", clips=4, frames=4, height=8, width=12),
    "small": Size(preset="small", clips=4, frames=5, height=20, width=36),
    "svd": Size(preset="svd", clips=4, frames=25, height=40, width=72),
}
"""The last is the published network at 320x576."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """A step's clips without noise (B, T, 4, H, W), their conditions, and all that is drawn."""

    clean: torch.Tensor
    condition: Condition
    sigma: torch.Tensor
    noise: torch.Tensor
    given: torch.Tensor

    def part(self, clips: slice) -> "Draws":
        """Of some of the clips."""
        fields = {field.name: getattr(self.condition, field.name) for field in dataclasses.fields(self.condition)}
        condition = Condition(**{name: value if value is None else value[clips] for name, value in fields.items()})
        rest = {name: getattr(self, name)[clips] for name in ("clean", "sigma", "noise", "given")}
        return Draws(condition=condition, **rest)


def draw_step(size: Size, step: int, with_actions: bool, device: str) -> Draws:
    """Clips that are noise of level 1, each of which knows one kind of action, or, in phase 1, none."""
    generator = torch.Generator().manual_seed(step)
    shape = (size.clips, size.frames, 4, size.height, size.width)
    clean = torch.randn(shape, generator=generator)
    token = torch.randn(size.clips, PRESETS[size.preset].context_width, generator=generator)
    values = torch.randn(size.clips, NUM_VALUES, generator=generator)
    kinds = nn.functional.one_hot(torch.arange(size.clips) % len(ACTIONS), len(ACTIONS)).bool()
    condition = describe(token, clean[:, 0], (values, kinds) if with_actions else None)
    fields = {field.name: getattr(condition, field.name) for field in dataclasses.fields(condition)}
    num_given = draw_num_conditions(size.clips, generator).clamp(max=size.frames - 1)
    return Draws(
        clean=clean.to(device),
        condition=Condition(**{name: value if value is None else value.to(device) for name, value in fields.items()}),
        sigma=draw_sigmas(size.clips, generator).to(device),
        noise=draw_noise(shape, generator).to(device),
        given=mask_conditions(num_given, size.frames).to(device),
    )


class Formulation:
    """A network, its optimiser and averages, and how a step is made of them: ours, but for the flags that are set."""

    def __init__(self, flags: list[str], phase: int, size: Size, device: str, recompute: str = "none"):
        """All with the same flags or others begin with the same weights."""
        unknown = set(flags) - set(FLAGS)
        assert not unknown, unknown
        self.flags, self.size, self.device, self.with_actions = set(flags), size, device, phase == 2
        settings = {"with_actions": self.with_actions, "recompute": recompute}
        torch.manual_seed(0)
        self.network = make_unet(dataclasses.replace(PRESETS[size.preset], **settings))
        if "every_cell" in flags:
            reference.ask_every_cell(self.network)
        if "volumes" in flags:
            reference.use_volumes(self.network)
        self.learned = self._choose()
        self._draw_adapters()
        self.network.to(device)
        self.optimizer = torch.optim.AdamW(self.learned, lr=5e-5, fused=device == "cuda")
        average = reference.FullAverage if "keeps_gradients" in flags else Ema
        self.ema = average(self.network, DECAY)

    def _choose(self) -> list[nn.Parameter]:
        """What learns; phase 2 has adapters beside frozen weights."""
        if self.with_actions:
            whole = ["to_v.action", *(["to_k.action"] if "every_cell" in self.flags else [])]
            config = LoraConfig(**LORA, whole=whole)
            if "keeps_gradients" in self.flags:
                return reference.learn_with_adapters(self.network, config)
            adapt(self.network, config)
        return list(trained(self.network).values())

    def _draw_adapters(self) -> None:
        """Draw each adapter from its name: a formulation that has more of them has the same."""
        for name, parameter in self.network.named_parameters():
            if name.endswith(".0.down"):
                generator = torch.Generator().manual_seed(sum(name.encode()))
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) / LORA["rank"])

    def step(self, number: int) -> float:
        """Learn from the draws of a step, from 1; the loss."""
        draws = draw_step(self.size, number, self.with_actions, self.device)
        parts = range(self.size.clips) if "accumulates" in self.flags else [None]
        total, config = 0.0, objective.ObjectiveConfig()
        slow = mock.patch.object(objective, "structure_loss", reference.structure_loss)
        self.optimizer.zero_grad(set_to_none=True)
        with slow if "loop_mask" in self.flags else contextlib.nullcontext():
            for clip in parts:
                own = draws if clip is None else draws.part(slice(clip, clip + 1))
                tokens = "concat" if self.with_actions else None
                told = (own.clean, own.condition, own.sigma, own.noise, own.given, config, tokens)
                loss = torch.stack(list(objective.losses_at(self.network, *told).values())).sum() / len(parts)
                loss.backward()
                total += loss.detach()
        nn.utils.clip_grad_norm_(self.learned, 0.3)
        self.optimizer.step()
        self.ema.update(number)
        return float(total)


def clock(device: str) -> float:
    """Seconds: of this process's CPU, or on a GPU of the wall, when all is done."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def take_turns(formulations: dict[str, Formulation], repeats: int) -> dict[str, dict]:
    """Seconds of each repeat and losses of all steps of formulations, which take turns; one more comes first."""
    found = {name: {"seconds": [], "losses": []} for name in formulations}
    for number in range(1, repeats + 2):
        for name, one in formulations.items():
            began = clock(one.device)
            found[name]["losses"].append(one.step(number))
            found[name]["seconds"].append(clock(one.device) - began)
    return {name: {**rows, "seconds": rows["seconds"][1:]} for name, rows in found.items()}


def measure_formulation(job: dict) -> dict:
    """Seconds, losses and the highest memory of one formulation alone."""
    how = (job["phase"], SIZES[job["size"]], job["device"], job["recompute"])
    return take_turns({"": Formulation(job["flags"], *how)}, job["repeats"])[""] | peak_of(job["device"])


def peak_of(device: str) -> dict:
    """The most memory of this process, of the GPU's or of its own."""
    return {"peak": torch.cuda.max_memory_allocated() if device == "cuda" else peak_bytes()}


TRAINED = {
    "svd": ["model=vista_svd", "model.published=null", "data.driving.height=320", "data.driving.width=576"],
    "tiny": ["model=vista_small", "model.preset=tiny", "model.frozen=tiny", "model.unet.context_width=24",
             "model.unet.num_frames=5", "data.driving.num_frames=5", "data.driving.height=64",
             "data.driving.width=64"],
}  # fmt: skip
"""Overrides of the stages by size."""


def measure_trainer(job: dict) -> dict:
    """Seconds and the highest memory of steps as the trainer makes them, frozen networks and all, from made-up frames.

    One of several processes where the environment says so; all end with the same.
    """
    stage = {1: "vista_phase1", 2: "vista_phase2_stage1"}[job["phase"]]
    words = [f"model.unet.with_actions={str(job['phase'] == 2).lower()}", f"model.unet.recompute={job['recompute']}"]
    words += [f"training.precision={job['precision']}", f"training.strategy={job['strategy']}"]
    recipe = compose(stage, [*TRAINED[job["size"]], *words, "training.accumulation_steps=1"])
    with process_group(job["threads"]) as process:
        task = TASKS["vista"]
        torch.manual_seed(0)
        with process.device if job["device"] == "cuda" else contextlib.nullcontext():
            model = task.build(recipe.model)
        adapt(model, recipe.training.lora)
        model.to(process.device).train()
        wrapped = distribute(recipe, process, Objective(model, task))
        optimizer = make_optimizer(model, recipe.optimizer, fused=process.device.type == "cuda")
        ema, scaler = Ema(model, DECAY), torch.amp.GradScaler(process.device.type, enabled=False)
        state = SimpleNamespace(objective=wrapped, labeller=None, step=0, scaler=scaler)
        seconds = []
        for number in range(1, job["repeats"] + 2):
            began = clock(job["device"])
            optimizer.zero_grad(set_to_none=True)
            for last, batch in micro_batches(make_windows(recipe.data.driving, number), 1, process.device):
                with no_sync_unless(last, wrapped):
                    found = add_gradients(recipe, process, state, batch)
            clip_and_step(wrapped, model, optimizer, scaler, recipe.optimizer.max_gradient_norm)
            ema.update(number)
            seconds.append(clock(job["device"]) - began)
        loss = float(sum(found.values()))
        return {"seconds": seconds[1:], "losses": [loss], **peak_of(job["device"])}


def count_fixed(phase: int, is_reference: bool) -> dict[str, int]:
    """Bytes of what stays between steps at the published size, by what it is, counted and not made; all in fp32.

    The reference, in phase 2, keeps gradients of all of the network's weights, and in both averages of all of them.
    """
    stage = {1: "vista_phase1", 2: "vista_phase2_stage1"}[phase]
    recipe = compose(stage, ["model=vista_svd", f"model.unet.with_actions={str(phase == 2).lower()}"])
    with torch.device("meta"):
        model = TASKS["vista"].build(recipe.model)
        lora = recipe.training.lora
        if is_reference:
            model.unet.requires_grad_(True)
            lora = lora and dataclasses.replace(lora, whole=["to_v.action", "to_k.action"])
        adapt(model, lora)
    learned = sum(parameter.numel() for parameter in trained(model).values())
    network = sum(parameter.numel() for parameter in model.unet.parameters())
    kept = network if is_reference else learned
    everything = sum(parameter.numel() for parameter in model.parameters())
    return {"weights": 4 * everything, "gradients": 4 * kept, "AdamW": 8 * learned, "average": 4 * kept}


def make_windows(data, seed: int) -> dict[str, torch.Tensor]:
    """A batch of one window of noise, whose actions are all known."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, data.num_frames, 3, data.height, data.width)
    return {
        "frames": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        "values": torch.randn(1, NUM_VALUES, generator=generator),
        "present": torch.ones(1, len(ACTIONS), dtype=torch.bool),
        "motion": torch.zeros(1, data.num_frames, 2),
        "moves": torch.ones(1, dtype=torch.bool),
        "fps": torch.full((1,), 10.0),
    }


MEASURES = {"formulation": measure_formulation, "trainer": measure_trainer}


def main() -> None:
    """Measure what the job says."""
    job = json.loads(sys.argv[1])
    torch.set_num_threads(job["threads"])
    try:
        print(json.dumps(MEASURES[job["what"]](job)))
    except torch.cuda.OutOfMemoryError:
        print(json.dumps({"seconds": [], "losses": [], "peak": None}))


if __name__ == "__main__":
    main()
