"""A tracker that runs elsewhere: asked by queries.npz, answering by the example of the reference, adopted by name."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.__main__ import main
from eval.exchange import adopt_predictions, write_queries
from eval.predictions import read_predictions
from eval.protocol import Truth
from tests.eval.conftest import DRIFT, WIDTH

ROOT = Path(__file__).resolve().parents[2]
TRACKER = f"""
import numpy as np

def track(frames, queries):
    assert frames.shape == (10, 256, 256, 3) and frames.dtype == np.uint8
    elapsed = np.arange(len(frames)) - queries[:, :1]
    tracks = np.repeat(queries[:, None, [2, 1]], len(frames), axis=1)
    tracks[..., 0] += elapsed * {256 / WIDTH * DRIFT}
    return tracks, np.zeros(tracks.shape[:2])
"""


def example() -> str:
    """The Python of the reference that writes a predictions.npz."""
    text = (ROOT / "docs/reference/formats.md").read_text().split("## Predictions")[1]
    return re.search(r"```python\n(.*?)```", text, re.S).group(1)


@pytest.fixture
def answered(truth_path, tmp_path) -> Path:
    """What the example writes, run in a folder without our code, with plain numpy."""
    arguments = ["--truth", str(truth_path), "--frames", "--out", str(tmp_path / "queries.npz")]
    assert main(["queries", *arguments]) == 0
    (tmp_path / "my_tracker.py").write_text(TRACKER)
    (tmp_path / "example.py").write_text(example())
    subprocess.run([sys.executable, "-I", "-c", RUN_EXAMPLE], cwd=tmp_path, check=True)
    return tmp_path / "my_tracker.npz"


RUN_EXAMPLE = (
    "import sys; sys.path.insert(0, '.'); import runpy; runpy.run_path('example.py'); "
    "sys.exit(any(name.split('.')[0] in ('eval', 'shards') for name in sys.modules))"
)


def test_the_example_of_the_reference_is_short_and_scores_as_it_must(answered, truth_path, tmp_path, capsys):
    assert example().count("\n") <= 15
    out = tmp_path / "score.json"
    assert main(["score", "--predictions", str(answered), "--truth", str(truth_path), "--out", str(out)]) == 0
    score = json.loads(out.read_text())
    assert (score["tracker"], score["query_mode"], score["num_queries"]) == ("my_tracker", "first", 7)
    # It moves every point by the drift of the one video: perfect there, and 3.52 pixels a frame off in the other.
    assert score["videos"]["drift"]["average_pts_within_thresh"] == 1.0
    assert score["videos"]["still"]["pts_within_4"] == pytest.approx(1 / 9)


def test_queries_hold_what_is_asked_and_not_the_answers(truth_path, tmp_path):
    path = write_queries(truth_path, "strided", tmp_path / "q.npz")
    truth = Truth(truth_path)
    with np.load(path, allow_pickle=False) as asked:
        assert str(asked["format"]) == "frameline-queries/1" and str(asked["query_mode"]) == "strided"
        assert str(asked["truth_sha256"]) == truth.sha256 and int(asked["resolution"]) == 256
        assert tuple(asked["names"]) == truth.names
        for name in truth.names:
            video = truth.video(name, "strided")
            np.testing.assert_array_equal(asked[f"{name}/query_points"], video.query_points)
            assert int(asked[f"{name}/num_frames"]) == video.num_frames
        assert {field.split("/")[-1] for field in asked.files if "/" in field} == {"query_points", "num_frames"}
    with np.load(write_queries(truth_path, "first", tmp_path / "f.npz", has_frames=True)) as asked:
        np.testing.assert_array_equal(asked["drift/frames"], truth.frames("drift"))


def test_adopted_predictions_differ_by_their_name_alone(answered, tmp_path):
    with np.load(answered) as given:
        fields = dict(given)
    np.savez(answered, **fields, remark="kept as it is")
    out = tmp_path / "adopted.npz"
    assert main(["adopt", str(answered), "--tracker", "ours", "--query-mode", "first", "--out", str(out)]) == 0
    assert read_predictions(out).tracker == "ours"
    with np.load(out) as adopted:
        assert set(adopted.files) == {*fields, "remark"}
        for field in set(fields) - {"tracker"}:
            np.testing.assert_array_equal(adopted[field], fields[field])


def test_predictions_of_the_other_mode_and_damaged_ones_are_not_adopted(answered, tmp_path, capsys):
    out = tmp_path / "adopted.npz"
    assert main(["adopt", str(answered), "--tracker", "ours", "--query-mode", "strided", "--out", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1
    assert "answers the queries of mode 'first', here those of 'strided' are wanted" in error
    with np.load(answered) as given:
        fields = dict(given)
    np.savez(tmp_path / "large.npz", **fields | {"resolution": np.int64(512)})
    with pytest.raises(ValueError, match="made from frames of 512 pixels, a protocol of its own; rows are of 256"):
        adopt_predictions(tmp_path / "large.npz", "ours", "first", out)
    fields["drift/tracks"][0, 3, 1] = np.nan
    np.savez(answered, **fields)
    with pytest.raises(ValueError, match=r"drift/tracks: 1 of 60 values are nan or infinite, the first at \(0, 3, 1\)"):
        adopt_predictions(answered, "ours", "first", out)
    assert not out.exists()
