"""Training samples: the same on any number of loader processes, resumable at any step, queries on visible points."""

import dataclasses

import numpy as np
import pytest
import torch

from shards import ClipStore
from tests.conftest import make_clip
from trainer.batch import choose_frames, choose_points, choose_queries, collate, make_loader, make_sample, sample_rng
from trainer.config import DataConfig, Recipe, compose

DATA = DataConfig(dataset="toy", num_frames=4, num_points=10)


def recipe_with(**data) -> Recipe:
    recipe = compose("lbm", ["training.num_epochs=null", "training.num_steps=6", "training.batch_size=2"])
    return dataclasses.replace(recipe, data=dataclasses.replace(DATA, **data))


def batches(index, *, start=0, rank=0, world_size=1, num_workers=0):
    recipe = recipe_with(num_workers=num_workers)
    return list(make_loader(recipe, index, start=start, num_steps=6, rank=rank, world_size=world_size))


def assert_equal(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            assert torch.equal(a[key], b[key]), key


def test_loader_processes_never_change_what_is_read(dataset):
    index = dataset()
    assert_equal(batches(index), batches(index, num_workers=2))


def test_resuming_at_a_step_continues_the_sequence(dataset):
    index = dataset()
    assert_equal(batches(index)[4:], batches(index, start=4))


def test_ranks_read_different_clips_of_one_order(dataset):
    index = dataset()
    first, second = (batches(index, rank=rank, world_size=2) for rank in (0, 1))
    assert len(first) == len(second) == 6
    assert not torch.equal(first[0]["video"], second[0]["video"])


def test_a_sample_has_the_stated_shapes_and_queries_on_its_tracks(dataset):
    store = ClipStore(dataset())
    for number in range(len(store)):
        sample = make_sample(store[number], DATA, sample_rng(0, 0, store.keys[number]))
        assert sample["video"].shape == (4, 32, 32, 3) and sample["video"].dtype == np.uint8
        assert sample["tracks"].shape == (4, 10, 2) and sample["visible"].shape == (4, 10)
        assert sample["visible"][0].all()
        t = sample["queries"][:, 0].astype(int)
        points = np.arange(10)
        assert sample["visible"][t, points].all()
        np.testing.assert_array_equal(sample["queries"][:, 1:], sample["tracks"][t, points])


def test_windows_have_every_stride_that_fits_and_stay_in_the_clip():
    rng = np.random.default_rng(0)
    data = dataclasses.replace(DATA, max_frame_stride=5)
    windows = [choose_frames(12, data, rng) for _ in range(300)]
    assert {w.step for w in windows} == {1, 2, 3}  # a stride of 4 needs 13 frames
    assert all(len(range(12)[w]) == 4 and w.stop <= 12 for w in windows)
    assert {w.start for w in windows if w.step == 3} == {0, 1, 2}
    assert choose_frames(4, data, rng) == slice(0, 4, 1)


def test_points_repeat_only_when_there_are_too_few():
    visible = np.ones((3, 20), bool)
    visible[0, 15:] = False
    rng = np.random.default_rng(0)
    assert len(set(choose_points(visible, 15, rng))) == 15
    assert set(choose_points(visible, 40, rng)) <= set(range(15))


def test_the_stated_share_of_queries_is_random():
    visible = np.ones((50, 40), bool)
    queries = choose_queries(np.zeros((50, 40, 2)), visible, 0.25, np.random.default_rng(0))
    assert (queries[10:, 0] == 0).all()
    assert (queries[:10, 0] > 0).sum() >= 8


def test_clips_that_cannot_be_trained_on_are_named():
    clip = make_clip("short", num_frames=3)
    with pytest.raises(ValueError, match=r"clip short has 3 frames, data\.num_frames asks for 4"):
        make_sample(clip, DATA, np.random.default_rng(0))
    hidden = dataclasses.replace(make_clip("hidden", num_frames=4), visible=np.zeros((4, 12), bool))
    with pytest.raises(ValueError, match="clip hidden: no point is visible in frame 0"):
        make_sample(hidden, DATA, np.random.default_rng(0))


def test_frames_of_several_sizes_are_refused():
    samples = [make_sample(make_clip("a", size=s), DATA, np.random.default_rng(0)) for s in (32, 48)]
    with pytest.raises(ValueError, match="clips of several sizes in one batch"):
        collate(samples)
