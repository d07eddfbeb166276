"""One measurement of benchmarks/lbm_speed.py, in a process of its own: `python -m benchmarks.lbm_measure JOB_JSON`.

Prints one line of JSON. Both sides get the same random weights, videos and points; the visibility head is biased so
that all points are visible, as a trained model's mostly are: the memory is read, and no attention is skipped.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks

from trainer.config import build as build_dataclass
from trainer.models.lbm.config import LbmConfig
from trainer.models.lbm.model import Lbm
from trainer.models.lbm.tracker import LbmTracker

Batch = dict[str, torch.Tensor]


def make_model(settings: dict) -> Lbm:
    """A model with random weights of a fixed seed that finds every point visible."""
    torch.manual_seed(0)
    model = Lbm(build_dataclass(LbmConfig, settings, "model"))
    with torch.no_grad():
        model.transformer.vis_head.net[3].bias[0] += 10.0
    return model


def make_batch(config: LbmConfig, num_clips: int, num_frames: int, num_points: int, device: str = "cpu") -> Batch:
    """Noise, and points that stay where they are queried, in the first frame."""
    generator = torch.Generator().manual_seed(1)
    height, width = config.input_size
    video = torch.randint(0, 256, (num_clips, num_frames, 3, height, width), generator=generator).float()
    points = torch.rand(num_clips, num_points, 2, generator=generator) * torch.tensor([width, height])
    batch = {
        "video": video,
        "queries": torch.cat([torch.zeros(num_clips, num_points, 1), points], -1),
        "tracks": points[:, None].repeat(1, num_frames, 1, 1),
        "visible": torch.ones(num_clips, num_frames, num_points, dtype=torch.bool),
    }
    return {name: value.to(device) for name, value in batch.items()}


def make_side(job: dict) -> tuple[nn.Module, LbmConfig, Callable[[Batch], torch.Tensor]]:
    """The job's model, its configuration, and the function from a batch to the sum of its losses."""
    model = make_model(job["settings"])
    config = model.config
    if job["side"] == "ours":
        return model, config, lambda batch: torch.stack(list(model.losses(**batch).values())).sum()
    from benchmarks.lbm_reference import load

    reference = load(Path(job["reference"]), model.state_dict())

    def sum_losses(batch: Batch) -> torch.Tensor:
        out = reference(batch["video"], batch["queries"].clone(), batch["tracks"], batch["visible"])
        return sum(value for name, value in out.items() if "loss" in name)

    return reference, config, sum_losses


def measure_train(job: dict) -> dict:
    """CPU-seconds of a training step's phases, the least of the repeats each."""
    model, config, sum_losses = make_side(job)
    batch = make_batch(config, 1, job["frames"], job["points"])
    parameters = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=1e-5)
    spent: dict[str, list[float]] = {}
    for _ in range(job["repeats"]):
        began = time.process_time()
        loss = sum_losses(batch)
        forward = time.process_time()
        loss.backward()
        backward = time.process_time()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        end = time.process_time()
        phases = {"forward": forward - began, "backward": backward - forward, "optimiser": end - backward}
        for name, seconds in {**phases, "all": end - began}.items():
            spent.setdefault(name, []).append(seconds)
    return {name: min(seconds) for name, seconds in spent.items()} | {"loss": loss.item()}


def measure_infer(job: dict) -> dict:
    """CPU-seconds of a frame of online inference with a full memory, the least of the repeats."""
    model, config, _ = make_side(job)
    model.eval()
    torch.manual_seed(2)
    frame = torch.randint(0, 256, (*config.input_size, 3), dtype=torch.uint8)
    batch = make_batch(config, 1, 1, job["points"])
    points = batch["queries"][0, :, 1:]
    if job["side"] == "ours":
        tracker = LbmTracker(model)
        tracker.start(frame, points)
        for _ in range(config.memory_size):
            tracker.step(frame)
        return {"frame": min(_clock(lambda: tracker.step(frame), job["repeats"]))}
    picture = frame.permute(2, 0, 1)[None].float()
    with torch.no_grad():
        model.init(points, picture)
        # Its memory always has all slots; the masks alone say that they are empty.
        model.mem_mask.zero_(), model.vis_mask.zero_()
        model.online_forward(picture)
        return {"frame": min(_clock(lambda: model.online_forward(picture), job["repeats"]))}


def _clock(run: Callable[[], object], repeats: int) -> Iterator[float]:
    for _ in range(repeats):
        began = time.process_time()
        run()
        yield time.process_time() - began


def measure_saved(job: dict) -> dict:
    """Bytes that a forward pass keeps for the backward pass: every storage once, parameters, buffers and inputs not."""
    model, config, sum_losses = make_side(job)
    batch = make_batch(config, 1, job["frames"], job["points"])
    known = [*model.train().parameters(), *model.buffers(), *batch.values()]
    known = {tensor.untyped_storage().data_ptr() for tensor in known}
    storages: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with saved_tensors_hooks(count, lambda tensor: tensor):
        loss = sum_losses(batch)
    # What a recomputed part keeps are its inputs, which its closure holds and no hook sees.
    for tensor in [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]:
        if tensor.layout is torch.strided:  # a sparse one has no storage of its own
            count(tensor)
    return {"saved": sum(storages.values()), "loss": loss.item()}


def measure_profile(job: dict) -> dict:
    """CPU-seconds of our parts: of a training step (forward and backward), or of a frame of inference."""
    from benchmarks.lbm_profile import profile_parts

    model, config, sum_losses = make_side(job)
    batch = make_batch(config, 1, max(job["frames"], 1), job["points"])
    if job["frames"]:
        model.train()
        return profile_parts(lambda: sum_losses(batch).backward())
    tracker = LbmTracker(model.eval())
    frame = batch["video"][0, 0].permute(1, 2, 0).byte()
    tracker.start(frame, batch["queries"][0, :, 1:])
    for _ in range(config.memory_size):
        tracker.step(frame)
    return profile_parts(lambda: tracker.step(frame))


def measure_cuda(job: dict) -> dict:
    """Seconds, peak bytes and FLOP of a training step (frames > 0), or seconds of a frame, on a GPU."""
    from torch.utils.flop_counter import FlopCounterMode

    model, config, sum_losses = make_side(job)
    model.cuda()
    dtype = getattr(torch, job["dtype"])
    if not job["frames"]:
        tracker = LbmTracker(model.eval())
        frame = torch.randint(0, 256, (*config.input_size, 3), dtype=torch.uint8)
        with torch.autocast("cuda", dtype):
            tracker.start(frame, make_batch(config, 1, 1, job["points"])["queries"][0, :, 1:])
            return {"seconds": _time_cuda(lambda: tracker.step(frame), config.memory_size + 5, 20)}
    batch = make_batch(config, job["clips"], job["frames"], job["points"], "cuda")
    parameters = [p for p in model.train().parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=1e-5, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)

    def step(losses: Callable[[Batch], torch.Tensor]) -> None:
        with torch.autocast("cuda", dtype):
            loss = losses(batch)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()

    with FlopCounterMode(display=False) as counter:
        step(sum_losses)
    if job["compile"]:
        model.transformer.compile()
    step(sum_losses)
    torch.cuda.reset_peak_memory_stats()
    seconds = _time_cuda(lambda: step(sum_losses), 3, 5)
    return {"seconds": seconds, "bytes": torch.cuda.max_memory_allocated(), "flop": counter.get_total_flops()}


def _time_cuda(run: Callable[[], object], warm_up: int, repeats: int) -> float:
    for _ in range(warm_up):
        run()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - began) / repeats


MEASURES = {
    "train": measure_train, "infer": measure_infer, "saved": measure_saved, "profile": measure_profile,
    "cuda": measure_cuda,
}  # fmt: skip


def peak_bytes() -> int:
    """The most memory that this program had resident (not what its parent had before it, as getrusage counts)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def main() -> None:
    job = json.loads(sys.argv[1])
    if job["what"] != "cuda":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-job["threads"] :])
    torch.set_num_threads(job["threads"])
    try:
        result = MEASURES[job["what"]](job)
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
        return
    print(json.dumps({**result, "peak": peak_bytes()}))


if __name__ == "__main__":
    main()
