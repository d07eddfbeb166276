"""A benchmark small enough to know every number of: packed by the real commands from a TAP-Vid pickle."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HEIGHT, WIDTH, NUM_FRAMES = 40, 80, 10
DRIFT = 1.1  # source pixels a frame, to the right: 3.52 pixels at 256x256


def make_videos() -> dict[str, dict]:
    """`still`: four points that stay; `drift`: three that move, of which the last is hidden in frames 0, 1 and 6."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = np.stack([np.stack([columns + 3 * t, rows * 4, rows * 0 + 20 * t], -1) for t in range(NUM_FRAMES)])
    video = frames.astype(np.uint8)
    start = np.array([[20.5, 10.5], [30.0, 20.0], [40.25, 30.0], [50.0, 5.0]])  # (x, y) in source pixels
    still = np.repeat(start[:, None], NUM_FRAMES, axis=1)
    drift = still[:3].copy()
    drift[..., 0] += DRIFT * np.arange(NUM_FRAMES)
    hidden = np.zeros((3, NUM_FRAMES), bool)
    hidden[2, [0, 1, 6]] = True
    size = np.array([WIDTH, HEIGHT])
    return {
        "still": {"video": video, "points": (still / size).astype(np.float32), "occluded": np.zeros((4, 10), bool)},
        "drift": {"video": video, "points": (drift / size).astype(np.float32), "occluded": hidden},
    }


def pack_truth(folder: Path, videos: dict[str, dict], dataset: str) -> Path:
    """Pack videos with `python -m shards` and return the index.json."""
    source = folder / f"{dataset}.pkl"
    source.write_bytes(pickle.dumps(videos))
    prefix, index = folder / f"{dataset}/shard-000000", folder / f"{dataset}/index.json"
    pack = ["pack", "--source", "tapvid", str(source), "--out", str(prefix)]
    for arguments in (pack, ["index", f"{prefix}.json", "--dataset", dataset, "--out", str(index)]):
        subprocess.run([sys.executable, "-m", "shards", *arguments], check=True, capture_output=True)
    return index


@pytest.fixture(scope="session")
def truth_path(tmp_path_factory) -> Path:
    return pack_truth(tmp_path_factory.mktemp("truth"), make_videos(), "toy")


@pytest.fixture(scope="session")
def other_truth_path(tmp_path_factory) -> Path:
    return pack_truth(tmp_path_factory.mktemp("other"), {"still": make_videos()["still"]}, "other")
