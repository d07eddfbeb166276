"""Weights and truth in, predictions out: `python -m trainer.predict --weights W --truth INDEX --out P`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from eval.predictions import VideoPrediction, write_predictions
from eval.protocol import Truth
from eval.tapvid import QUERY_MODES, RESOLUTION
from trainer.answers import Asking, answer_here, answer_spread, describe_making
from trainer.checkpoint import load_into, load_weights
from trainer.command import exit_code_of
from trainer.leaks import check_leaks
from trainer.models import TASKS

MEMORY_SIZES = {"davis": 20, "robotap": 60, "kinetics": 36}
"""Memory slots at evaluation by a part of the data set's name, as published for LBM."""


INPUT_SIZE_HELP = "height and width to which the model resizes frames, like 384x512 (default: as trained)"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.predict",
        description="Track a benchmark's queries with trained weights by the protocol of TAP-Vid.",
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--truth", required=True, help="index.json of the packed benchmark, a path or a URL")
    parser.add_argument("--query-mode", choices=QUERY_MODES, default="first")
    parser.add_argument(
        "--resolution",
        type=int,
        default=RESOLUTION,
        help="height and width of the frames that the model is given (default, and official: "
        f"{RESOLUTION}; others are a protocol of their own)",
    )
    parser.add_argument(
        "--memory-size",
        type=int,
        help="memory slots (default: by the data set's name, "
        f"{', '.join(f'{name} {size}' for name, size in MEMORY_SIZES.items())}, else as trained)",
    )
    parser.add_argument("--input-size", type=parse_size, metavar="HxW", help=INPUT_SIZE_HELP)
    parser.add_argument(
        "--single-point",
        action="store_true",
        help="CoTracker3 tracks each point without the others (90 times the points)",
    )
    parser.add_argument("--tracker", default="", help="name in the tables (default: the stage of the weights)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each process")
    parser.add_argument("--processes", type=int, default=1, help="processes that the videos are spread over")
    parser.add_argument(
        "--check-leaks",
        type=int,
        default=0,
        metavar="VIDEOS",
        help="on so many videos, make sure that predictions depend on no other query (default: 0)",
    )
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


def check_device(device: str) -> None:
    """ValueError for a device that is not here."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device it was not built for
        raise ValueError(f"--device {device}: not available here ({str(error).splitlines()[0]})") from None


def load_model(
    weights: Path, device: str, input_size: tuple[int, int] | None = None, *, single_point: bool = False
) -> tuple[nn.Module, str]:
    """The model inside a weights file, in evaluation mode, and the name of its stage.

    input_size: height and width at which it is to look at frames, if not as trained. single_point: CoTracker3 is to
    track each point by itself. Raises ValueError for weights or settings that do not fit.
    """
    tensors, recipe = load_weights(weights)
    task = TASKS[recipe.model["name"]]
    changes = {"input_size": list(input_size)} if input_size else {}
    model = task.build(recipe.model | changes | ({"single_point": True} if single_point else {}))
    load_into(model, task.fit_weights(tensors, model), weights)
    return model.eval().to(device), recipe.stage


def start_answering(options: argparse.Namespace, asking: Asking, names: Sequence[str]) -> Iterator[VideoPrediction]:
    """What each process of several does: load the model and the truth, and answer the videos `names`."""
    torch.set_num_threads(options.threads)
    model, _ = load_model(options.weights, options.device, options.input_size, single_point=options.single_point)
    return answer_here(model, Truth(options.truth), names, asking)


def predict(options: argparse.Namespace) -> None:
    """Track all clips of the truth and write the predictions; ValueError for weights or truth that do not fit."""
    if options.processes < 1 or options.check_leaks < 0 or options.resolution < 1:
        raise ValueError("--processes and --resolution must be 1 or more, --check-leaks 0 or more")
    torch.set_num_threads(options.threads)
    model, stage = load_model(options.weights, options.device, options.input_size, single_point=options.single_point)
    truth = Truth(options.truth)
    asking = Asking(
        query_mode=options.query_mode,
        resolution=options.resolution,
        memory_size=options.memory_size or memory_size_of(truth.dataset),
    )
    making = describe_making(model, asking)
    if model.is_joint:
        print(f"{stage}: queries are tracked together, and the predictions say so (queries: {making.queries})")
    else:
        making = replace(making, num_checked_for_leaks=check_leaks(model, truth, asking, options.check_leaks))
    if options.processes == 1:
        videos = answer_here(model, truth, truth.names, asking)
    else:
        del model
        options.truth = truth.path  # of a URL the copy: what is behind it may change before they open it
        videos = answer_spread(partial(start_answering, options, asking), truth.names, options.processes)
    tracker = options.tracker or stage
    write_predictions(
        options.out,
        tracker=tracker,
        query_mode=options.query_mode,
        truth_sha256=truth.sha256,
        making=making,
        videos=tqdm(videos, f"{tracker} on {truth.dataset}", len(truth.names), unit="video", disable=None),
    )
    checked = f"{making.queries} (checked on {making.num_checked_for_leaks} videos)"
    print(f"{options.out}: {len(truth.names)} videos, queries {checked}")


def predict_video(
    model: nn.Module, truth: Truth, name: str, query_mode: str, memory_size: int | None
) -> VideoPrediction:
    """Track the queries of one video at 256x256, as `trainer.answers` does."""
    return next(answer_here(model, truth, [name], Asking(query_mode=query_mode, memory_size=memory_size)))


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: predict(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
