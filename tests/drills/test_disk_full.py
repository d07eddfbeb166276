"""A disk that fills up: one clear error, nothing half written, and the same bytes once there is room.

Needs root, for a small file system in memory.
"""

import hashlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.trainer.test_training import REPOSITORY, TINY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a file system"),
]


@pytest.fixture
def small_disk(tmp_path):
    """A folder with a megabyte of room; `resize` changes that."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def resize(folder: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(folder)], check=True)


def run(*words: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=300
    )


def told(result: subprocess.CompletedProcess) -> str:
    """The one line that says what went wrong, in small letters."""
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert result.returncode == 2 and "Traceback" not in result.stderr, result.stderr[-3000:]
    return line.lower()


def sha256_by_name(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fill(folder: Path, leave: int) -> Path:
    """A file that leaves only so many bytes of room."""
    filler = folder / "filler"
    room = os.statvfs(folder)
    filler.write_bytes(bytes(max(0, room.f_bavail * room.f_frsize - leave)))
    return filler


def half_written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and (path.name.startswith(".") or ".tmp" in path.name)]


def test_packing(small_disk, tmp_path):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (12, 192, 192, 3), dtype=np.uint8)  # no codec makes this smaller
    points, occluded = generator.uniform(size=(3, 12, 2)).astype(np.float32), np.zeros((3, 12), bool)
    source = tmp_path / "noise.pkl"
    source.write_bytes(pickle.dumps({"noise": {"video": noise, "points": points, "occluded": occluded}}))

    def pack(folder: Path) -> subprocess.CompletedProcess:
        return run("shards", "pack", "--source", "tapvid", str(source), "--out", str(folder / "shard-000000"))

    (tmp_path / "calm").mkdir()
    assert pack(tmp_path / "calm").returncode == 0
    assert "no space left on" in told(pack(small_disk))
    assert not sha256_by_name(small_disk), "nothing half written is left"
    resize(small_disk, "20m")
    assert pack(small_disk).returncode == 0
    assert sha256_by_name(small_disk) == sha256_by_name(tmp_path / "calm")


def test_training_and_predicting(small_disk, tmp_path, dataset):
    index = dataset(num_clips=6)
    words = [*TINY, f"paths.shards_root={tmp_path / 'shards'}", "training.num_steps=6", "training.save_every=2"]

    def train(runs: Path) -> subprocess.CompletedProcess:
        return run("trainer.launch", *words, f"paths.run_root={runs}", f"paths.output_dir={runs / 'out'}")

    def predict(folder: Path) -> subprocess.CompletedProcess:
        weights = str(tmp_path / "calm/out/weights.safetensors")
        return run("trainer.predict", "--weights", weights, "--truth", str(index), "--out", str(folder / "p.npz"))

    assert train(tmp_path / "calm").returncode == 0
    size = (tmp_path / "calm/out/weights.safetensors").stat().st_size
    resize(small_disk, "200m")
    filler = fill(small_disk, leave=5 * size // 2)  # the untrained weights, and half of a checkpoint (three times them)
    assert "no space left on" in told(train(small_disk))
    assert not half_written(small_disk) and not (small_disk / "out/weights.safetensors").exists()
    filler.unlink()
    assert train(small_disk).returncode == 0
    calm, ours = (sha256_by_name(folder / "out") for folder in (tmp_path / "calm", small_disk))
    assert calm.keys() == ours.keys()
    assert all(ours[name] == calm[name] for name in calm if name.endswith(".safetensors"))

    filler = fill(small_disk, leave=0)
    assert "no space left on" in told(predict(small_disk))
    assert not half_written(small_disk) and not (small_disk / "p.npz").exists()
    filler.unlink()
    assert predict(small_disk).returncode == predict(tmp_path).returncode == 0
    assert (small_disk / "p.npz").read_bytes() == (tmp_path / "p.npz").read_bytes()
