"""Latents of data sets in training: opened once in each process."""

from functools import lru_cache

from shards import ClipStore
from shards.driving.latents import LatentStore
from trainer.driving.config import DrivingData


def latents_of(store: ClipStore, data: DrivingData) -> LatentStore:
    """The latents of a data set's clips; ValueError where they are missing, or are not of these clips at this size."""
    assert data.latents is not None
    return _open(store, data.latents, (data.height, data.width))


@lru_cache(maxsize=64)
def _open(store: ClipStore, folder: str, size: tuple[int, int]) -> LatentStore:
    return LatentStore(folder, store, size)
