"""Fetch the shards of the clips to come while those at hand are used: for shards behind a URL, whose order is known."""

import collections
import os
import queue
import threading
from collections.abc import Callable, Collection, Iterator
from typing import Generic, TypeVar

from shards.store import ClipStore

T = TypeVar("T")
VARIABLE = "FRAMELINE_READ_AHEAD"
NUM_SHARDS = 4
MOST_ITEMS = 1024
"""So many items are looked at: in a long order of few shards no further one may come."""
END = object()


class ReadAhead(Generic[T]):
    """The items of `order`; while they are used, one thread brings the shards of the next ones into the cache.

    `clips_of` gives the numbers of an item's clips. At most FRAMELINE_READ_AHEAD shards (4; 0 turns it off) are ahead,
    and what else the last of these items needs. What cannot be fetched is no error here: whoever reads the clip asks
    again, and says what is wrong. Shards on the disk start no thread. It may be iterated over again.
    """

    def __init__(
        self,
        store: ClipStore,
        order: Collection[T],
        clips_of: Callable[[T], Collection[int]],
        *,
        with_depth: bool = False,
    ):
        self.store, self.order, self.clips_of, self.with_depth = store, order, clips_of, with_depth
        self.num_shards = num_shards_ahead()

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[T]:
        if self.store.shelf.url is None or not self.num_shards:
            return iter(self.order)
        return self._fetch_ahead()

    def _fetch_ahead(self) -> Iterator[T]:
        shard_of = [number for number, shard in enumerate(self.store.shards) for _ in shard["clips"]]
        ahead: collections.deque[tuple[T, list[int]]] = collections.deque()
        uses: collections.Counter[int] = collections.Counter()
        """How many of the items ahead need a shard; none that no item needs."""
        to_fetch: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        # A daemon: a process that ends does not wait for a server that does not answer.
        threading.Thread(target=self._fetch_all, args=(to_fetch, uses), daemon=True).start()
        items = iter(self.order)

        def look_ahead() -> None:
            while len(uses) < self.num_shards and len(ahead) < MOST_ITEMS:
                item = next(items, END)
                if item is END:
                    return
                needed = list(dict.fromkeys(shard_of[clip] for clip in self.clips_of(item)))
                new = [shard for shard in needed if shard not in uses]
                uses.update(needed)
                for shard in new:
                    to_fetch.put(shard)
                ahead.append((item, needed))

        try:
            look_ahead()
            while ahead:
                item, needed = ahead.popleft()
                for shard in needed:
                    uses[shard] -= 1
                    if not uses[shard]:
                        del uses[shard]
                look_ahead()
                yield item
        finally:
            uses.clear()
            to_fetch.put(None)

    def _fetch_all(self, to_fetch: "queue.SimpleQueue[int | None]", uses: collections.Counter[int]) -> None:
        while (shard := to_fetch.get()) is not None:
            if shard not in uses:
                continue  # it is read now, and who reads it fetches it
            try:
                self.store.shelf.fetch(self.store.shards[shard], with_depth=self.with_depth)
            except (ValueError, OSError):
                continue  # whoever reads the clip meets it, and says it


def num_shards_ahead() -> int:
    """How many shards are fetched ahead, as FRAMELINE_READ_AHEAD says."""
    text = os.environ.get(VARIABLE) or str(NUM_SHARDS)
    if not text.isdecimal():
        raise ValueError(f"{VARIABLE}={text}: give a number of shards, or 0 to turn it off")
    return int(text)
