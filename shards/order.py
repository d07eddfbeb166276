"""The order in which clips are read, as pure functions: nothing depends on ranks, workers or what came before."""

import functools
import zlib
from collections.abc import Sequence

import numpy as np


@functools.lru_cache(maxsize=4)
def permutation(num_clips: int, seed: int, epoch: int) -> tuple[int, ...]:
    """The order of all clips in one epoch."""
    return tuple(np.random.default_rng([seed, epoch]).permutation(num_clips).tolist())


def sample_ids(
    num_clips: int, *, seed: int, step: int, batch_size: int, rank: int = 0, world_size: int = 1
) -> list[tuple[int, int]]:
    """The (epoch, clip) pairs that `rank` reads in `step`.

    The global batch of a step is the next batch_size * world_size positions of the endless concatenation of all epochs'
    permutations; a rank takes its own slice. So every rank has equally many, none is dropped, resuming needs only the
    step, and the order is the same for any number of ranks with the same global batch.
    """
    if num_clips < 1:
        raise ValueError("the index holds no clip; pack some first (python -m shards pack)")
    check_reader("rank", rank, world_size)
    first = (step * world_size + rank) * batch_size
    positions = range(first, first + batch_size)
    return [(p // num_clips, permutation(num_clips, seed, p // num_clips)[p % num_clips]) for p in positions]


def mixed_ids(
    sizes: Sequence[int],
    shares: Sequence[float],
    *,
    seed: int,
    step: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
) -> list[tuple[int, int]]:
    """The (draw, clip) pairs that `rank` reads in `step` of several data sets, of which a sample is one with its share.

    A clip's number counts on from one data set of so many clips (`sizes`) to the next. Every sample is drawn by itself:
    first a data set, then one of its clips, all equally likely; it may come again at any time. `draw` numbers the
    samples of all steps, so that each has random numbers of its own. As in `sample_ids` a rank takes its slice of the
    step's global batch, which is a function of the seed, the step and its size.
    """
    if not all(sizes) or len(sizes) != len(shares):
        raise ValueError(f"data sets of {list(sizes)} clips with shares {list(shares)}: each needs a clip and a share")
    check_reader("rank", rank, world_size)
    total = batch_size * world_size
    draws = np.random.default_rng([seed, step, zlib.crc32(b"mixture")]).random((total, 2))
    bounds = np.cumsum(shares)
    which = np.searchsorted(bounds[:-1] / bounds[-1], draws[:, 0], side="right")  # (total,)
    first = np.cumsum([0, *sizes[:-1]])
    numbers = first[which] + (draws[:, 1] * np.array(sizes)[which]).astype(int)
    mine = range(rank * batch_size, (rank + 1) * batch_size)
    return [(step * total + place, int(numbers[place])) for place in mine]


def deal(
    order: Sequence[int], *, start: int = 0, rank: int = 0, world_size: int = 1, worker: int = 0, num_workers: int = 1
) -> list[int]:
    """The part of an epoch's order that one worker of one rank reads.

    From position `start` on, every step hands one clip to each rank in turn: rank r has position
    start + step * world_size + r. Its clips go in turn to its workers: step s to worker s % num_workers. A last step
    that does not fill all ranks is left out. So all ranks have equally many, and after n steps of any number of ranks
    the epoch goes on, with any other number of ranks, at start + n * world_size.
    """
    check_reader("rank", rank, world_size)
    check_reader("worker", worker, num_workers)
    if not 0 <= start <= len(order):
        raise ValueError(f"start {start} is outside of the epoch's 0..{len(order)} positions")
    num_steps = (len(order) - start) // world_size
    return [order[start + step * world_size + rank] for step in range(worker, num_steps, num_workers)]


def check_reader(name: str, number: int, count: int) -> None:
    """Raise ValueError unless 0 <= number < count."""
    if not 0 <= number < count:
        raise ValueError(f"{name} {number} is not one of 0..{count - 1}")
