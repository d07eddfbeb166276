"""Weights and people in, bodies out: `python -m trainer.predict_people --weights W --truth INDEX --body B --out P`."""

import argparse
import sys
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from eval.people.predictions import NONE, PREDICTED, TRUE, PersonPrediction, write_predictions
from eval.people.truth import PeopleTruth
from trainer.checkpoint import load_into, load_weights
from trainer.command import exit_code_of
from trainer.config import Recipe
from trainer.models import TASKS
from trainer.people.asking import ask
from trainer.people.samples import settings_of


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.predict_people",
        description="Say how far away the person of every frame is, and in what pose and shape. Where the weights were "
        "trained on boxes, the crop is the square around the true 2D joints in the picture: as a detector's.",
    )
    parser.add_argument("--weights", type=Path, required=True, help="safetensors file of trainer.launch")
    parser.add_argument("--truth", required=True, help="index.json of the packed benchmark, a path or a URL")
    parser.add_argument("--body", type=Path, required=True, help="the body file that the benchmark was made with")
    parser.add_argument("--model", default="", help="name in the tables (default: the stage of the weights)")
    parser.add_argument(
        "--depth-noise",
        type=float,
        default=0.0,
        metavar="S",
        help="tell a PoseNet its depth times exp of a normal number of this deviation (default: 0)",
    )
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="predictions.npz to write")
    return parser.parse_args(arguments)


def load_people_model(weights: Path, device: str) -> tuple[nn.Module, Recipe]:
    """The model inside a weights file in evaluation mode, and its recipe; ValueError for weights of a tracker."""
    tensors, recipe = load_weights(weights)
    if recipe.data.people is None:
        raise ValueError(f"{weights}: stage {recipe.stage} tracks points; predict with python -m trainer.predict")
    task = TASKS[recipe.model["name"]]
    model = task.build(recipe.model)
    load_into(model, task.fit_weights(tensors, model), weights)
    return model.eval().to(device), recipe


def predict(options: argparse.Namespace) -> None:
    """Answer for all frames of the truth and write the predictions; ValueError for weights or truth that do not fit."""
    if options.depth_noise < 0:
        raise ValueError(f"--depth-noise {options.depth_noise} must be at least 0")
    torch.set_num_threads(options.threads)
    model, recipe = load_people_model(options.weights, options.device)
    truth, people = PeopleTruth(options.truth, options.body), settings_of(recipe.data)
    condition = condition_of(recipe)
    if options.depth_noise and condition == NONE:
        raise ValueError(f"{options.weights}: this model is told no depth; leave --depth-noise away")
    if recipe.model.get("depthnet", True) is None and condition == NONE:
        raise ValueError(f"{options.weights}: this PoseNet has no DepthNet and says no depth: no camera can be solved")
    sizes = (recipe.model.get("num_joints"), recipe.model.get("num_shapes"))
    if sizes[1] is not None and sizes != (truth.body.num_joints, truth.body.num_shapes):
        raise ValueError(
            f"{options.weights}: made for {sizes[0]} joints and {sizes[1]} shape coefficients, {options.body} has "
            f"{truth.body.num_joints} and {truth.body.num_shapes}; give the body file that it was trained with"
        )
    name = options.model or recipe.stage
    names = tqdm(truth.names, f"{name} on {truth.dataset}", unit="clip", disable=None)
    clips = (
        PersonPrediction(name=clip, **vars(ask(model, truth.clip(clip), people, options.depth_noise))) for clip in names
    )
    header = {"model": name, "condition": condition, "body": truth.body.digest, "truth_sha256": truth.sha256}
    write_predictions(options.out, clips=clips, **header)
    print(f"{options.out}: {len(truth.names)} clips, pose made for depth: {condition}")


def condition_of(recipe: Recipe) -> str:
    """Which depth the pose of a model is made for (CONDITIONS); `none` for a model that says nothing of the pose."""
    return {"predicted": PREDICTED, "oracle": TRUE}.get(recipe.model.get("depth"), NONE)


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    return exit_code_of(lambda: predict(parse_arguments(arguments)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
