"""How fast the TAP-Vid metrics are beside the official code: `python benchmarks/tapvid_metric.py --official FILE`.

FILE is tapnet/tapvid/evaluation_datasets.py of google-deepmind/tapnet. Only its compute_tapvid_metrics is run, so that
none of what it imports need be installed. Both are given the same arrays, in turn, in one process; the time is the
median of CPU-seconds a call. Exits with 1 when a result differs by more than 1e-12.
"""

import argparse
import ast
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from eval.tapvid import QUERY_MODES, THRESHOLDS, compute_tapvid_metrics

SIZES = ((30, 70), (300, 60), (1000, 250))
"""Points and frames: a video of DAVIS in mode first, in mode strided, and one that is larger than any of it."""
TOLERANCE = 1e-12
NAME = "compute_tapvid_metrics"


def load_official(path: Path) -> Callable[..., Mapping[str, np.ndarray]]:
    """The function compute_tapvid_metrics of a source file, without running the rest of it."""
    tree = ast.parse(path.read_text(), str(path))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == NAME]
    if not functions:
        raise ValueError(f"{path}: defines no {NAME}; give evaluation_datasets.py of google-deepmind/tapnet")
    names = {"np": np, "Mapping": Mapping}
    exec(compile(ast.Module(functions, []), str(path), "exec"), names)
    return names[NAME]


def make_video(num_points: int, num_frames: int, query_mode: str, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Arguments of the metrics for one video: errors around the thresholds, a quarter of the cells hidden."""
    generator = np.random.default_rng([seed, num_points, num_frames])
    shape = (1, num_points, num_frames)
    queries = np.zeros((*shape[:2], 3))
    last = num_frames // 2 if query_mode == "first" else num_frames
    queries[..., 0] = generator.integers(0, last, shape[:2])
    truth = generator.uniform(0, 256, (*shape, 2))
    predicted = truth + generator.normal(0, 1, truth.shape) * generator.choice(THRESHOLDS, shape)[..., None]
    hidden, said_hidden = (generator.random(shape) < 0.25 for _ in range(2))
    return queries, hidden, truth, said_hidden, predicted.astype(np.float32)


def measure(official: Callable, num_points: int, num_frames: int, query_mode: str, seconds: float) -> tuple[float, ...]:
    """Median CPU-seconds a call of the official code and of ours, called in turn, and their largest difference."""
    video = make_video(num_points, num_frames, query_mode)
    wanted, found = official(*video, query_mode), compute_tapvid_metrics(*video, query_mode)
    if wanted.keys() != found.keys():
        raise ValueError(f"the official code has other metrics: {sorted(wanted.keys() ^ found.keys())}")
    difference = max(float(np.abs(wanted[name] - found[name]).max()) for name in wanted)
    times = ([], [])
    end = time.process_time() + seconds
    while time.process_time() < end:
        for function, taken in zip((official, compute_tapvid_metrics), times, strict=True):
            start = time.process_time()
            function(*video, query_mode)
            taken.append(time.process_time() - start)
    return statistics.median(times[0]), statistics.median(times[1]), difference


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 equal, 1 another result, 2 a mistake of the user's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="evaluation_datasets.py of google-deepmind/tapnet")
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU-seconds for each row")
    options = parser.parse_args(arguments)
    try:
        official = load_official(options.official)
        print("points frames mode     official      ours     ratio  largest difference")
        worst = 0.0
        for num_points, num_frames in SIZES:
            for mode in QUERY_MODES:
                theirs, ours, difference = measure(official, num_points, num_frames, mode, options.seconds)
                worst = max(worst, difference)
                print(f"{num_points:6d} {num_frames:6d} {mode:8s}", end="")
                print(f"{1e3 * theirs:7.3f} ms{1e3 * ours:7.3f} ms{theirs / ours:9.2f}{difference:20.1e}")
    except (ValueError, OSError, SyntaxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
