"""Weights and truth in, predictions out: `python -m trainer.predict --weights W --truth INDEX --out P`."""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from eval.predictions import VideoPrediction, write_predictions
from eval.protocol import Truth
from eval.tapvid import QUERY_MODES
from trainer.checkpoint import load_into, load_weights
from trainer.models import TASKS

MEMORY_SIZES = {"davis": 20, "robotap": 60, "kinetics": 36}
"""Memory slots at evaluation by a part of the data set's name, as published for LBM."""


INPUT_SIZE_HELP = "height and width to which the model resizes frames, like 384x512 (default: as trained)"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.predict",
        description="Track a benchmark's queries with trained weights (TAP-Vid protocol: frames resized to 256x256).",
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--truth", type=Path, required=True, help="index.json of the packed benchmark")
    parser.add_argument("--query-mode", choices=QUERY_MODES, default="first")
    parser.add_argument(
        "--memory-size",
        type=int,
        help="memory slots (default: by the data set's name, "
        f"{', '.join(f'{name} {size}' for name, size in MEMORY_SIZES.items())}, else as trained)",
    )
    parser.add_argument("--input-size", type=parse_size, metavar="HxW", help=INPUT_SIZE_HELP)
    parser.add_argument("--tracker", default="", help="name in the tables (default: the stage of the weights)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="predictions.npz to write")
    return parser.parse_args(arguments)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of `384x512`; argparse.ArgumentTypeError for anything else."""
    try:
        height, width = (int(part) for part in text.split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HEIGHTxWIDTH, like 384x512") from None
    return height, width


def memory_size_of(dataset: str) -> int | None:
    """Memory slots with which a data set is evaluated by default (`tapvid_davis`: 20); None: as trained."""
    return next((size for name, size in MEMORY_SIZES.items() if name in dataset.lower()), None)


def load_model(weights: Path, device: str, input_size: tuple[int, int] | None = None) -> tuple[nn.Module, str]:
    """The model inside a weights file, in evaluation mode, and the name of its stage.

    input_size: height and width at which it is to look at frames, if not as trained. Raises ValueError for weights or
    a size that do not fit.
    """
    tensors, recipe = load_weights(weights)
    task = TASKS[recipe.model["name"]]
    model = task.build(recipe.model | ({"input_size": list(input_size)} if input_size else {}))
    load_into(model, task.fit_weights(tensors, model), weights)
    return model.eval().to(device), recipe.stage


@torch.no_grad()
def track(
    model: nn.Module, video: np.ndarray, query_tyx: np.ndarray, memory_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Track one video forward in time: video (T, H, W, 3) uint8, queries (N, 3) -> points (T, N, 2), visible (T, N)."""
    device = next(model.parameters()).device
    frames = torch.from_numpy(video).to(device).permute(0, 3, 1, 2)[None].float()  # (1, T, 3, H, W)
    queries = torch.from_numpy(query_tyx[:, [0, 2, 1]].astype(np.float32))[None].to(device)  # (1, N, 3) t, x, y
    result = model.track(frames, queries, memory_size=memory_size)
    return result.points[0].cpu().numpy(), result.visible[0].cpu().numpy()


def track_both_ways(
    model: nn.Module, video: np.ndarray, query_tyx: np.ndarray, memory_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Track forward, and fill the frames before each query from the time-reversed video: the model is causal."""
    points, visible = track(model, video, query_tyx, memory_size)
    query_frame = np.round(query_tyx[:, 0]).astype(int)
    if query_frame.max(initial=0) == 0:
        return points, visible
    reversed_query = query_tyx.copy()
    reversed_query[:, 0] = len(video) - 1 - query_frame
    back_points, back_visible = track(model, np.ascontiguousarray(video[::-1]), reversed_query, memory_size)
    before = np.arange(len(video))[:, None] < query_frame  # (T, N)
    points = np.where(before[..., None], back_points[::-1], points)
    return points, np.where(before, back_visible[::-1], visible)


def predict(options: argparse.Namespace) -> None:
    """Track all clips of the truth and write the predictions; ValueError for weights or truth that do not fit."""
    torch.set_num_threads(options.threads)
    model, stage = load_model(options.weights, options.device, options.input_size)
    truth = Truth(options.truth)
    tracker = options.tracker or stage
    memory_size = options.memory_size or memory_size_of(truth.dataset)
    names = tqdm(truth.names, desc=f"{tracker} on {truth.dataset}", unit="video", disable=None)
    write_predictions(
        options.out,
        tracker=tracker,
        query_mode=options.query_mode,
        truth_sha256=truth.sha256,
        videos=(predict_video(model, truth, name, options.query_mode, memory_size) for name in names),
    )
    print(f"{options.out}: {len(truth.names)} videos")


def predict_video(
    model: nn.Module, truth: Truth, name: str, query_mode: str, memory_size: int | None
) -> VideoPrediction:
    """Track the queries of one video at 256x256; in mode strided a causal model's frames before a query are filled
    backward."""
    follow = track_both_ways if query_mode == "strided" and model.is_causal else track
    query_points = truth.video(name, query_mode).query_points
    points, visible = follow(model, truth.frames(name), query_points, memory_size)
    return VideoPrediction(name=name, query_points=query_points, tracks=points.transpose(1, 0, 2), occluded=~visible.T)


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    try:
        predict(parse_arguments(arguments))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
