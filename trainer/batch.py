"""Training samples from packed clips: window, augmentation, query choice, and a loader that resumes at any step.

Legend: B batch, T frames, N points, H W pixels.
"""

import multiprocessing
import os
import sys
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from multiprocessing.context import BaseContext
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from shards import ClipStore
from shards.ahead import ReadAhead
from shards.shelf import NotFetchedError
from trainer.augment import Plan, apply_plan, candidate_frames, draw_plan, name_frames
from trainer.config import DataConfig, Recipe
from trainer.mixture import ClipStores, clips_of_step

Sample = dict[str, np.ndarray]
Batch = dict[str, torch.Tensor]
Position = tuple[int, int, int]
"""epoch, clip number, frames of the window"""
MakeSample = Callable[[ClipStore, int, DataConfig, np.random.Generator], Sample]

SKIPS_IN_A_ROW = 8
"""So many clips that cannot be used one after the other are no accident: the error is raised."""


def sample_rng(seed: int, epoch: int, key: str) -> np.random.Generator:
    """The generator of one clip in one epoch: the same on any number of ranks and loader processes."""
    return np.random.default_rng([seed, epoch, zlib.crc32(key.encode())])


def lasting_rng(rng: np.random.Generator, epochs: int) -> np.random.Generator:
    """What a generator of `sample_rng` becomes for what a clip keeps for so many epochs: the same all that time.

    Clips change it in different epochs. Raises ValueError for another generator.
    """
    entropy = rng.bit_generator.seed_seq.entropy
    if not isinstance(entropy, list) or len(entropy) != 3:
        raise ValueError("expected the generator of a clip in an epoch, of trainer.batch.sample_rng")
    seed, epoch, clip = entropy
    return np.random.default_rng([seed, (epoch + clip % epochs) // epochs, clip, epochs])


def make_sample(store: ClipStore, number: int, config: DataConfig, rng: np.random.Generator) -> Sample:
    """One training sample: video (T, H, W, 3) uint8, queries (N, 3) (t, x, y), tracks (T, N, 2), visible (T, N).

    With data.max_distance also valid (T, N) bool, false everywhere if no point stays within it. Everything is drawn
    from the annotations; then only the frames of the window are decoded. Raises ValueError when the clip is damaged,
    shorter than data.num_frames, or shows no point in the frames that points are drawn from.
    """
    key = store.keys[number]
    tracks, visible, size = store.read_annotations(number)
    if len(tracks) < config.num_frames:
        raise ValueError(
            f"clip {key} has {len(tracks)} frames, data.num_frames asks for {config.num_frames}; "
            f"train with data.num_frames={len(tracks)} or make longer clips"
        )
    frames = choose_frames(len(tracks), config, rng)
    candidates = [frames.start + frames.step * frame for frame in candidate_frames(config.num_frames, config)]
    if not visible[candidates].any():
        raise ValueError(
            f"clip {key}: no point is visible in {name_frames(candidates)}; leave this clip out of the data set"
        )
    try:
        plan = draw_plan(tracks[frames], visible[frames], size, config, rng)
    except ValueError as error:
        raise ValueError(f"clip {key}, frames from {frames.start}: {error}") from None
    usable, is_valid = leave_far_points(plan, config)
    chosen = choose_points(usable, config.num_points, rng, candidate_frames(config.num_frames, config))
    tracks, visible = plan.tracks[:, chosen], plan.visible[:, chosen]
    queries = choose_queries(tracks, visible, config.random_query_share, rng)
    video = apply_plan(store.read(number, frames=frames).video, plan)
    valid = {} if config.max_distance is None else {"valid": np.full(visible.shape, is_valid)}
    return {"video": video, "queries": queries, "tracks": tracks, "visible": visible} | valid


def choose_frames(num_frames: int, config: DataConfig, rng: np.random.Generator) -> slice:
    """A window of config.num_frames frames at a random stride and start, both uniform over what fits the clip."""
    longest = (num_frames - 1) // max(config.num_frames - 1, 1)
    stride = int(rng.integers(1, max(1, min(config.max_frame_stride, longest)) + 1))
    span = (config.num_frames - 1) * stride + 1
    start = int(rng.integers(0, num_frames - span + 1))
    return slice(start, start + span, stride)


def leave_far_points(plan: Plan, config: DataConfig) -> tuple[np.ndarray, bool]:
    """The plan's visible (T, N) without tracks that ever are config.max_distance from the crop's centre, and True.

    Where no point to draw is left (a scene seen from inside an object, say) all stay, and False: the sample holds its
    place in the batch, so that no rank reads another number of clips, and counts in no position loss.
    """
    if config.max_distance is None:
        return plan.visible, True
    from_centre = plan.tracks - np.array(plan.framing.crop, np.float32) / 2
    is_near = (np.linalg.norm(from_centre, axis=-1) < config.max_distance).all(0)  # (N,); false for NaN
    usable = plan.visible & is_near
    if usable[candidate_frames(len(usable), config)].any():
        return usable, True
    return plan.visible, False


def choose_points(
    visible: np.ndarray, num_points: int, rng: np.random.Generator, frames: Sequence[int] = (0,)
) -> np.ndarray:
    """Indices (num_points,) of tracks that are visible in `frames`, as often among the candidates as in these frames.

    Repeated beyond that only when there are too few of them.
    """
    candidates = np.concatenate([np.flatnonzero(visible[frame]) for frame in frames])
    return rng.choice(candidates, num_points, replace=len(candidates) < num_points)


def choose_queries(
    tracks: np.ndarray, visible: np.ndarray, random_share: float, rng: np.random.Generator
) -> np.ndarray:
    """Queries (N, 3) float32 as (t, x, y) in visible frames: any for the first share of the points, else the first."""
    num_points = tracks.shape[1]
    query_frame = visible.argmax(0)
    num_random = int(random_share * num_points)
    so_far = visible[:, :num_random].cumsum(0)  # (T, N'): visible frames up to each one
    which = (rng.random(num_random) * so_far[-1]).astype(int)  # uniform from 0 to below their number
    query_frame[:num_random] = (so_far > which).argmax(0)
    xy = tracks[query_frame, np.arange(num_points)]  # (N, 2)
    return np.concatenate([query_frame[:, None], xy], 1).astype(np.float32)


class ClipBatches(Dataset):
    """One rank's batches by their positions, of one data set or of several that are mixed.

    With on_error `skip`, a position whose clip cannot be used gets the next clip that its own generator draws, so no
    rank falls behind and a resumed run does the same; batches then hold num_skipped (B,) too. It may be handed to
    spawned processes: they share which clips were named on stderr already.
    """

    def __init__(self, index: Path | Sequence[Path], config: DataConfig, seed: int, make: MakeSample = make_sample):
        self.store = ClipStores([index] if isinstance(index, str | Path) else index)
        self.config, self.seed, self.make = config, seed, make
        self.is_named = torch.zeros(len(self.store), dtype=torch.bool).share_memory_()

    def __getitem__(self, positions: list[Position]) -> Batch | ValueError:
        """The batch, or what is wrong: torch wraps what a loader process raises in a page of traceback."""
        try:
            return collate([self.sample(*position) for position in positions])
        except ValueError as error:
            return error

    def sample(self, epoch: int, number: int, num_frames: int) -> Sample:
        """One sample. Raises ValueError for a clip that cannot be used, with `skip` after SKIPS_IN_A_ROW others."""
        rng = sample_rng(self.seed, epoch, self.store.keys[number])
        config = replace(self.config, num_frames=num_frames, min_frames=None)
        store, place = self.store.find(number)
        first = number - place  # of the clip's data set: another clip is of the same one
        if config.on_error == "stop":
            return self.make(store, place, config, rng)
        for num_skipped in range(SKIPS_IN_A_ROW):
            try:
                sample = self.make(store, place, config, rng)
                return sample | {"num_skipped": np.array(num_skipped)}
            except NotFetchedError:
                raise  # a server that is away must not decide what a model is trained on
            except ValueError as error:
                self._name(first + place, error)
                last = error
            place = int(rng.integers(len(store)))
        raise ValueError(f"{SKIPS_IN_A_ROW} clips in a row cannot be used, the last because: {last}")

    def fetched_ahead(self, sampler: "StepSampler") -> Collection[list[Position]]:
        """The sampler's positions; while they are used, the shards of those to come are fetched from where they lie."""
        order: Collection[list[Position]] = sampler
        for store, first in zip(self.store.stores, self.store.first, strict=False):
            last = first + len(store)
            order = ReadAhead(store, order, partial(_clips_between, first, last))
        return order

    def _name(self, number: int, error: ValueError) -> None:
        if not self.is_named[number]:
            self.is_named[number] = True
            print(f"skipping clip {self.store.keys[number]}: {error}", file=sys.stderr, flush=True)


def _clips_between(first: int, last: int, positions: list[Position]) -> list[int]:
    """The clips of a batch that one of several data sets has, by their numbers there."""
    return [number - first for _, number, _ in positions if first <= number < last]


def window_length(config: DataConfig, seed: int, step: int) -> int:
    """Frames of all windows of a step, the same on all ranks: uniform from min_frames to num_frames."""
    if config.min_frames is None:
        return config.num_frames
    rng = np.random.default_rng([seed, step, zlib.crc32(b"window_length")])
    return int(rng.integers(config.min_frames, config.num_frames + 1))


class StepSampler(Sampler):
    """For each step from `start` the positions that this rank reads: resuming needs the step and nothing else."""

    def __init__(
        self, num_clips: int | Sequence[int], recipe: Recipe, *, start: int, num_steps: int, rank: int, world_size: int
    ):
        """`num_clips`: of the data set, or of each one of a mixture."""
        super().__init__()
        self.sizes = (num_clips,) if isinstance(num_clips, int) else tuple(num_clips)
        self.start, self.num_steps = start, num_steps
        self.rank, self.world_size, self.seed = rank, world_size, recipe.training.seed
        self.config = recipe.data
        self.batch_size = recipe.training.batch_size * recipe.training.accumulation_steps

    def __iter__(self) -> Iterator[list[Position]]:
        for step in range(self.start, self.num_steps):
            clips = clips_of_step(
                self.config,
                self.sizes,
                seed=self.seed,
                step=step,
                batch_size=self.batch_size,
                rank=self.rank,
                world_size=self.world_size,
            )
            num_frames = window_length(self.config, self.seed, step)
            yield [(epoch, number, num_frames) for epoch, number in clips]

    def __len__(self) -> int:
        return self.num_steps - self.start


def collate(samples: list[Sample]) -> Batch:
    """Stack samples into a batch; clips of one batch must have one frame size."""
    sizes = {sample["video"].shape[1:3] for sample in samples if "video" in sample}
    if len(sizes) > 1:
        raise ValueError(
            f"clips of several sizes in one batch: {sorted(sizes)}; set data.crop_size, or pack data sets of one size"
        )
    return {key: torch.from_numpy(np.stack([sample[key] for sample in samples])) for key in samples[0]}


class Loader:
    """The batches of steps start..num_steps-1 for one rank, in an order that no number of loader processes changes."""

    def __init__(self, batches: ClipBatches, sampler: StepSampler):
        self.sampler, self.keys, config = sampler, batches.store.keys, batches.config
        processes = {}
        if config.num_workers:
            processes = {
                "multiprocessing_context": loader_context(),
                "prefetch_factor": config.prefetch_factor,
                "worker_init_fn": start_process,
            }
        self.loader = DataLoader(
            batches,
            batch_size=None,
            sampler=batches.fetched_ahead(sampler),
            num_workers=config.num_workers,
            pin_memory=torch.cuda.is_available(),
            **processes,
        )

    def __len__(self) -> int:
        return len(self.sampler)

    def keys_of(self, positions: list[Position]) -> list[str]:
        """The keys of the clips of a batch."""
        return [self.keys[number] for _, number, _ in positions]

    def __iter__(self) -> Iterator[Batch]:
        """Raises ValueError for a clip that cannot be used, ChildProcessError when a loader process died."""
        try:
            for batch in self.loader:
                if isinstance(batch, ValueError):
                    raise batch
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error) or "exited unexpectedly" not in str(error):
                raise
            raise ChildProcessError(
                f"a loader process died ({error}), as a rule because memory ran out; lower data.num_workers or "
                "data.prefetch_factor, or see what it does with data.num_workers=0. The last checkpoint stays"
            ) from None


def loader_context() -> BaseContext:
    """How loader processes start: from a server that has imported this module and nothing else of a training.

    A fork of the training itself would copy its locks (CUDA, gloo and NCCL threads hold some) and may hang.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def start_process(worker: int) -> None:
    """Keep a loader process on one core, as there is one a core, and let it die when its training does."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    threading.Thread(target=_die_with_training, daemon=True).start()


def _die_with_training() -> None:
    """After `kill -9` of the training: torch watches the parent, which here is the server that started this process."""
    multiprocessing.parent_process().join()
    os._exit(1)


def make_loader(
    recipe: Recipe,
    index: Path | Sequence[Path],
    *,
    start: int,
    num_steps: int,
    rank: int,
    world_size: int,
    make: MakeSample = make_sample,
) -> Loader:
    """Batches of steps start..num_steps-1 for one rank, of samples that `make` makes; by default video (B, T, H, W, 3)
    uint8, queries, tracks, visible."""
    batches = ClipBatches(index, recipe.data, recipe.training.seed, make)
    sampler = StepSampler(
        batches.store.sizes, recipe, start=start, num_steps=num_steps, rank=rank, world_size=world_size
    )
    return Loader(batches, sampler)
