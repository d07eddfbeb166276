"""What latents made once save a training of Vista: `python -m benchmarks.vista_latents`, two minutes on one core.

A training step (losses, backward, AdamW) of windows as frames, for which the frozen autoencoder and tower are run, and
of the same windows as latents, in turn; and making a sample of either from a packed clip. Weights and frames are
random: what a step costs does not depend on them. `--sizes svd --device cuda` takes Vista's own network and window.
`--count` counts operations at the guide's sizes instead, of which nothing is computed.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from shards import Clip, ClipStore, pack_clips, write_index
from shards.driving.drive import Drive
from shards.driving.latents import Origin, write_latents
from trainer.batch import Batch, collate
from trainer.config import DataConfig
from trainer.driving.config import DrivingData
from trainer.driving.samples import make_drive_sample
from trainer.models.vista.actions import NUM_FEATURES
from trainer.models.vista.build import make_autoencoder, make_picture_encoder
from trainer.models.vista.config import AutoencoderConfig, PictureConfig
from trainer.models.vista.encoders import Encoders, encoders_digest
from trainer.models.vista.latents import scale_frames
from trainer.models.vista.model import Vista
from trainer.models.vista.task import build, losses

KINDS = ("frames", "latents")
LENGTH, RATE_HZ = 60, 10.0
"""Frames of the clip that samples are made from, and frames a second."""


@dataclass(frozen=True)
class Sizes:
    """A model's section of a recipe, other frozen networks (None: the model's), and a window."""

    model: dict
    frozen: tuple[AutoencoderConfig, PictureConfig] | None
    window: tuple[int, int, int]
    """Frames, height, width."""
    source: tuple[int, int]
    """Height and width of the clip's frames."""


SIZES = {
    "middle": Sizes(
        {"name": "vista", "preset": "small", "frozen": "tiny", "unet": {"context_width": 24}},
        (
            AutoencoderConfig(widths=(64, 128, 256, 256), blocks_per_level=1),
            PictureConfig(width=384, feedforward=1536, num_layers=8, num_heads=6, out_width=24),
        ),
        (8, 80, 144),
        (360, 640),
    ),
    "svd": Sizes({"name": "vista", "preset": "svd", "unet": {"recompute": "layer"}}, None, (25, 320, 576), (900, 1600)),
}


def make_model(sizes: Sizes, device: str) -> Vista:
    """A model with fresh weights; adapters and averages are left out, which change neither kind of step."""
    torch.manual_seed(0)
    model = build(sizes.model)
    if sizes.frozen:
        autoencoder, tower = sizes.frozen
        model.autoencoder = make_autoencoder(autoencoder).requires_grad_(False)
        model.tower = make_picture_encoder(tower).requires_grad_(False)
    return model.to(device).train()


def write_clip(sizes: Sizes, folder: Path) -> ClipStore:
    """One clip of smooth frames with some noise, as JPEG, of a camera that drives straight ahead."""
    height, width = sizes.source
    rng, times_s = np.random.default_rng(0), np.arange(LENGTH) / RATE_HZ
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([120 + 80 * np.sin(columns / 60 + n) * np.cos(rows / 40 + n) for n in range(3)], -1)
    video = np.stack([np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)] * LENGTH)
    poses = np.tile(np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]]), (LENGTH, 1, 1))
    poses[:, 1, 3] = 8 * times_s
    drive = Drive(times_s=times_s, camera_to_world=poses)
    tracks, visible = np.zeros((LENGTH, 0, 2), np.float32), np.zeros((LENGTH, 0), bool)
    clip = Clip(key="clip", video=video, tracks=tracks, visible=visible, drive=drive, metadata={})
    pack_clips([clip], folder / "shard-000000", "jpeg95")
    write_index([folder / "shard-000000.json"], "drives", folder / "index.json")
    return ClipStore(folder / "index.json")


def encode_clip(model: Vista, store: ClipStore, folder: Path, size: tuple[int, int]) -> dict:
    """Latents of the clip in a folder, random ones of the right shapes; what their JSON says."""
    encoders, cell = Encoders(model.autoencoder, model.tower), model.config.cell
    latent, token = (2, model.config.channels, size[0] // cell, size[1] // cell), model.tower.config.projection_dim
    rng = np.random.default_rng(0)
    origin = Origin(
        shard="shard-000000", shard_sha256=store.shards[0]["sha256"], height=size[0], width=size[1],
        encoders_sha256=encoders_digest(encoders),
    )  # fmt: skip
    clips = [("clip", *(rng.normal(size=(LENGTH, *shape)).astype(np.float32) for shape in (latent, (token,))))]
    return write_latents(folder / store.dataset, origin, clips)


def configs_of(sizes: Sizes, folder: Path) -> dict[str, DataConfig]:
    """The `data` section for samples of each kind."""
    frames, height, width = sizes.window
    data = DataConfig(dataset="drives", driving=DrivingData(height=height, width=width, num_frames=frames))
    return {"frames": data, "latents": replace(data, driving=replace(data.driving, latents=str(folder)))}


def stepping(model: Vista, batch: Batch) -> Callable[[], None]:
    """One training step, as a function."""
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-5)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        sum(losses(model, batch).values()).backward()
        optimizer.step()

    return step


def seconds_of(action: Callable[[], object], device: str) -> float:
    """CPU-seconds of an action; seconds on a GPU."""
    if device == "cpu":
        began = time.process_time()
        action()
        return time.process_time() - began
    torch.cuda.synchronize()
    began = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def memory_mb(device: str) -> float:
    """The most memory so far of this process, or of the GPU, in 10^6 bytes."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return torch.cuda.max_memory_allocated() / 1e6


def measure(options: argparse.Namespace, kinds: tuple[str, ...], steps: int) -> dict[str, float]:
    """Seconds of a step and of a sample of each kind, medians of rounds in turn, and bytes."""
    sizes, found = SIZES[options.sizes], {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model, store = make_model(sizes, options.device), write_clip(sizes, folder)
        entry = encode_clip(model, store, folder / "latents", sizes.window[1:])
        configs = configs_of(sizes, folder / "latents")
        samples = {kind: make_drive_sample(store, 0, configs[kind], np.random.default_rng(0)) for kind in kinds}
        batches = {
            kind: {name: value.to(options.device) for name, value in collate([sample]).items()}
            for kind, sample in samples.items()
        }
        actions = {f"step, {kind}": stepping(model, batches[kind]) for kind in kinds}
        for kind in kinds:
            actions[f"sample, {kind}"] = lambda kind=kind: make_drive_sample(
                store, 0, configs[kind], np.random.default_rng(1)
            )
        if "frames" in kinds:
            frames = scale_frames(batches["frames"]["frames"])
            actions["frozen networks alone"] = lambda: (model.to_space(frames), model.see_first(batches["frames"]))
        times = {name: [] for name in actions}
        for number in range(steps + 1):
            for name, action in actions.items():
                seconds = seconds_of(action, options.device)
                times[name] += [seconds] * (number > 0)  # the first round warms up
        found |= {f"{name}, s": statistics.median(values) for name, values in times.items() if values}
        found["memory, MB"] = memory_mb(options.device)
        found["bytes a frame, latents"] = entry["bytes"] / LENGTH
        found["bytes a frame, shard"] = store.summary["bytes"] / LENGTH
    return found


def count(sizes: Sizes, height: int, width: int) -> dict[str, float]:
    """10^12 operations (a multiplication and an addition are two) of a window, on tensors without values."""
    num_frames, cell = sizes.window[0], 8
    with torch.device("meta"):
        model = build(sizes.model).to("meta")
        latents = torch.empty(1, num_frames, model.config.unet.in_channels, height // cell, width // cell)
        inputs = (torch.empty(1), torch.empty(1, 1, model.config.unet.context_width + NUM_FEATURES), torch.empty(1, 3))
        calls = {
            "encoder, a frame": lambda: model.autoencoder.encode(torch.empty(1, 3, height, width)),
            "tower, a picture": lambda: model.tower(torch.empty(1, 3, *[model.tower.config.image_size] * 2)),
            "network, forward": lambda: model.unet(latents, *inputs, torch.empty(1, num_frames, dtype=torch.bool)),
        }
        found = {}
        for name, call in calls.items():
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                call()
            found[name] = counter.get_total_flops() / 1e12
    frozen = (num_frames + 1) * found["encoder, a frame"] + found["tower, a picture"]  # the first frame twice
    step = 4 * found["network, forward"]  # forward, again when going back, and back twice as much
    return found | {"frozen networks in a step": frozen, "their share of a step": frozen / (frozen + step)}


def main(arguments: list[str]) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.vista_latents", description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", choices=SIZES, default="middle")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, default=8, help="of each kind, after one to warm up (default 8)")
    parser.add_argument("--only", choices=KINDS, help="one step of one kind, for its memory")
    parser.add_argument("--count", action="store_true", help="count operations at the guide's sizes, and stop")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.count:
        for height, width in ((320, 576), (576, 1024)):
            counted = count(SIZES["svd"], height, width)
            print(f"{height}x{width}: " + ", ".join(f"{name} {value:.3f}" for name, value in counted.items()))
        return 0
    if options.only:
        print(json.dumps(measure(options, (options.only,), 1)))
        return 0
    for name, value in measure(options, KINDS, options.steps).items():
        if name != "memory, MB":
            print(f"{name}: {value:.3f}")
    for kind in KINDS:  # a process of its own each: the most memory of a process does not go down
        words = ["--sizes", options.sizes, "--device", options.device, "--only", kind]
        command = [sys.executable, "-m", "benchmarks.vista_latents", *words]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        print(f"memory, {kind}: {json.loads(told)['memory, MB']:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
