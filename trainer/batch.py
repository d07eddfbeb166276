"""Training samples from packed clips: window, augmentation, query choice, and a loader that resumes at any step.

Legend: B batch, T frames, N points, H W pixels.
"""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from shards import Clip, ClipStore, sample_ids
from trainer.augment import augment
from trainer.config import DataConfig, Recipe

Sample = dict[str, np.ndarray]


def sample_rng(seed: int, epoch: int, key: str) -> np.random.Generator:
    """The generator of one clip in one epoch: the same on any number of ranks and loader processes."""
    return np.random.default_rng([seed, epoch, zlib.crc32(key.encode())])


def make_sample(clip: Clip, config: DataConfig, rng: np.random.Generator) -> Sample:
    """One training sample: video (T, H, W, 3) uint8, queries (N, 3) (t, x, y), tracks (T, N, 2), visible (T, N).

    Raises ValueError when the clip is shorter than data.num_frames or shows no point in its first frame.
    """
    num_frames = clip.video.shape[0]
    if num_frames < config.num_frames:
        raise ValueError(
            f"clip {clip.key} has {num_frames} frames, data.num_frames asks for {config.num_frames}; "
            f"train with data.num_frames={num_frames} or make longer clips"
        )
    frames = choose_frames(num_frames, config, rng)
    window = (clip.video[frames], clip.tracks[frames], clip.visible[frames])
    if not window[2][0].any():
        raise ValueError(
            f"clip {clip.key}: no point is visible in frame {frames.start}; leave this clip out of the data set"
        )
    if config.augment:
        augmented = augment(window, config, rng)
        # A zoom may push every visible point out of the first frame: such a draw is not used.
        window = augmented if augmented[2][0].any() else window
    video, tracks, visible = window
    chosen = choose_points(visible, config.num_points, rng)
    tracks, visible = tracks[:, chosen], visible[:, chosen]
    queries = choose_queries(tracks, visible, config.random_query_share, rng)
    return {"video": video, "queries": queries, "tracks": tracks.astype(np.float32), "visible": visible}


def choose_frames(num_frames: int, config: DataConfig, rng: np.random.Generator) -> slice:
    """A window of config.num_frames frames at a random stride and start, both uniform over what fits the clip."""
    longest = (num_frames - 1) // max(config.num_frames - 1, 1)
    stride = int(rng.integers(1, max(1, min(config.max_frame_stride, longest)) + 1))
    span = (config.num_frames - 1) * stride + 1
    start = int(rng.integers(0, num_frames - span + 1))
    return slice(start, start + span, stride)


def choose_points(visible: np.ndarray, num_points: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (num_points,) of tracks that are visible in frame 0; repeated only when there are too few of them."""
    candidates = np.flatnonzero(visible[0])
    return rng.choice(candidates, num_points, replace=len(candidates) < num_points)


def choose_queries(
    tracks: np.ndarray, visible: np.ndarray, random_share: float, rng: np.random.Generator
) -> np.ndarray:
    """Queries (N, 3) float32 as (t, x, y): a random visible frame for the first share of the points, else frame 0."""
    num_points = tracks.shape[1]
    query_frame = np.zeros(num_points, int)
    for point in range(int(random_share * num_points)):
        query_frame[point] = rng.choice(np.flatnonzero(visible[:, point]))
    xy = tracks[query_frame, np.arange(num_points)]  # (N, 2)
    return np.concatenate([query_frame[:, None], xy], 1).astype(np.float32)


class ClipSamples(Dataset):
    """Random access to training samples by (epoch, clip number)."""

    def __init__(self, index: Path, config: DataConfig, seed: int):
        self.store = ClipStore(index)
        self.config, self.seed = config, seed

    def __getitem__(self, position: tuple[int, int]) -> Sample:
        epoch, number = position
        rng = sample_rng(self.seed, epoch, self.store.keys[number])
        return make_sample(self.store[number], self.config, rng)


class StepSampler(Sampler):
    """For each step from `start` the (epoch, clip) positions of this rank: resuming needs the step and nothing else."""

    def __init__(self, num_clips: int, recipe: Recipe, *, start: int, num_steps: int, rank: int, world_size: int):
        super().__init__()
        self.num_clips, self.start, self.num_steps = num_clips, start, num_steps
        self.rank, self.world_size, self.seed = rank, world_size, recipe.training.seed
        self.batch_size = recipe.training.batch_size * recipe.training.accumulation_steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.num_steps):
            yield sample_ids(
                self.num_clips,
                seed=self.seed,
                step=step,
                batch_size=self.batch_size,
                rank=self.rank,
                world_size=self.world_size,
            )

    def __len__(self) -> int:
        return self.num_steps - self.start


def collate(samples: list[Sample]) -> dict[str, torch.Tensor]:
    """Stack samples into a batch; clips of one batch must have one frame size."""
    sizes = {sample["video"].shape[1:3] for sample in samples}
    if len(sizes) > 1:
        raise ValueError(f"clips of several sizes in one batch: {sorted(sizes)}; pack data sets of one size")
    return {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}


def make_loader(recipe: Recipe, index: Path, *, start: int, num_steps: int, rank: int, world_size: int) -> DataLoader:
    """Batches of steps start..num_steps-1 for one rank; the order never depends on the number of loader processes."""
    samples = ClipSamples(index, recipe.data, recipe.training.seed)
    sampler = StepSampler(
        len(samples.store), recipe, start=start, num_steps=num_steps, rank=rank, world_size=world_size
    )
    workers = recipe.data.num_workers
    return DataLoader(
        samples,
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
