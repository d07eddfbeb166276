"""Predictions say how they were made: alone or jointly, backward or not, at which resolution; any processes."""

import numpy as np
import pytest
import torch

from eval.predictions import BACKWARD, INDEPENDENT, JOINT, NOTHING, TRACKED, Making, read_predictions
from eval.protocol import Truth
from tests.small_cotracker3 import ONLINE, make_model
from trainer.answers import Asking, answer, answer_here, answer_spread, describe_making
from trainer.checkpoint import save_weights
from trainer.config import compose
from trainer.leaks import FEW, check_leaks, choose_videos, measure_leak
from trainer.models.lbm import task
from trainer.predict import main


@pytest.fixture
def index(dataset):
    return dataset(num_clips=3, num_frames=9, num_points=7)


@pytest.fixture
def lbm_weights(tmp_path):
    torch.manual_seed(0)
    recipe = compose("lbm", ["model=lbm_small", "model.input_size=[64,96]", "model.dim=32", "model.backbone_width=8"])
    save_weights(tmp_path / "weights.safetensors", task.build(recipe.model), recipe)
    return tmp_path / "weights.safetensors"


class Moved:
    """What a tracker returns; B = 1."""

    def __init__(self, points):
        self.points, self.visible = points, torch.ones(points.shape[:-1], dtype=torch.bool)


class Leaky(torch.nn.Module):
    """Declares that it answers each query alone. By `kind`: points stay, or move by the mean or the first of all."""

    is_causal = is_joint = False

    def __init__(self, kind):
        super().__init__()
        self.kind, self.weight = kind, torch.nn.Parameter(torch.zeros(1))

    def track(self, video, queries, memory_size=None):
        places = queries[..., 1:]
        others = {"stay": 0 * places, "mean": places.mean(1, keepdim=True), "first": places[:, :1]}[self.kind]
        return Moved((places + others)[:, None].expand(-1, video.shape[1], -1, -1))


@pytest.mark.parametrize("kind", ["mean", "first"])
def test_a_model_that_looks_at_other_queries_is_caught(index, kind):
    truth = Truth(index)
    with pytest.raises(ValueError, match=r"depend on the other queries.*100.0% of them change.*--single-point"):
        check_leaks(Leaky(kind).eval(), truth, Asking(), 2)
    assert check_leaks(Leaky("stay").eval(), truth, Asking(query_mode="strided"), 2) == 2
    assert check_leaks(Leaky(kind).eval(), truth, Asking(), 0) == 0


@pytest.mark.parametrize("kind", [{}, ONLINE])
def test_cotracker3_tracks_jointly_unless_each_point_is_alone(index, kind):
    truth = Truth(index)
    video = truth.frames(truth.names[0]), truth.video(truth.names[0], "first").query_points
    for alone in (False, True):
        model = make_model(single_point=alone, **kind)
        share, _ = measure_leak(model, *video, Asking(), 0)
        assert (share > FEW) == (not alone) and model.is_joint == (not alone)
        if alone:
            assert share == 0


def test_how_predictions_are_made_follows_from_the_model_and_the_mode():
    online, offline = make_model(**ONLINE), make_model(single_point=True)
    assert describe_making(online, Asking(resolution=512)) == Making(
        resolution=512, queries=JOINT, before_query=NOTHING
    )
    strided = Asking(query_mode="strided")
    assert describe_making(online, strided) == Making(queries=JOINT, before_query=BACKWARD)
    assert describe_making(offline, strided) == Making(queries=INDEPENDENT, before_query=TRACKED)


def test_positions_are_those_at_256_whatever_the_frames(index):
    truth = Truth(index)
    name = truth.names[0]
    query_points = truth.video(name, "first").query_points
    for resolution in (64, 256, 300):
        frames = truth.frames(name, resolution)
        tracks, occluded = answer(Leaky("stay"), frames, query_points, Asking(resolution=resolution))
        assert tracks.dtype == np.float32 and not occluded.any()
        wanted = np.broadcast_to(query_points[:, None, :0:-1], tracks.shape)
        np.testing.assert_allclose(tracks, wanted, rtol=1e-6)


def words_of(weights, index):
    words = ["--weights", str(weights), "--truth", str(index), "--query-mode", "strided", "--resolution", "96"]
    return [*words, "--check-leaks", "2", "--device", "cpu"]


def test_the_command_says_it_all(index, lbm_weights, tmp_path, capsys):
    path = tmp_path / "p.npz"
    assert main([*words_of(lbm_weights, index), "--out", str(path)]) == 0, capsys.readouterr().err
    assert "queries independent (checked on 2 videos)" in capsys.readouterr().out
    making = Making(resolution=96, queries=INDEPENDENT, before_query=BACKWARD, num_checked_for_leaks=2)
    assert read_predictions(path).making == making
    assert read_predictions(path).names == Truth(index).names
    assert main([*words_of(lbm_weights, index), "--processes", "0", "--out", str(path)]) == 2
    assert "--processes" in capsys.readouterr().err


@pytest.mark.slow
def test_any_number_of_processes_gives_the_same_bytes(index, lbm_weights, tmp_path):
    paths = [tmp_path / f"{processes}.npz" for processes in (1, 2)]
    for processes, path in enumerate(paths, 1):
        assert main([*words_of(lbm_weights, index), "--processes", str(processes), "--out", str(path)]) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def start_and_die(names):
    import os

    os._exit(3)


def start_and_fail(names):
    yield from ()
    raise ValueError(f"{names[0]}: queries that are no numbers")


def test_a_process_that_dies_or_fails_is_told(index):
    with pytest.raises(ValueError, match=r"a process died before it had answered 'a'.*fewer --processes"):
        list(answer_spread(start_and_die, ["a", "b"], 1))
    with pytest.raises(ValueError, match="b: queries that are no numbers"):
        list(answer_spread(start_and_fail, ["b"], 4))


def test_a_sample_is_spread_and_no_larger_than_there_is():
    assert choose_videos("abcdefghi", 3) == ["a", "e", "i"]
    assert choose_videos("ab", 5) == ["a", "b"]
    assert choose_videos("ab", 0) == []


def test_videos_come_in_order_and_none_is_no_work(index):
    truth = Truth(index)
    assert [video.name for video in answer_here(Leaky("stay"), truth, truth.names, Asking())] == list(truth.names)
    assert list(answer_here(Leaky("stay"), truth, [], Asking())) == []
