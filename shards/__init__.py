"""The data contract and its stores: `Clip`, tar shards, depth stores, the index, and readers. No torch."""

from shards.clip import Clip
from shards.index import write_index
from shards.order import mixed_ids, permutation, sample_ids
from shards.pack import pack_clips
from shards.reader import read, stream
from shards.store import ClipStore

__all__ = ["Clip", "ClipStore", "mixed_ids", "pack_clips", "permutation", "read", "sample_ids", "stream", "write_index"]
