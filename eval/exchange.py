"""What goes to a tracker that runs elsewhere, and what comes back from it: queries.npz and predictions.npz.

Both are plain npz files, so that such a tracker needs numpy and nothing of ours. N queries, T frames.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from eval.predictions import read_predictions, write_array
from eval.protocol import Truth
from eval.tapvid import RESOLUTION
from shards.files import appearing

QUERIES_FORMAT = "frameline-queries/1"


def write_queries(truth_path: str | Path, query_mode: str, out_path: str | Path, *, has_frames: bool = False) -> Path:
    """Write what a benchmark asks, atomically, one video at a time in memory; returns the path.

    The arrays: `format`, `query_mode`, `resolution`, `truth_sha256`, `names` (V,), and for each video
    `<name>/query_points` (N, 3) float64 as (t, y, x) in pixels at 256x256, raster convention, `<name>/num_frames`, and
    with `has_frames` `<name>/frames` (T, 256, 256, 3) uint8. The answers are not in it. Raises ValueError where the
    truth or the query mode cannot be read.
    """
    truth, out_path = Truth(truth_path), Path(out_path)
    header = {"format": QUERIES_FORMAT, "query_mode": query_mode, "resolution": np.int64(RESOLUTION)}
    header |= {"truth_sha256": truth.sha256, "names": np.array(truth.names, dtype=str)}
    with appearing(out_path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for field, value in header.items():
            write_array(archive, field, np.array(value))
        for name in truth.names:
            video = truth.video(name, query_mode)
            write_array(archive, f"{name}/query_points", video.query_points)
            write_array(archive, f"{name}/num_frames", np.array(video.num_frames))
            if has_frames:
                write_array(archive, f"{name}/frames", truth.frames(name))
    return out_path


def adopt_predictions(path: str | Path, tracker: str, query_mode: str, out_path: str | Path) -> Path:
    """Copy a predictions.npz under the name `tracker`, so that it becomes a row of that name; returns the new path.

    Every array but the name stays as it is, and every video is read and checked. Raises ValueError where the file is
    no predictions.npz, is damaged, or answers the queries of another mode.
    """
    predictions = read_predictions(path)
    if predictions.query_mode != query_mode:
        raise ValueError(
            f"{path}: answers the queries of mode {predictions.query_mode!r}, here those of {query_mode!r} are wanted; "
            f"predict those of `python -m eval queries --query-mode {query_mode}`"
        )
    for name in predictions.names:
        predictions.video(name)
    out_path = Path(out_path)
    with (
        np.load(path, allow_pickle=False) as given,
        appearing(out_path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for field in given.files:
            write_array(archive, field, np.array(tracker) if field == "tracker" else given[field])
    return out_path
