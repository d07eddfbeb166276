"""Commands of the evaluation: `python -m eval COMMAND --help`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from eval.driving import commands as driving
from eval.people import commands as people
from eval.tapvid import QUERY_MODES, RESOLUTION

DESCRIPTION = """Score point tracks by the TAP-Vid protocol, bodies by BLADE's metrics, drives that were made; show it.

  track      truth               -> predictions.npz of a tracker that needs no training
  queries    truth               -> queries.npz for a tracker that runs elsewhere
  adopt      predictions         -> the same predictions under another name
  score      predictions + truth -> score json (delta_avg, AJ, OA, by video and mean)
  table      score jsons         -> table.md and table.csv
  compare    two score jsons -> which videos differ, with an interval
  curves     metrics.jsonl       -> curves.png
  draw       truth + predictions -> one clip with its tracks drawn on it, .webp
  report     all of these        -> one HTML that opens offline
  dataset    index.json          -> one HTML: what is in a packed data set

Of people (shards with bodies and cameras):

  people-score     predictions + truth  -> score json (T_z, f, T_xy, MPJPE, PVE, mIoU and the like)
  people-table     score jsons          -> tables with intervals, by distance too, .md and .csv
  people-compare   two score jsons      -> in what they differ, with intervals
  people-overlay   predictions + truth  -> predicted meshes over their pictures, .png
  people-constant  a training set       -> predictions.npz of the best constant: a baseline

Of driving world models (shards with drives):

  drives-copy      truth                -> rollouts.npz of the last given frame: a baseline
  drives-score     rollouts + truth     -> score json (PSNR, SSIM, whether the motion that was told is followed)
  drives-table     score jsons          -> tables with intervals, .md and .csv
  drives-sheet     rollouts + truth     -> made frames below the true ones, .png and .mp4
  drives-frechet   rollouts + truth     -> Frechet distance of features that you bring (FID, FVD)

A truth is an index.json of shards (python -m shards index), a path or a URL."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of the user is one line on stderr and exit code 2."""
    options = _build_parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, OSError) as error:
        told = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        print(f"error: {told}", file=sys.stderr)
        return 2
    return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eval", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_tracker_commands(commands)
    _add_page_commands(commands)
    people.add_commands(commands, _add_command)
    driving.add_commands(commands, _add_command)
    return parser


def _add_tracker_commands(commands) -> None:
    """What asks, what answers, and what judges the answers."""
    score = _add_command(commands, "score", _score, "score a predictions.npz against the truth it was made for")
    score.add_argument("--predictions", type=Path, required=True, help="predictions.npz of one tracker")
    score.add_argument("--truth", required=True, help="index.json of the benchmark's shards")
    score.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="METRICS",
        help="redetection (AJ_RD), survival (and median trajectory error), accuracy (of Dynamic Replica: only for a "
        "truth that knows where hidden points are)",
    )
    score.add_argument("--tracks", action="store_true", help="write the metrics of every query, too")
    score.add_argument("--out", type=Path, required=True, help="score json to write")

    track = _add_command(commands, "track", _track, "predict with a tracker that needs no training")
    track.add_argument("--tracker", required=True, help="static: points stay at their query; lucas_kanade: OpenCV's")
    track.add_argument("--truth", required=True, help="index.json of the benchmark's shards")
    track.add_argument("--query-mode", choices=QUERY_MODES, default="first", help="default: first")
    track.add_argument("--resolution", type=int, default=RESOLUTION, help=f"of its frames (default: {RESOLUTION})")
    track.add_argument("--out", type=Path, required=True, help="predictions.npz to write")

    queries = _add_command(commands, "queries", _queries, "write what a benchmark asks, for a tracker elsewhere")
    queries.add_argument("--truth", required=True, help="index.json of the benchmark's shards")
    queries.add_argument("--query-mode", choices=QUERY_MODES, default="first", help="default: first")
    queries.add_argument("--frames", action="store_true", help="add the frames, resized to 256x256")
    queries.add_argument("--out", type=Path, required=True, help="queries.npz to write")

    adopt = _add_command(commands, "adopt", _adopt, "copy the predictions of a tracker under another name")
    adopt.add_argument("predictions", type=Path, metavar="PREDICTIONS.npz")
    adopt.add_argument("--tracker", required=True, help="the name that tables show")
    adopt.add_argument("--query-mode", choices=QUERY_MODES, required=True, help="refuse predictions of the other one")
    adopt.add_argument("--out", type=Path, required=True, help="predictions.npz to write")


def _add_page_commands(commands) -> None:
    """What shows scores, tracks and data to people."""
    table = _add_command(commands, "table", _table, "put score jsons into one table a benchmark and query mode")
    table.add_argument("scores", type=Path, nargs="+", metavar="SCORE.json")
    table.add_argument("--out", type=Path, required=True, help="table.md to write; table.csv is written beside it")

    compare = _add_command(commands, "compare", _compare, "say in which videos two scores differ, and how surely")
    compare.add_argument("first", type=Path, metavar="A.json")
    compare.add_argument("second", type=Path, metavar="B.json", help="differences are B - A")
    compare.add_argument("--by", default="average_jaccard", metavar="METRIC", help="sorts the videos (default: AJ)")
    compare.add_argument("--videos", type=int, default=10, help="videos to list (default: 10)")
    compare.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    compare.add_argument("--out", type=Path, help="markdown file to write, too")

    curves = _add_command(commands, "curves", _curves, "draw losses, learning rate and speed of trainings")
    curves.add_argument("metrics", type=Path, nargs="+", metavar="metrics.jsonl")
    curves.add_argument("--out", type=Path, required=True, help="png to write")

    draw = _add_command(commands, "draw", _draw, "draw the true and the predicted tracks of one clip")
    draw.add_argument("--truth", required=True, help="index.json of shards")
    draw.add_argument("--predictions", type=Path, nargs="*", default=[], help="predictions.npz, one panel each")
    draw.add_argument("--query-mode", choices=QUERY_MODES, default="first", help="default: first")
    draw.add_argument("--video", help="name of the video; the first one by default")
    draw.add_argument("--still", action="store_true", help="a still of four frames instead of an animation")
    draw.add_argument("--out", type=Path, required=True, help="webp to write")

    report = _add_command(commands, "report", _report, "write one self-contained HTML that opens offline")
    report.add_argument("--title", default="Frameline report", help="heading of the page")
    report.add_argument("--scores", type=Path, nargs="*", default=[], metavar="SCORE.json")
    report.add_argument("--people-scores", type=Path, nargs="*", default=[], metavar="SCORE.json", help="of people")
    report.add_argument("--people-overlays", type=Path, nargs="*", default=[], metavar="PNG", help="of people")
    report.add_argument("--driving-scores", type=Path, nargs="*", default=[], metavar="SCORE.json", help="of driving")
    report.add_argument("--driving-sheets", type=Path, nargs="*", default=[], metavar="PNG", help="of driving")
    report.add_argument("--curves", type=Path, nargs="*", default=[], metavar="metrics.jsonl")
    report.add_argument("--predictions", type=Path, nargs="*", default=[], metavar="PREDICTIONS.npz", help="drawn")
    report.add_argument("--truth", nargs="*", default=[], metavar="INDEX", help="truths of the predictions")
    report.add_argument("--graph", type=Path, help="graph.dot (snakemake --rulegraph) or graph.svg")
    report.add_argument("--recipe", type=Path, nargs="*", default=[], metavar="recipe.yaml")
    report.add_argument("--root", type=Path, help="folder that snakemake ran in: adds what its jobs have cost")
    report.add_argument("--note", action="append", default=[], metavar="TEXT", help="what was not scored, and why")
    report.add_argument("--video", help="video to draw where a benchmark has it; the median one by default")
    report.add_argument("--out", type=Path, required=True, help="html to write")

    dataset = _add_command(commands, "dataset", _dataset, "write one self-contained HTML of what a data set holds")
    dataset.add_argument("index", metavar="INDEX", help="index.json of shards")
    dataset.add_argument("--clips", type=int, default=12, help="clips to show, evenly spread (default: 12)")
    dataset.add_argument("--sample", type=int, default=512, help="clips to examine, evenly spread (default: 512)")
    dataset.add_argument("--out", type=Path, required=True, help="html to write")


def _add_command(commands, name: str, run, summary: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    parser.set_defaults(run=run)
    return parser


# Each command imports what it needs: scoring starts without matplotlib.
def _score(options: argparse.Namespace) -> None:
    from eval.score import score_predictions, write_score
    from eval.table import LEADING_COLUMNS, format_percent

    score = score_predictions(options.predictions, options.truth, also=options.also, with_tracks=options.tracks)
    write_score(score, options.out)
    told = "  ".join(f"{title} {format_percent(score['mean'][key])}" for key, title in LEADING_COLUMNS.items())
    print(f"{score['benchmark']} {score['query_mode']} {score['tracker']}: {told}  ({score['num_videos']} videos)")
    print(f"wrote {options.out}")


def _track(options: argparse.Namespace) -> None:
    from eval.baselines import predict_baseline

    print(
        f"wrote {predict_baseline(options.tracker, options.truth, options.query_mode, options.out, options.resolution)}"
    )


def _queries(options: argparse.Namespace) -> None:
    from eval.exchange import write_queries

    print(f"wrote {write_queries(options.truth, options.query_mode, options.out, has_frames=options.frames)}")


def _adopt(options: argparse.Namespace) -> None:
    from eval.exchange import adopt_predictions

    print(f"wrote {adopt_predictions(options.predictions, options.tracker, options.query_mode, options.out)}")


def _table(options: argparse.Namespace) -> None:
    from eval.table import read_tables, render_markdown, write_tables

    tables = read_tables(options.scores)
    markdown_path, csv_path = write_tables(tables, options.out)
    print(render_markdown(tables))
    print(f"wrote {markdown_path} and {csv_path}")


def _compare(options: argparse.Namespace) -> None:
    from eval.compare import read_pair, render_comparison
    from shards.files import write_text

    first, second = read_pair(options.first, options.second)
    told = render_comparison(first, second, by=options.by, seed=options.seed, num_videos=options.videos)
    print(told)
    if options.out:
        print(f"wrote {write_text(options.out, told)}")


def _curves(options: argparse.Namespace) -> None:
    from eval.curves import write_curves_png

    print(f"wrote {write_curves_png(options.metrics, options.out)}")


def _draw(options: argparse.Namespace) -> None:
    from eval.clips import draw_clip
    from eval.predictions import read_predictions
    from eval.protocol import Truth
    from shards.files import write_bytes

    truth = Truth(options.truth)
    predictions = [read_predictions(path) for path in options.predictions]
    drawing = draw_clip(truth, options.video or truth.names[0], predictions, query_mode=options.query_mode)
    print(f"wrote {write_bytes(options.out, drawing.still if options.still else drawing.animation)}")


def _report(options: argparse.Namespace) -> None:
    from eval.report import ReportInputs, write_report
    from shards.shelf import find_shelf

    inputs = ReportInputs(
        title=options.title,
        scores=options.scores,
        people_scores=options.people_scores,
        people_overlays=options.people_overlays,
        driving_scores=options.driving_scores,
        driving_sheets=options.driving_sheets,
        curves=options.curves,
        predictions=options.predictions,
        truths=[find_shelf(truth).path for truth in options.truth],
        recipes=options.recipe,
        graph=options.graph,
        root=options.root,
        notes=options.note,
        video=options.video,
    )
    print(f"wrote {write_report(inputs, options.out)}")


def _dataset(options: argparse.Namespace) -> None:
    from eval.dataset import write_dataset_page

    page = write_dataset_page(options.index, options.out, num_pictures=options.clips, sample=options.sample)
    print(f"wrote {page}")


if __name__ == "__main__":
    sys.exit(main())
