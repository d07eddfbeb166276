"""Weights for others, and from others: `python -m trainer.export --weights W --format onnx --out lbm.onnx`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save
from torch import nn

from shards.files import sha256_of, write_bytes
from trainer.checkpoint import load_into, load_weights, save_weights
from trainer.config import DataConfig, Recipe, TrainingConfig
from trainer.consolidated import PICKS, consolidate
from trainer.lora import save_adapters
from trainer.models import TASKS
from trainer.models import build as build_model
from trainer.onnx_step import check_step, export_step
from trainer.published import read_published

LARGEST_DIFFERENCE_PX = 1e-2
"""A point of the exported file may be this far from PyTorch's: rounding is a thousandth of it."""


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.export",
        description="Export trained weights (--weights, --format), take them out of a checkpoint (--checkpoint), or "
        "take in published ones (--from).",
        epilog="python -m trainer.export --weights results/lbm/weights.safetensors --format onnx --out lbm.onnx\n"
        "python -m trainer.export --checkpoint runs/lbm/0a1b2c3d4e5f/checkpoint-00000500.sharded --out w.safetensors\n"
        "python -m trainer.export --from lbm.pt --out weights.safetensors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--weights", type=Path, help="safetensors file of trainer.launch or of --from")
    source.add_argument("--checkpoint", type=Path, help="checkpoint of a run: a file, or a folder of shards")
    what = "published weights to take in: .pt, .bin, .safetensors, an index of many files, or a folder"
    source.add_argument("--from", type=Path, dest="published", help=what)
    parser.add_argument("--format", choices=["onnx", "safetensors", "lora"], help="what to write; lora: peft's folder")
    parser.add_argument("--pick", choices=PICKS, help="with --checkpoint: weights of the last step or their average")
    parser.add_argument("--out", type=Path, required=True, help="file to write (of lora a folder)")
    parser.add_argument("--memory-size", type=int, help="onnx: frames that can be remembered (default: as trained)")
    parser.add_argument("--points", type=int, default=10, help="onnx: fast for this number; right for any (default 10)")
    parser.add_argument("--opset", type=int, default=18, help="onnx: operator set (default 18)")
    parser.add_argument("--no-check", action="store_true", help="onnx: do not compare with PyTorch")
    parser.add_argument("--model", choices=sorted(TASKS), default="lbm", help="with --from: which model it is")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="with --from: settings (memory_size=12)")
    options = parser.parse_args(arguments)
    if options.weights and options.format not in ("onnx", "safetensors"):
        parser.error("--weights needs --format onnx or --format safetensors; adapters are in a --checkpoint")
    if options.checkpoint and options.format == "onnx":
        parser.error("--checkpoint writes safetensors; make onnx of those by --weights in a second command")
    if options.pick and not options.checkpoint:
        parser.error("--pick goes with --checkpoint")
    if options.published and options.format:
        parser.error("--from writes weights with a recipe; export those with --weights in a second command")
    if not options.published and options.settings:
        parser.error(f"{options.settings[0]}: only --from takes settings; others have a recipe")
    return options


def export_onnx(options: argparse.Namespace) -> None:
    """Write the ONNX file of a step, compare it with PyTorch, and print the largest differences.

    Raises ValueError for weights that do not fit, and for a file that does not compute what PyTorch computes.
    """
    model, recipe = _load(options.weights)
    if recipe.model["name"] != "lbm":
        raise ValueError(f"{options.weights}: there is no ONNX export of the model '{recipe.model['name']}'")
    export_step(options.out, model, memory_size=options.memory_size, num_points=options.points, opset=options.opset)
    print(f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB, opset {options.opset}")
    if options.no_check:
        return
    found = check_step(options.out, model)
    print(
        f"largest difference to PyTorch over {found.num_frames} frames, {min(found.num_points)} to "
        f"{max(found.num_points)} points: {found.points_px:.1e} px, visibility {found.visibility:.1e}, "
        f"uncertainty {found.uncertainty:.1e}"
    )
    if not found.points_px <= LARGEST_DIFFERENCE_PX:
        raise ValueError(
            f"{options.out}: points are {found.points_px:.1e} px from PyTorch's, allowed are {LARGEST_DIFFERENCE_PX}: "
            "do not use this file; try another --opset or version of onnxruntime"
        )


def export_safetensors(options: argparse.Namespace) -> None:
    """Write the state dict alone, with its published keys and no metadata."""
    model, recipe = _load(options.weights)
    task = TASKS[recipe.model["name"]]
    named = task.publish(model) if hasattr(task, "publish") else model.state_dict()
    tensors = {key: value.contiguous() for key, value in named.items()}
    write_bytes(options.out, save(tensors))
    print(f"{options.out}: {len(tensors)} tensors")


def export_checkpoint(options: argparse.Namespace) -> None:
    """Write the weights of a checkpoint as its training would in the end, or its adapters alone.

    Raises ValueError as `consolidate` does, and for adapters of a training that has none.
    """
    found = consolidate(options.checkpoint, options.pick)
    if options.format == "lora":
        if found.recipe.training.lora is None:
            raise ValueError(f"{options.checkpoint}: has no adapters (training.lora); use --format safetensors")
        number = save_adapters(options.out, found.model, found.recipe.training.lora)
        print(f"{options.out}: adapters of {found.pick} after step {found.step}, {number} tensors")
        return
    save_weights(options.out, found.model, found.recipe)
    print(f"{options.out}: {found.pick} after step {found.step}, {manifest(options.out)}")


def manifest(path: Path) -> str:
    """What a weights file holds, in a line: tensors, parameters (buffers are none), sha256."""
    model, _ = _load(path)
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    return f"{len(model.state_dict())} tensors, {num_parameters:,} parameters, sha256 {sha256_of(path)}"


def take_in(options: argparse.Namespace) -> None:
    """Write published weights as this project keeps its own; ValueError for a file or keys that do not fit."""
    settings = dict(_setting(text) for text in options.settings)
    model = build_model(options.model, **settings)
    tensors = read_published(options.published)
    fitted = TASKS[options.model].fit_weights(tensors, model)  # what is computed may lack; if it is there, it must fit
    load_into(model, fitted | {key: tensors[key] for key in fitted.keys() & tensors.keys()}, options.published)
    # A recipe describes a training; of this one only the model is known, and that nothing was trained here.
    recipe = Recipe(
        stage="published",
        exp_name=options.out.stem,
        model={"name": options.model, **settings},
        data=DataConfig(dataset="unknown"),
        training=TrainingConfig(num_steps=0),
    )
    save_weights(options.out, model, recipe)
    print(f"{options.out}: {manifest(options.out)}")


def _load(weights: Path) -> tuple[nn.Module, Recipe]:
    tensors, recipe = load_weights(weights)
    model = TASKS[recipe.model["name"]].build(recipe.model)
    load_into(model, tensors, weights)
    return model.eval(), recipe


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"'{text}' is no KEY=VALUE (memory_size=12, input_size=[384,512])")
    return key, yaml.safe_load(value)


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    options = parse_arguments(arguments)
    torch.set_num_threads(1)
    try:
        if options.published:
            take_in(options)
        elif options.checkpoint:
            export_checkpoint(options)
        elif options.format == "onnx":
            export_onnx(options)
        else:
            export_safetensors(options)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
