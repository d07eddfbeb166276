"""What tests share: small annotated clips whose truth is known, and a packed data set of them."""

import dataclasses
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core runs tests; more threads would only wait

import numpy as np
import pytest

from shards import Clip, pack_clips, write_index


def make_clip(key: str = "clip-0", *, num_frames: int = 6, size: int = 32, num_points: int = 12, depth: bool = True):
    """A textured picture that slides; points slide with it, and one is hidden in the middle."""
    rng = np.random.default_rng([len(key), *key.encode()])
    step = rng.uniform(-1.5, 1.5, 2)
    canvas = rng.integers(0, 256, (size * 2, size * 2, 3), dtype=np.uint8)
    shifts = np.rint(np.arange(num_frames)[:, None] * step).astype(int)  # (T, 2) whole pixels
    corner = size // 2 - shifts
    video = np.stack([canvas[y : y + size, x : x + size] for x, y in corner])
    start = rng.uniform(size * 0.3, size * 0.7, (num_points, 2))
    tracks = (start[None] + shifts[:, None]).astype(np.float32)
    visible = ((tracks >= 0) & (tracks < size)).all(-1)
    visible[num_frames // 2, 0] = False
    depth_m = rng.uniform(2, 20, (num_frames, size, size)).astype(np.float32) if depth else None
    return Clip(key=key, video=video, tracks=tracks, visible=visible, depth_m=depth_m, metadata={"step": step.tolist()})


def with_points(clip: Clip) -> Clip:
    """The clip with every optional field of its points."""
    num_frames, num_points = clip.visible.shape
    world_m = np.random.default_rng(0).normal(0, 5, (num_frames, num_points, 3)).astype(np.float32)
    query_frame = (np.arange(num_points) % num_frames).astype(np.int32)
    object_id = (np.arange(num_points) % 4).astype(np.int32)
    return dataclasses.replace(clip, object_id=object_id, query_frame=query_frame, world_m=world_m)


def make_dataset(
    root: Path,
    name: str = "toy",
    *,
    num_clips: int = 6,
    clips_per_shard: int = 4,
    codec: str = "png",
    points: bool = False,
    **clip_settings,
) -> Path:
    """Pack `num_clips` clips, with all optional fields if `points`, into root/name and return the index."""
    clips = [make_clip(f"{name}-{i:03d}", **clip_settings) for i in range(num_clips)]
    clips = [with_points(clip) for clip in clips] if points else clips
    entries = []
    for number, first in enumerate(range(0, num_clips, clips_per_shard)):
        prefix = root / name / f"shard-{number:06d}"
        pack_clips(clips[first : first + clips_per_shard], prefix, codec)
        entries.append(prefix.with_name(f"{prefix.name}.json"))
    write_index(entries, name, root / name / "index.json")
    return root / name / "index.json"


@pytest.fixture
def dataset(tmp_path):
    """A function that packs clips under the test's own folder."""
    return lambda name="toy", **settings: make_dataset(tmp_path / "shards", name, **settings)
