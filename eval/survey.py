"""An index of shards -> what is in it: clips are read one at a time, and of each only its numbers are kept.

Legend: T frames, H W pixels, N points, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.frames import brightness, constant_frames, digest_frames, repeated_frames, sample_grid
from eval.motion import (
    count_disappearances,
    count_visible_outside,
    frame_motion,
    hidden_share,
    longest_visible_run,
    position_density,
    thin,
    total_displacement,
)
from eval.scenes import Scene, read_scene
from shards import ClipStore

MAX_EXAMINED_FRAMES = 48
"""Of longer clips only every n-th frame is decoded; tracks are always read whole."""
DEPTH_FRAMES = 4
MAX_SAMPLES = 4096
"""Of motion and of depth, a clip: even 11,000 examined clips stay below a gigabyte."""
DENSITY_BINS = 32


@dataclass(frozen=True, kw_only=True)
class ClipFacts:
    """The numbers of one clip; distances are in pixels, or relative to the longer side where the name says share."""

    number: int
    key: str
    size: tuple[int, int]
    """(H, W)"""
    num_frames: int
    num_tracks: int
    motion: np.ndarray
    """(S,) pixels a frame, thinned"""
    median_motion_share: float
    """of the longer side, a frame; nan where no point is visible in two neighbouring frames"""
    displacement: np.ndarray
    hidden: np.ndarray
    """(N,) share of frames"""
    disappearances: np.ndarray
    visible_run: np.ndarray
    density: np.ndarray
    """(DENSITY_BINS, DENSITY_BINS) counts"""
    num_visible_first: int
    num_visible_outside: int
    examined_frames: tuple[int, ...]
    brightness: float
    constant_frames: tuple[int, ...]
    repeated_frames: tuple[int, ...]
    digest: str
    depth_m: np.ndarray | None
    """(S,) metres, thinned; None where no depth was packed"""
    num_on_objects: int
    num_assigned: int
    """Tracks of which it is known whether they lie on an object: all or, where no ids were packed, none."""
    scene: Scene | None

    @property
    def side(self) -> int:
        """The frame's longer side in pixels."""
        return max(self.size)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A data set: counts of all of it from the index, and the facts of the clips that were examined."""

    dataset: str
    sha256: str
    num_clips: int
    num_shards: int
    num_bytes: int
    """Of the tars."""
    num_frames: int
    num_tracks: int
    has_depth: bool
    clips: list[ClipFacts]

    @property
    def scenes(self) -> list[Scene]:
        """The scenes of the examined clips that have one."""
        return [clip.scene for clip in self.clips if clip.scene]


def take_survey(store: ClipStore, at_most: int) -> Survey:
    """Examine at most `at_most` clips, evenly spread over the index; raises ValueError for damage, naming the file."""
    if at_most < 1:
        raise ValueError(f"{store.path}: --sample {at_most} examines no clip; give 1 or more")
    rows = [row for shard in store.shards for row in shard["clips"]]
    has_depth = [bool(shard["depth"]) for shard in store.shards for _ in shard["clips"]]
    return Survey(
        dataset=store.dataset,
        sha256=store.sha256,
        num_clips=len(store),
        num_shards=len(store.shards),
        num_bytes=sum(shard["bytes"] for shard in store.shards),
        num_frames=sum(row["num_frames"] for row in rows),
        num_tracks=sum(row["num_tracks"] for row in rows),
        has_depth=any(has_depth),
        clips=[examine_clip(store, number, has_depth[number]) for number in spread(len(store), at_most)],
    )


def spread(count: int, at_most: int) -> list[int]:
    """At most `at_most` different numbers of 0..count-1, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int)).tolist()


def examine_clip(store: ClipStore, number: int, has_depth: bool) -> ClipFacts:
    """Read clip `number` and count; one clip is in memory at a time."""
    tracks, visible, size = store.read_annotations(number)
    num_frames, num_tracks = visible.shape
    examined = _every(num_frames, MAX_EXAMINED_FRAMES)
    frame_numbers = tuple(range(num_frames)[examined])
    clip = store.read(number, frames=examined)
    scene = read_scene(clip.metadata, size, clip.key)
    motion = frame_motion(tracks, visible)
    return ClipFacts(
        number=number,
        key=clip.key,
        size=size,
        num_frames=num_frames,
        num_tracks=num_tracks,
        motion=thin(motion, MAX_SAMPLES).astype(np.float32),
        median_motion_share=float(np.median(motion)) / max(size) if motion.size else np.nan,
        displacement=total_displacement(tracks, visible).astype(np.float32),
        hidden=hidden_share(visible).astype(np.float32),
        disappearances=count_disappearances(visible).astype(np.int32),
        visible_run=longest_visible_run(visible).astype(np.int32),
        density=position_density(tracks, visible, size, DENSITY_BINS),
        num_visible_first=int(visible[0].sum()),
        num_visible_outside=count_visible_outside(tracks, visible, size),
        examined_frames=frame_numbers,
        brightness=brightness(clip.video),
        constant_frames=tuple(frame_numbers[t] for t in constant_frames(clip.video)),
        repeated_frames=tuple(frame_numbers[t] for t in repeated_frames(clip.video)),
        digest=digest_frames(clip.video),
        depth_m=_sample_depth(store, number, num_frames) if has_depth else None,
        num_on_objects=0 if clip.object_id is None else int((clip.object_id > 0).sum()),
        num_assigned=0 if clip.object_id is None else num_tracks,
        scene=scene,
    )


def _sample_depth(store: ClipStore, number: int, num_frames: int) -> np.ndarray:
    """Thinned depth (S,) of a few frames, metres."""
    clip = store.read(number, frames=_every(num_frames, DEPTH_FRAMES), with_depth=True)
    return sample_grid(clip.depth_m, MAX_SAMPLES)


def _every(num_frames: int, at_most: int) -> slice:
    """The frames from 0 in even steps, at most so many."""
    return slice(0, num_frames, -(-num_frames // at_most))


def find_duplicates(clips: Sequence[ClipFacts]) -> list[list[ClipFacts]]:
    """Groups of two and more clips whose examined frames are the same pictures."""
    groups: dict[str, list[ClipFacts]] = {}
    for clip in clips:
        groups.setdefault(clip.digest, []).append(clip)
    return [group for group in groups.values() if len(group) > 1]


def open_store(index: str | Path) -> ClipStore:
    """The clips of an index; raises ValueError for one that is not there or holds none."""
    store = ClipStore(index)
    if not len(store):
        raise ValueError(f"{index}: holds no clip; pack some (python -m shards pack)")
    return store
