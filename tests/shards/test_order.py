"""The order of clips: the same for any number of ranks, complete in every epoch, resumable from any step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import permutation, read, sample_ids


@given(
    num_clips=st.integers(1, 40),
    seed=st.integers(0, 2**31),
    world_size=st.integers(1, 5),
    batch_size=st.integers(1, 4),
    steps=st.integers(1, 12),
)
def test_global_order_does_not_depend_on_ranks(num_clips, seed, world_size, batch_size, steps):
    many = [
        pair
        for step in range(steps)
        for rank in range(world_size)
        for pair in sample_ids(num_clips, seed=seed, step=step, batch_size=batch_size, rank=rank, world_size=world_size)
    ]
    one = [
        pair
        for step in range(steps)
        for pair in sample_ids(num_clips, seed=seed, step=step, batch_size=batch_size * world_size)
    ]
    assert many == one
    epochs = [[clip for epoch, clip in one if epoch == wanted] for wanted in range(one[-1][0] + 1)]
    for number, clips in enumerate(epochs):
        assert clips == list(permutation(num_clips, seed, number))[: len(clips)]
    assert all(sorted(clips) == list(range(num_clips)) for clips in epochs[:-1])


def test_epochs_and_seeds_differ():
    assert permutation(30, 0, 0) != permutation(30, 0, 1) != permutation(30, 1, 1)


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 1), (2, 1), (2, 2), (3, 1)])
def test_readers_share_an_epoch_equally(dataset, world_size, num_workers):
    index = dataset(num_clips=7)
    parts = [
        [
            [c.key for c in read(index, seed=3, rank=rank, world_size=world_size, worker=w, num_workers=num_workers)]
            for w in range(num_workers)
        ]
        for rank in range(world_size)
    ]
    assert len({sum(map(len, workers)) for workers in parts}) == 1, "equal steps per rank"
    keys = [key for workers in parts for part in workers for key in part]
    assert len(keys) == len(set(keys)) == 7 // world_size * world_size
    whole = [c.key for c in read(index, seed=3)]
    assert set(keys) == set(whole[: len(keys)])
    rank_0 = [c.key for c in read(index, seed=3, rank=0, world_size=world_size)]
    assert rank_0 == whole[: len(keys)][::world_size]


def test_reading_resumes_at_a_position(dataset):
    index = dataset(num_clips=7)
    whole = [c.key for c in read(index, seed=1, epoch=2)]
    assert [c.key for c in read(index, seed=1, epoch=2, start=4)] == whole[4:]


def test_too_few_clips_for_the_ranks_are_refused(dataset):
    with pytest.raises(ValueError, match="3 clips cannot feed 2 ranks x 2 workers; use at most 1 workers"):
        next(read(dataset(num_clips=3), world_size=2, num_workers=2))
