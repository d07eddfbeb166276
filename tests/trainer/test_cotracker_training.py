"""CoTracker3's stages from the files of its data set to scored weights, in miniature."""

import dataclasses
import json

import numpy as np
import pytest

from eval.score import score_predictions
from shards.__main__ import main as shards
from shards.layouts.npy_folder import write_cotracker3_kubric
from tests.conftest import make_clip
from trainer.answers import track, track_both_ways
from trainer.launch import main as launch
from trainer.models import TASKS
from trainer.predict import main as predict
from trainer.predict import predict_video

MINIATURE = [
    "model.input_size=[32,32]",
    "model.encoder_widths=[8,8,8,8]",
    "model.feature_dim=8",
    "model.correlation_dim=8",
    "model.dim=16",
    "model.num_heads=2",
    "model.num_rounds=1",
    "model.num_virtual_tracks=4",
    "model.num_iterations=2",
    "data.num_frames=10",
    "data.num_points=6",
    "data.num_workers=0",
    "data.crop_size=[24,32]",
    "data.max_padding=3",
    "data.crop_margin=2",
    "data.crop_drift=2",
    "data.patch_size=[2,12]",
    "training.num_steps=1",
    "training.batch_size=2",
    "training.precision=fp32",
    "training.threads=1",
    "validation.dataset=null",
]


def make_long_clip(key):
    """30 frames: ten, backward, forward again."""
    clip = make_clip(key, num_frames=10, num_points=20, depth=False)
    there_and_back = [*range(10), *reversed(range(10)), *range(10)]
    return dataclasses.replace(
        clip, video=clip.video[there_and_back], tracks=clip.tracks[there_and_back], visible=clip.visible[there_and_back]
    )


@pytest.mark.parametrize("stage", ["cotracker3_offline", "cotracker3_online"])
def test_cotracker3_kubric_is_packed_trained_on_and_scored(tmp_path, stage):
    write_cotracker3_kubric([make_long_clip(f"{number:04d}") for number in range(3)], tmp_path / "files")
    root = tmp_path / "shards"
    index = root / "cotracker3_kubric" / "index.json"
    words = ["--from", "cotracker3_kubric", str(tmp_path / "files"), "--to", "index", "--out", str(index.parent)]
    assert shards(["convert", *words]) == 0

    paths = [f"paths.shards_root={root}", f"paths.run_root={tmp_path / 'runs'}", f"paths.output_dir={tmp_path / 'out'}"]
    own = ["data.min_frames=6"] if stage == "cotracker3_offline" else []
    assert launch([f"stage={stage}", f"model={stage}_small", *MINIATURE, *own, *paths]) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert {"visible_loss", "invisible_loss", "visibility_loss", "confidence_loss"} <= row.keys()
    assert row["step"] == 1 and row["grad_norm"] > 0

    weights, out = tmp_path / "out" / "weights.safetensors", tmp_path / "predictions.npz"
    words = ["--weights", str(weights), "--truth", str(index), "--query-mode", "strided", "--out", str(out)]
    assert predict(words) == 0
    score = score_predictions(out, index)
    assert len(score["videos"]) == 3 and 0 <= score["mean"]["average_pts_within_thresh"] <= 1


@pytest.fixture
def truth(dataset):
    from eval.protocol import Truth

    return Truth(dataset(num_clips=1, num_frames=12))


@pytest.mark.parametrize("online", [False, True])
def test_frames_before_a_query_are_filled_backward_online_and_tracked_at_once_offline(truth, online):
    small = {"dim": 16, "num_heads": 2, "num_rounds": 1, "num_virtual_tracks": 4, "input_size": [32, 32]}
    model = TASKS["cotracker3"].build(small | {"online": online, "window": 8, "num_inference_iterations": 1}).eval()
    (name,) = truth.names
    frames, query_points = truth.frames(name), truth.video(name, "strided").query_points
    before = np.arange(12) < np.round(query_points[:, :1])  # (N, T)
    assert before.any()
    found = predict_video(model, truth, name, "strided", None)
    once, _ = track(model, frames, query_points, None)
    twice, _ = track_both_ways(model, frames, query_points, None)
    np.testing.assert_array_equal(found.tracks, (twice if online else once).transpose(1, 0, 2))
    moved = np.abs(found.tracks - once.transpose(1, 0, 2))[before].max()
    assert (moved > 0) == online
    stays = found.tracks[before] == np.broadcast_to(query_points[:, None, :0:-1], found.tracks.shape)[before]
    assert not stays.all(), "the position of the query is no prediction of other frames"


def test_long_clips_give_the_published_windows():
    """120 frames: 59 of them at strides 1 and 2, 30 at strides up to 4."""
    from trainer.batch import choose_frames
    from trainer.config import compose

    data = compose("cotracker3_offline").data
    for num_frames, strides in ((59, {1, 2}), (30, {1, 2, 3, 4})):
        config = dataclasses.replace(data, num_frames=num_frames, min_frames=None)
        windows = [choose_frames(120, config, np.random.default_rng(seed)) for seed in range(100)]
        assert {window.step for window in windows} == strides
        assert all(len(range(120)[window]) == num_frames and window.stop <= 120 for window in windows)
