"""CPU-seconds of LBM training steps: `python benchmarks/training_step.py [--threads 1]`.

One process, fixed threads, fp32, random data; prints forward and the whole step (forward, backward, optimiser) for the
published configuration and for the default graph's small one. Compare ratios measured in one run, not absolute times.
"""

import argparse
import resource
import time

import torch

from trainer.config import compose
from trainer.models import build

GRID = (("published", 2, 64), ("published", 4, 64), ("published", 2, 256), ("small", 4, 64))


def measure(name: str, num_frames: int, num_points: int, steps: int) -> tuple[float, float]:
    """Best CPU-seconds of forward and of a whole step at batch 1."""
    torch.manual_seed(0)
    settings = {} if name == "published" else compose("lbm", ["model=lbm_small"]).model
    model = build("lbm", **{key: value for key, value in settings.items() if key != "name"}).train()
    height, width = model.config.input_size
    video = torch.rand(1, num_frames, 3, height, width) * 255
    tracks = torch.rand(1, num_frames, num_points, 2) * torch.tensor([width, height])
    visible = torch.ones(1, num_frames, num_points, dtype=torch.bool)
    queries = torch.cat([torch.zeros(1, num_points, 1), tracks[:, 0]], -1)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    forward, whole = [], []
    for _ in range(steps):
        began = time.process_time()
        loss = torch.stack(list(model.losses(video, queries, tracks, visible).values())).sum()
        forward.append(time.process_time() - began)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        whole.append(time.process_time() - began)
    return min(forward), min(whole)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{'model':12} {'T':>3} {'N':>4} {'forward':>9} {'step':>9}  CPU-seconds, {options.threads} thread(s)")
    for name, num_frames, num_points in GRID:
        forward, whole = measure(name, num_frames, num_points, options.steps)
        print(f"{name:12} {num_frames:3} {num_points:4} {forward:9.2f} {whole:9.2f}", flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
