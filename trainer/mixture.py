"""Several data sets read as one: which clips a step reads of each, by shares, and where they are.

Data sets are in the order of their names; their clips count on from one to the next.
"""

import bisect
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shards import ClipStore, mixed_ids, sample_ids
from trainer.data_config import DataConfig


class ClipStores:
    """Data sets one after the other; of a single one everything is as it is in its ClipStore."""

    def __init__(self, indexes: Sequence[Path]):
        self.stores = tuple(ClipStore(index) for index in indexes)
        self.keys = [key for store in self.stores for key in store.keys]
        self.first = [0, *itertools.accumulate(self.sizes)]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Clips of each data set."""
        return tuple(map(len, self.stores))

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, number: int) -> tuple[ClipStore, int]:
        """The data set that holds clip `number` of all, and its number there."""
        which = bisect.bisect_right(self.first, number) - 1
        return self.stores[which], number - self.first[which]


def clips_of_step(config: DataConfig, sizes: Sequence[int], **where: Any) -> list[tuple[int, int]]:
    """The (epoch, clip) pairs that a rank reads in a step; `where` is what `sample_ids` takes.

    Without data.mixture every epoch is a permutation of the clips. With it every sample is drawn by itself.
    """
    if config.mixture is None:
        return sample_ids(sum(sizes), **where)
    return mixed_ids(sizes, [config.mixture[name] for name in sorted(config.mixture)], **where)
