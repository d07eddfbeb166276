"""The order in which clips are read, as a pure function: nothing depends on ranks, workers or what came before."""

import functools

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
    first = (step * world_size + rank) * batch_size
    positions = range(first, first + batch_size)
    return [(p // num_clips, permutation(num_clips, seed, p // num_clips)[p % num_clips]) for p in positions]
