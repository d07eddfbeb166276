"""The order of clips: the same for any number of ranks, complete in every epoch, resumable from any step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shards import permutation, read, sample_ids
from shards.order import deal


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
    index = dataset(num_clips=3)
    with pytest.raises(
        ValueError, match=r"3 clips cannot feed 2 ranks x 2 workers; use at most 1 workers .*shards pack"
    ):
        read(index, world_size=2, num_workers=2)
    with pytest.raises(ValueError, match="3 clips cannot feed 4 ranks x 1 workers; use at most 3 ranks"):
        read(index, world_size=4)


@pytest.mark.parametrize("wrong", [{"rank": 2, "world_size": 2}, {"worker": -1}, {"start": 8}, {"start": -1}])
def test_a_reader_out_of_range_is_refused(dataset, wrong):
    with pytest.raises(ValueError, match=r"rank 2 is not|worker -1 is not|start .* is outside"):
        read(dataset(num_clips=7), **wrong)


def test_a_rank_out_of_range_has_no_samples():
    with pytest.raises(ValueError, match=r"rank 2 is not one of 0\.\.1"):
        sample_ids(5, seed=0, step=0, batch_size=1, rank=2, world_size=2)


splits = st.tuples(st.integers(1, 5), st.integers(1, 4))  # ranks, workers


def interleave(order, start, split):
    """What all readers deliver together, by global step and rank; a rank takes from its workers in turn."""
    world_size, num_workers = split
    ranks = []
    for rank in range(world_size):
        workers = [
            deal(order, start=start, rank=rank, world_size=world_size, worker=w, num_workers=num_workers)
            for w in range(num_workers)
        ]
        num_steps = sum(map(len, workers))
        ranks.append([workers[step % num_workers][step // num_workers] for step in range(num_steps)])
    assert len({len(clips) for clips in ranks}) == 1, "equal steps per rank"
    return [clip for step in zip(*ranks, strict=True) for clip in step]


@given(num_clips=st.integers(1, 60), seed=st.integers(0, 2**31), epoch=st.integers(0, 50), split=splits)
def test_any_readers_share_the_same_global_order(num_clips, seed, epoch, split):
    order = permutation(num_clips, seed, epoch)
    assert sorted(order) == list(range(num_clips))
    together = interleave(order, 0, split)
    assert together == list(order[: len(together)])
    assert num_clips - len(together) < split[0], "only a step that does not fill all ranks is left out"


@given(num_clips=st.integers(1, 60), before=splits, after=splits, share=st.floats(0, 1))
def test_an_epoch_goes_on_where_it_stopped_with_other_readers(num_clips, before, after, share):
    order = permutation(num_clips, 5, 3)
    num_steps = int(share * (num_clips // before[0]))
    done = interleave(order, 0, before)[: num_steps * before[0]]
    rest = interleave(order, num_steps * before[0], after)
    assert done + rest == list(order[: len(done) + len(rest)])
    assert num_clips - len(done) - len(rest) < after[0]


@given(num_clips=st.integers(1, 30), seed=st.integers(0, 2**31), stop=st.integers(0, 20), world_size=st.integers(1, 4))
def test_resuming_a_training_needs_only_the_step(num_clips, seed, stop, world_size):
    def run(first, last, ranks, batch_size):
        return [
            pair
            for step in range(first, last)
            for rank in range(ranks)
            for pair in sample_ids(num_clips, seed=seed, step=step, batch_size=batch_size, rank=rank, world_size=ranks)
        ]

    # 12 clips a step, first by one number of ranks, then by another.
    whole = run(0, 25, 1, 12)
    assert run(0, stop, world_size, 12 // world_size) + run(stop, 25, 2, 6) == whole


def test_the_order_is_pinned():
    """Another order under the same seed would make old runs impossible to resume."""
    assert permutation(8, 0, 0) == (2, 4, 3, 6, 5, 0, 1, 7)


@given(
    num_clips=st.integers(1, 4000),
    seed=st.integers(0, 2**31),
    world_size=st.integers(1, 512),
    batch_size=st.integers(1, 4),
    epoch=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_up_to_512_ranks_read_an_epoch_once_in_equal_steps(num_clips, seed, world_size, batch_size, epoch):
    """All steps from the one in which an epoch begins to the one in which it ends, of all ranks."""
    global_batch = batch_size * world_size
    first, last = epoch * num_clips // global_batch, ((epoch + 1) * num_clips - 1) // global_batch
    read: dict[int, list[int]] = {}
    for step in range(first, last + 1):
        shares = [
            sample_ids(num_clips, seed=seed, step=step, batch_size=batch_size, rank=rank, world_size=world_size)
            for rank in range(world_size)
        ]
        assert {len(share) for share in shares} == {batch_size}, "equal on all ranks, in every step"
        for number, clip in (pair for share in shares for pair in share):
            read.setdefault(number, []).append(clip)
    assert sorted(read[epoch]) == list(range(num_clips)), "every clip once"
    before, after = (
        sum(map(len, (read[e] for e in read if e < epoch))),
        sum(map(len, (read[e] for e in read if e > epoch))),
    )
    assert before < global_batch and after < global_batch, "what is not of this epoch is less than a batch at its ends"


@given(num_clips=st.integers(2000, 20000), seed=st.integers(0, 2**31), num_shards=st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_an_order_mixes_shards_as_a_fair_draw_does(num_clips, seed, num_shards):
    shards = np.array(permutation(num_clips, seed, 0)) * num_shards // num_clips
    share = float((shards[1:] == shards[:-1]).mean())
    # Of n - 1 pairs a share of 1/S is of one shard; five standard deviations and the shards' rounding.
    spread = 5 * np.sqrt((1 / num_shards) * (1 - 1 / num_shards) / (num_clips - 1))
    assert abs(share - 1 / num_shards) < spread + 2 / num_clips
