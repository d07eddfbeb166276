"""One measurement of benchmarks/cotracker3_speed.py in a process of its own: `... cotracker3_measure JOB_JSON`.

Prints one line of JSON, and writes what the side found to the job's `found` file. Both sides get the same random
weights, video and points.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn

from benchmarks import cotracker3_reference
from benchmarks.lbm_measure import peak_bytes
from trainer.models.cotracker3.config import STEP, Cotracker3Config
from trainer.models.cotracker3.encoder import join_levels
from trainer.models.cotracker3.model import Cotracker3, OnlineWindow, join_windows, to_cells


def make_model(config: Cotracker3Config, job: dict) -> nn.Module:
    """The job's side with random weights of a fixed seed; larger heads than fresh ones, so that points move."""
    torch.manual_seed(0)
    model = Cotracker3(config)
    for head in (model.updateformer.flow_head, model.updateformer.vis_conf_head):
        nn.init.normal_(head.weight, std=0.02)
    if job["side"] == "ours":
        return model
    return cotracker3_reference.load(Path(job["reference"]), config, model.state_dict())


def make_batch(config: Cotracker3Config, num_frames: int, num_points: int) -> dict[str, torch.Tensor]:
    """A smooth picture that moves, and points that stay, queried in the first frame; pixel centres are whole."""
    generator = torch.Generator().manual_seed(1)
    height, width = config.input_size
    picture = torch.rand(1, 3, height // 8 + 8, width // 8 + 8, generator=generator) * 255
    picture = nn.functional.interpolate(picture, scale_factor=8, mode="bicubic").clamp(0, 255)[0]
    frames = [picture[:, t : t + height, 2 * t : 2 * t + width] for t in torch.arange(num_frames) % 32]
    points = torch.rand(1, num_points, 2, generator=generator) * torch.tensor([width - 1, height - 1])
    return {
        "video": torch.stack(frames)[None],
        "queries": torch.cat([torch.zeros(1, num_points, 1), points], -1),
        "tracks": points[:, None].repeat(1, num_frames, 1, 1),
        "visible": torch.rand(1, num_frames, num_points, generator=generator) < 0.8,
    }


@torch.no_grad()
def measure_offline(job: dict) -> dict:
    """CPU-seconds of tracking a clip offline."""
    config = Cotracker3Config(input_size=tuple(job["size"]))
    model, batch, spent = make_model(config, job).eval(), make_batch(config, job["frames"], job["points"]), []
    for _ in range(job["repeats"]):
        began = time.process_time()
        if job["side"] == "ours":
            ((_, estimates),) = model(batch["video"], batch["queries"], job["iterations"])
            points, visibility = estimates[-1].points, estimates[-1].visibility.sigmoid()
        else:
            points, visibility, *_ = model(batch["video"], batch["queries"], iters=job["iterations"])
        spent.append(time.process_time() - began)
    torch.save({"points": points, "visibility": visibility}, job["found"])
    return {"seconds": min(spent)}


def measure_train(job: dict) -> dict:
    """CPU-seconds of an offline training step: forward, backward, clipping, AdamW."""
    settings = {"recompute": True} if job.get("recompute") and job["side"] == "ours" else {}
    config = Cotracker3Config(input_size=tuple(job["size"]), num_iterations=job["iterations"], **settings)
    model, batch = make_model(config, job).train(), make_batch(config, job["frames"], job["points"])
    raster = batch | {"queries": batch["queries"] + torch.tensor([0, 0.5, 0.5]), "tracks": batch["tracks"] + 0.5}
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=5e-4, weight_decay=5e-4)

    def step(number: int) -> float:
        # A function, so that no loss holds its graph over the next step.
        began = time.process_time()
        if job["side"] == "ours":
            loss = torch.stack(list(model.losses(**raster).values())).sum()
        else:
            loss = cotracker3_reference.sum_losses(model, config, batch)
        loss.backward()
        length = nn.utils.clip_grad_norm_(parameters, 1.0)
        paused = time.process_time()
        if number == 0:
            lengths = torch.stack([p.grad.norm() for p in parameters])
            torch.save({"loss": loss.detach(), "gradients' lengths": lengths * length.clamp(min=1)}, job["found"])
        resumed = time.process_time()
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - began - (resumed - paused)

    return {"seconds": min(step(number) for number in range(job["repeats"]))}


@torch.no_grad()
def measure_online(job: dict) -> dict:
    """CPU-seconds a new frame of a stream, of all chunks but the first; ours encodes each frame once."""
    config = Cotracker3Config(input_size=tuple(job["size"]), online=True, window=16)
    step = config.window // STEP
    model, batch = make_model(config, job).eval(), make_batch(config, step * (job["chunks"] + 1), job["points"])
    video, queries, spent = batch["video"], batch["queries"], []
    windows, levels = [], []
    window = OnlineWindow(model, to_cells(queries), job["iterations"])
    if job["side"] == "reference":
        model.init_video_online_processing()
    for chunk in range(job["chunks"]):
        frames = video[:, chunk * step : chunk * step + config.window]
        began = time.process_time()
        if job["side"] == "ours":
            new = model.encode(frames[:, step:] if chunk else frames)
            levels = join_levels([[level[:, step:] for level in levels], new]) if chunk else new
            windows.append((chunk * step, window.advance(levels)))
        else:
            points, visibility, *_ = model(frames, queries, iters=job["iterations"], is_online=True)
        spent.append(time.process_time() - began)
    if job["side"] == "ours":
        whole = join_windows(windows, video.shape[1])
        points, visibility = whole.points * 4, whole.visibility.sigmoid()
    torch.save({"points": points, "visibility": visibility}, job["found"])
    return {"seconds": min(spent[1:]) / step}


MEASURES = {"offline": measure_offline, "train": measure_train, "online": measure_online}


def main() -> None:
    job = json.loads(sys.argv[1])
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
