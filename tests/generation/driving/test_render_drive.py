"""A drive by Blender: the camera is where the drive says, the picture moves as it must, same seed same bytes.

Slow (`pytest -m slow`), half a minute. The renderer is data/envs/render (`snakemake renderer` builds it) or the
interpreter that FRAMELINE_RENDERER names.
"""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

from shards.layouts.drive_folder import read_drive_folders

ROOT = Path(__file__).resolve().parents[3]
RENDERER = Path(os.environ.get("FRAMELINE_RENDERER", ROOT / "data/envs/render/bin/python"))
SMALL = ("width=96", "height=64", "num_frames=6", "samples_per_pixel=4", "max_parked=6")
LEFT = (
    "weight_straight=0",
    "weight_right=0",
    "weight_bend=0",
    "weight_start=0",
    "weight_stop_and_go=0",
    "weight_stop=0",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer"),
]


def generate(*words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "generation", *words, "--renderer", str(RENDERER)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def bytes_of(folder: Path) -> dict[str, str]:
    """sha256 of all files of a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def assets(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("assets") / "open"
    generate("assets", "--out", str(folder), "--objects", "12")
    return folder


@pytest.fixture(scope="module")
def drives(assets, tmp_path_factory) -> Path:
    """The way to a turn to the left, the beginning of one, and the list of both."""
    out = tmp_path_factory.mktemp("drives")
    where = ["--out", str(out), "--done", str(out / "list.json"), "--assets", str(assets)]
    generate("driving", "--seeds", "10:12", *where, *SMALL, *LEFT)
    return out


def test_the_camera_that_rendered_is_the_drive_s(drives):
    clips = list(read_drive_folders(drives / "list.json"))
    assert [clip.key for clip in clips] == ["driving-000010", "driving-000011"]
    for clip in clips:
        assert clip.video.shape == (6, 64, 96, 3) and clip.video.std() > 20
        seen = np.array(clip.metadata["camera"]["rendered_matrices"])  # Blender's: y up, looking along -z
        poses = clip.drive.camera_to_world
        np.testing.assert_allclose(seen[:, :3, 3], poses[:, :, 3], atol=1e-4)
        np.testing.assert_allclose(seen[:, :3, :3] * [1, -1, -1], poses[:, :, :3], atol=1e-6)
        assert (np.abs(np.diff(poses[:, :2, 3], axis=0)).sum(1) > 0).all()


def test_who_turns_left_sees_the_world_go_right(drives):
    """The median flow over the upper half, where all is far away: yaw times the focal length, to the right."""
    moved, expected = [], []
    for clip in read_drive_folders(drives / "list.json"):
        focal_px = clip.metadata["camera"]["matrix"][0][0]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip.video]
        steps = [
            cv2.calcOpticalFlowFarneback(*pair, None, 0.5, 3, 15, 3, 5, 1.1, 0) for pair in itertools.pairwise(grey)
        ]
        moved.append(sum(np.median(step[:32, :, 0]) for step in steps))
        expected.append(focal_px * np.trapezoid(clip.drive.yaw_rate_radps, clip.drive.times_s))
    assert expected[0] == pytest.approx(0, abs=0.5) and expected[1] > 15, "the second turns"
    assert abs(moved[0]) < 2 and 0.6 * expected[1] < moved[1] < 1.7 * expected[1]


def test_same_seed_same_bytes_alone_and_on_two_threads(drives, assets, tmp_path):
    words = ("driving", "--seed", "11", "--out", str(tmp_path), "--assets", str(assets), "--threads", "2")
    generate(*words, *SMALL, *LEFT)
    assert bytes_of(tmp_path / "driving-000011") == bytes_of(drives / "driving-000011")
    assert bytes_of(drives / "driving-000010") != bytes_of(drives / "driving-000011")


def test_the_test_split_shows_nothing_of_the_training_s(drives, assets, tmp_path):
    generate("driving", "--seed", "10", "--out", str(tmp_path), "--assets", str(assets), *SMALL, "split=test")
    seen = json.loads((tmp_path / "driving-000010/metadata.json").read_bytes())["instances"]
    trained = [json.loads(path.read_bytes())["instances"] for path in drives.glob("*/metadata.json")]
    assert not {one["asset_id"] for one in seen} & {one["asset_id"] for each in trained for one in each}
    assert iio.imread(tmp_path / "driving-000010/frames/000.png").std() > 20


def test_a_complete_drive_is_not_rendered_again(drives, assets):
    before = {path: path.stat().st_mtime_ns for path in (drives / "driving-000010").rglob("*")}
    words = ["driving", "--seed", "10", "--out", str(drives), "--assets", str(assets)]
    generate(*words, *SMALL, *LEFT)
    assert {path: path.stat().st_mtime_ns for path in (drives / "driving-000010").rglob("*")} == before
