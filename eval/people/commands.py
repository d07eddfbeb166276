"""Commands of the evaluation of people: `python -m eval people-score --help` and its neighbours."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_commands(commands, add_command) -> None:
    """Add the commands to those of `python -m eval`; add_command(commands, name, run, summary) makes one."""
    score = add_command(commands, "people-score", score_command, "score predicted bodies against the truth")
    score.add_argument("--predictions", type=Path, required=True, help="predictions.npz of one model")
    _add_truth(score)
    score.add_argument(
        "--most-failed", type=float, default=0.5, metavar="SHARE", help="of frames without a camera (default: 0.5)"
    )
    score.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    score.add_argument("--out", type=Path, required=True, help="score json to write")

    table = add_command(commands, "people-table", table_command, "put score jsons of people into tables")
    table.add_argument("scores", type=Path, nargs="+", metavar="SCORE.json")
    table.add_argument("--out", type=Path, required=True, help="table.md to write; table.csv is written beside it")

    compare = add_command(commands, "people-compare", compare_command, "say in what two scores of people differ")
    compare.add_argument("first", type=Path, metavar="A.json")
    compare.add_argument("second", type=Path, metavar="B.json", help="differences are B - A")
    compare.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    compare.add_argument("--out", type=Path, help="markdown file to write, too")

    overlay = add_command(commands, "people-overlay", overlay_command, "draw predicted meshes over their pictures")
    overlay.add_argument("--predictions", type=Path, required=True, help="predictions.npz of one model")
    _add_truth(overlay)
    overlay.add_argument("--frames", type=int, default=3, help="evenly spread from good to bad (default: 3)")
    overlay.add_argument("--out", type=Path, required=True, help="png to write")

    constant = add_command(commands, "people-constant", constant_command, "predict what a constant can: a baseline")
    constant.add_argument("--training", required=True, help="index.json of the training set's shards")
    _add_truth(constant)
    constant.add_argument("--out", type=Path, required=True, help="predictions.npz to write")


def _add_truth(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--truth", required=True, help="index.json of the benchmark's shards")
    parser.add_argument("--body", type=Path, required=True, help="the body file that the shards were made with")


# Each command imports what it needs: scoring starts without Pillow.
def score_command(options: argparse.Namespace) -> None:
    """Score and tell the leading numbers."""
    from eval.people.metrics import METRICS
    from eval.people.score import score_people, write_people_score
    from eval.people.table import format_cell, row_name

    score = score_people(
        options.predictions, options.truth, options.body, most_failed=options.most_failed, seed=options.seed
    )
    write_people_score(score, options.out)
    told = "  ".join(f"{METRICS[metric].title} {format_cell(metric, score)}" for metric in score["mean"])
    print(f"{score['benchmark']} {row_name(score)} ({score['body']['name']}): {told}")
    for reason, count in score["failures"].items():
        print(f"no camera in {count} of {score['num_frames']} frames: {reason}")
    print(f"wrote {options.out}")


def table_command(options: argparse.Namespace) -> None:
    """Write and print the tables."""
    from eval.people.table import read_people_tables, render_people_markdown, write_people_tables

    tables = read_people_tables(options.scores)
    markdown_path, csv_path = write_people_tables(tables, options.out)
    print(render_people_markdown(tables))
    print(f"wrote {markdown_path} and {csv_path}")


def compare_command(options: argparse.Namespace) -> None:
    """Print the comparison, and write it where that is asked for."""
    from eval.people.table import render_people_comparison
    from shards.files import write_text

    told = render_people_comparison(options.first, options.second, seed=options.seed)
    print(told)
    if options.out:
        print(f"wrote {write_text(options.out, told)}")


def overlay_command(options: argparse.Namespace) -> None:
    """Draw the overlays."""
    from eval.people.overlay import draw_overlays
    from shards.files import write_bytes

    if options.frames < 1:
        raise ValueError(f"--frames {options.frames}: draw one or more")
    drawing = draw_overlays(options.predictions, options.truth, options.body, options.frames)
    print(f"wrote {write_bytes(options.out, drawing)}")


def constant_command(options: argparse.Namespace) -> None:
    """Predict the constant."""
    from eval.people.constant import predict_constant

    print(f"wrote {predict_constant(options.training, options.truth, options.body, options.out)}")
