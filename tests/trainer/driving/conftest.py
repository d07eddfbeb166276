"""Packed miniature drives, and trainings on them that take seconds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shards import pack_clips, write_index
from tests.shards.driving.drives import drive_clip

TINY = {
    "unet.widths": "[32]", "unet.attending": "[true]", "unet.num_frames": "4",
    "objective.dynamics_norm": "mean",
}  # fmt: skip


@dataclass(frozen=True)
class Drives:
    """Where packed drives are, and overrides of a launch that learns from them."""

    root: Path

    @property
    def index(self) -> Path:
        return self.root / "drives" / "index.json"

    def words(self, stage: str, folder: Path, *more: str) -> list[str]:
        """Overrides of a small training of `stage`, whose results are in folder/out."""
        return [
            f"stage={stage}", "model=vista_pixels", "data=driving_small", "data.dataset=drives",
            *(f"model.{key}={value}" for key, value in TINY.items()), "data.driving.height=8", "data.driving.width=16",
            "data.driving.num_frames=4", "data.driving.one_kind=false", "training.num_steps=4", "training.batch_size=2",
            "training.accumulation_steps=1", "training.strategy=ddp", "training.threads=1", "logging.log_every=1",
            "optimizer.warmup_steps=2", "optimizer.learning_rate=1.0e-3", "validation.dataset=null",
            f"paths.shards_root={self.root}", f"paths.run_root={folder / 'runs'}",
            f"paths.output_dir={folder / 'out'}", *more,
        ]  # fmt: skip


def pack_drives(root: Path, name: str, clips: list) -> Path:
    """Pack clips under root/name; the index."""
    pack_clips(clips, root / name / "shard-000000", "png")
    write_index([root / name / "shard-000000.json"], name, root / name / "index.json")
    return root / name / "index.json"


@pytest.fixture(scope="session")
def drives(tmp_path_factory) -> Drives:
    root, rng = tmp_path_factory.mktemp("drives"), np.random.default_rng(0)
    rates = (0.0, 0.2, -0.2, 0.5, -0.5, 0.1)
    clips = [drive_clip(f"drive-{n}", yaw_rate=rate) for n, rate in enumerate(rates)]
    for clip in clips:
        clip.video.flags.writeable = True
        clip.video[:] = rng.integers(0, 256, clip.video.shape, dtype=np.uint8)
    pack_drives(root, "drives", clips)
    return Drives(root)
