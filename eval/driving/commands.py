"""Commands of the evaluation of driving: `python -m eval drives-score --help` and its neighbours."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_commands(commands, add_command) -> None:
    """Add the commands to those of `python -m eval`; add_command(commands, name, run, summary) makes one."""
    copy = add_command(commands, "drives-copy", copy_command, "roll out the last given frame: a baseline")
    copy.add_argument("--truth", required=True, help="index.json of the benchmark's shards")
    copy.add_argument("--num-frames", type=int, required=True, help="frames of a window")
    copy.add_argument("--frame-step", type=int, default=1, help="take every k-th frame of a clip (default: 1)")
    copy.add_argument("--height", type=int, required=True, help="of the frames, pixels")
    copy.add_argument("--width", type=int, required=True, help="of the frames, pixels")
    copy.add_argument("--num-given", type=int, default=1, help="first frames that are given (default: 1)")
    copy.add_argument("--num-clips", type=int, help="the first so many of the index (default: all)")
    copy.add_argument("--windows", type=int, default=1, help="so many of each clip, evenly spread (default: 1)")
    copy.add_argument("--out", type=Path, required=True, help="rollouts.npz to write")

    score = add_command(commands, "drives-score", score_command, "score rollouts of a driving world model")
    _add_rollouts(score)
    score.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    score.add_argument("--out", type=Path, required=True, help="score json to write")

    table = add_command(commands, "drives-table", table_command, "put score jsons of driving into tables")
    table.add_argument("scores", type=Path, nargs="+", metavar="SCORE.json")
    table.add_argument("--out", type=Path, required=True, help="table.md to write; table.csv is written beside it")

    sheet = add_command(commands, "drives-sheet", sheet_command, "draw made frames below the true ones")
    _add_rollouts(sheet)
    sheet.add_argument("--clips", type=int, default=4, help="evenly spread over the benchmark (default: 4)")
    sheet.add_argument("--film", type=Path, help="mp4 to write, too: the same clips, moving")
    sheet.add_argument("--out", type=Path, required=True, help="png to write")

    frechet = add_command(commands, "drives-frechet", frechet_command, "Frechet distance, as of FID and FVD")
    _add_rollouts(frechet)
    frechet.add_argument(
        "--extractor",
        required=True,
        metavar="MODULE:FUNCTION",
        help="from frames (N, T, H, W, 3) uint8 to features (N, D). There is no default: the networks of FID and FVD "
        "do not come with this project, and features of others give other numbers",
    )
    frechet.add_argument("--told", default="true", help="true, shuffled or none (default: true)")
    frechet.add_argument("--by-frame", action="store_true", help="made frames one by one, as FID; else windows, as FVD")
    frechet.add_argument("--allow-few", action="store_true", help="go on with fewer samples than features")
    frechet.add_argument("--out", type=Path, required=True, help="json to write")

    distance = add_command(commands, "drives-distance", distance_command, "perceptual distance by frame, as of LPIPS")
    _add_rollouts(distance)
    distance.add_argument(
        "--distance",
        required=True,
        metavar="MODULE:FUNCTION",
        help="from made and true frames, each (T, H, W, 3) uint8, to distances (T,). There is no default: the weights "
        "of LPIPS do not come with this project, and other functions give other numbers",
    )
    distance.add_argument("--name", default="", help="what it is called (default: the function's name)")
    distance.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    distance.add_argument("--out", type=Path, required=True, help="json to write")


def _add_rollouts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rollouts", type=Path, required=True, help="rollouts.npz of one model")
    parser.add_argument("--truth", required=True, help="index.json of the benchmark's shards")


# Each command imports what it needs: scoring starts without Pillow.
def copy_command(options: argparse.Namespace) -> None:
    """Roll out the baseline."""
    from eval.driving.copying import write_copies
    from eval.driving.rollouts import SIZES

    settings = {name: getattr(options, name) for name in SIZES}
    print(f"wrote {write_copies(options.truth, options.out, settings, options.num_clips, options.windows)}")


def score_command(options: argparse.Namespace) -> None:
    """Score and print the means."""
    from eval.driving.columns import LEADING, METRICS
    from eval.driving.score import score_rollouts, write_driving_score
    from eval.driving.table import format_cell

    score = score_rollouts(options.rollouts, options.truth, seed=options.seed)
    write_driving_score(score, options.out)
    shown = (metric for metric in (*LEADING, "psnr_copy") if metric in score["mean"])
    told = "  ".join(f"{METRICS[metric].title} {format_cell(metric, score)}" for metric in shown)
    if "turn_correlation_floor" in score["mean"]:
        told += f"  of true frames turn r {format_cell('turn_correlation_floor', score)}"
    num_windows = sum(map(len, score["windows"].values()))
    each = f", {num_windows} windows" if num_windows > score["num_clips"] else ""
    print(f"{score['benchmark']} {score['model']}: {told}  ({score['num_clips']} clips{each})")
    print(f"wrote {options.out}")


def table_command(options: argparse.Namespace) -> None:
    """Write and print the tables."""
    from eval.driving.table import read_driving_tables, render_driving_markdown, write_driving_tables

    tables = read_driving_tables(options.scores)
    markdown_path, csv_path = write_driving_tables(tables, options.out)
    print(render_driving_markdown(tables))
    print(f"wrote {markdown_path} and {csv_path}")


def sheet_command(options: argparse.Namespace) -> None:
    """Draw the sheet, and the film where it is asked for."""
    from eval.driving.drawing import draw_sheet, write_film
    from shards.files import write_bytes

    print(f"wrote {write_bytes(options.out, draw_sheet(options.rollouts, options.truth, options.clips))}")
    if options.film:
        write_film(options.rollouts, options.truth, options.film, options.clips)
        print(f"wrote {options.film}")


def frechet_command(options: argparse.Namespace) -> None:
    """Measure and print the distance."""
    from eval.driving.frechet import measure
    from shards.files import write_text

    found = measure(
        options.rollouts,
        options.truth,
        options.extractor,
        told=options.told,
        by_frame=options.by_frame,
        allow_few=options.allow_few,
    )
    told = f"{found['num_samples']} {found['samples']}, {found['num_features']} features of {found['extractor']}"
    print(f"{found['benchmark']} {found['model']}: {found['distance']:.4g} ({told})")
    if found["is_biased"]:
        print("warning: fewer samples than features; this number compares with nothing")
    print(f"wrote {write_text(options.out, json.dumps(found, indent=1, allow_nan=False) + chr(10))}")


def distance_command(options: argparse.Namespace) -> None:
    """Measure and print the distances, of each made frame too."""
    from eval.driving.perceptual import measure_distances
    from shards.files import write_text

    found = measure_distances(options.rollouts, options.truth, options.distance, name=options.name, seed=options.seed)
    print(f"{found['benchmark']} {found['model']}: {found['name']} by {found['distance']}, {found['num_clips']} clips")
    for told, mean in found["mean"].items():
        ends, frames = found["interval"][told], found["by_frame"][told]["mean"]
        interval = f" [{ends[0]:.4f}, {ends[1]:.4f}]" if ends else ""
        print(f"{told}: {mean:.4f}{interval}  by frame {' '.join(f'{value:.4f}' for value in frames)}")
    print(f"wrote {write_text(options.out, json.dumps(found, indent=1, allow_nan=False) + chr(10))}")
