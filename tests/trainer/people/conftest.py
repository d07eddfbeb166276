"""The capsule man, packed pictures of him, and trainings that take a second."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from generation.people.config import PeopleConfig
from generation.people.scene import make_clip
from generation.people.toy import make_toy
from shards import pack_clips, write_index
from shards.people.body import Body, write_body

SMALL_TRUNK = {"backbone": "conv_tiny", "backbone_width": 8}
DEPTHNET = SMALL_TRUNK | {
    "map_size": None, "interface_width": 16, "num_heads": 2, "feedforward": 16, "num_joints": 22, "with_geometry": True,
    "lambda_joints": 1.0, "lambda_heat": 0.1, "lambda_seen": 0.1, "loss": "log", "head_width": 16,
    "start_depth_m": 0.9,
}  # fmt: skip
POSENET = SMALL_TRUNK | {
    "dim": 16, "token_size": 4, "num_layers": 1, "num_heads": 2, "feedforward": 16, "head_width": 16, "num_shapes": 2,
    "num_vertices": 20,
}  # fmt: skip


@dataclass(frozen=True)
class People:
    """Where packed people are, and overrides of a launch that learns from them."""

    root: Path
    body: Body
    body_path: Path

    @property
    def index(self) -> Path:
        return self.root / "toys" / "index.json"

    def words(self, stage: str, folder: Path, *more: str) -> list[str]:
        """Overrides of a small training of `stage`, whose results are in folder/out."""
        sizes = DEPTHNET if stage == "blade_depthnet" else POSENET
        small = [f"model.{key}={'null' if value is None else value}" for key, value in sizes.items()]
        if stage == "blade_posenet":
            small += [f"model.depthnet.{key}={'null' if v is None else v}" for key, v in DEPTHNET.items()]
        return [
            f"stage={stage}", f"model={stage}_small", "data=people_small", "data.dataset=toys", *small,
            f"data.people.body={self.body_path}", "data.people.image_size=32", "training.num_epochs=null",
            "training.num_steps=4", "training.batch_size=4", "training.threads=1", "logging.log_every=1",
            "validation.dataset=toys", "validation.every_steps=2", "validation.num_videos=2",
            f"paths.shards_root={self.root}", f"paths.run_root={folder / 'runs'}",
            f"paths.output_dir={folder / 'out'}", *more,
        ]  # fmt: skip


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> People:
    root, body = tmp_path_factory.mktemp("people"), make_toy()
    config = PeopleConfig(resolution=48, num_frames=2)
    clips = [make_clip(config, body, seed, f"toy-{seed}") for seed in range(8)]
    pack_clips(clips, root / "toys" / "shard-000000", "png")
    write_index([root / "toys" / "shard-000000.json"], "toys", root / "toys" / "index.json")
    return People(root, body, write_body(root / "toy.npz", body))
