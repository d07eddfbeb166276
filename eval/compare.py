"""Two score jsons of one truth and one protocol: what differs, in which videos, and whether chance could do it.

The videos are paired: both trackers were scored on the same ones, and the mean over videos of the differences is drawn
again from resampled videos (paired bootstrap, percentile interval; Efron and Tibshirani, An Introduction to the
Bootstrap, 1993). It says what other videos of this kind would give; nothing of another training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.score import read_score
from eval.table import LEADING_COLUMNS, OTHER_COLUMNS, format_metric, row_name

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95
SAME = ("benchmark", "truth_sha256", "query_mode", "resolution")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B against A by one metric, over the V videos in which both have it; fractions, as in the scores.

    differences: B - A by video, the largest first, whatever its sign. interval: of the mean difference.
    """

    metric: str
    first_mean: float
    second_mean: float
    differences: dict[str, float]
    interval: tuple[float, float]

    @property
    def mean_difference(self) -> float:
        """Mean over videos of B - A."""
        return math.fsum(self.differences.values()) / len(self.differences)

    @property
    def is_certain(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.interval[0] <= 0 <= self.interval[1]


def bootstrap_mean(
    values: Sequence[float], seed: int, num_resamples: int = NUM_RESAMPLES, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Percentile interval of the mean of V values by resampling them with replacement; the same seed, the same numbers.

    Raises ValueError for fewer than two values, of which nothing can be said.
    """
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or len(array) < 2:
        raise ValueError(f"an interval needs two videos or more, not {array.size}")
    generator = np.random.default_rng(seed)
    # One resample at a time: Kinetics has a thousand videos.
    means = [array[generator.integers(0, len(array), len(array))].mean() for _ in range(num_resamples)]
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def read_pair(first_path: str | Path, second_path: str | Path) -> tuple[dict, dict]:
    """Read two score jsons; raises ValueError, with both files, where they cannot be compared."""
    first, second = read_score(first_path), read_score(second_path)
    for field in SAME:
        if first[field] != second[field]:
            raise ValueError(
                f"{first_path} and {second_path} do not compare: {field} is {first[field]!r} and {second[field]!r}; "
                "score both by one protocol against one truth (python -m eval score --help)"
            )
    if first["videos"].keys() != second["videos"].keys():
        other = sorted(first["videos"].keys() ^ second["videos"].keys())
        raise ValueError(f"{first_path} and {second_path}: {len(other)} videos are in one only, such as {other[0]!r}")
    return first, second


def compare_scores(first: dict, second: dict, metric: str, seed: int = 0) -> Comparison:
    """Compare two scores as `read_pair` gives them by one metric; ValueError when fewer than two videos have it."""
    pairs = {name: (first["videos"][name].get(metric), second["videos"][name].get(metric)) for name in first["videos"]}
    pairs = {name: pair for name, pair in pairs.items() if None not in pair}
    if len(pairs) < 2:
        raise ValueError(f"{metric}: {len(pairs)} videos have it in both scores; an interval needs two or more")
    differences = {name: after - before for name, (before, after) in pairs.items()}
    means = (math.fsum(column) / len(pairs) for column in zip(*pairs.values(), strict=True))
    return Comparison(
        metric=metric,
        first_mean=next(means),
        second_mean=next(means),
        differences=dict(sorted(differences.items(), key=lambda item: (-abs(item[1]), item[0]))),
        interval=bootstrap_mean(list(differences.values()), seed),
    )


def render_comparison(first: dict, second: dict, *, by: str, seed: int = 0, num_videos: int = 10) -> str:
    """Render, as markdown, TAP-Vid's three leading metrics and the `num_videos` videos that differ most by `by`."""
    metrics = dict.fromkeys([*LEADING_COLUMNS, by])
    found = {metric: compare_scores(first, second, metric, seed) for metric in metrics}
    names, titles = (row_name(first), row_name(second)), LEADING_COLUMNS | OTHER_COLUMNS
    rows = [
        [
            titles.get(metric, metric),
            format_metric(metric, row.first_mean),
            format_metric(metric, row.second_mean),
            format_metric(metric, row.mean_difference, sign="+"),
            " to ".join(format_metric(metric, end, sign="+") for end in row.interval),
            "yes" if row.is_certain else "no",
            str(len(row.differences)),
        ]
        for metric, row in found.items()
    ]
    header = ["metric", *names, "difference", f"{CONFIDENCE:.0%} interval", "differs", "videos"]
    protocol = f"{first['benchmark']}, queries: {first['query_mode']}, {first['resolution']}x{first['resolution']}"
    told = f"## {names[1]} against {names[0]}\n\n{protocol}; mean over videos, x100.\n\n{_render_rows(header, rows)}\n"
    differing = {name: value for name, value in found[by].differences.items() if value}
    told += f"\n{len(differing)} of {len(found[by].differences)} videos differ by {titles.get(by, by)}"
    if not differing:
        return f"{told}.\n"
    values = [(name, *(score["videos"][name][by] for score in (first, second))) for name in differing]
    videos = [
        [name, format_metric(by, before), format_metric(by, after), format_metric(by, after - before, sign="+")]
        for name, before, after in values[:num_videos]
    ]
    better = sum(value > 0 for value in differing.values())
    told += f", {better} upward and {len(differing) - better} downward. The {len(videos)} that differ most:\n\n"
    return told + _render_rows(["video", *names, "difference"], videos) + "\n"


def _render_rows(header: list[str], rows: list[list[str]]) -> str:
    alignment = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, alignment, *rows))
