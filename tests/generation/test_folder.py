"""A clip's folder: complete or nothing, the same bytes from the same arrays, readable as a Clip."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from generation import folder
from shards.sources import read_clip_folders


def write(path, digest="d", **changes):
    rng = np.random.default_rng(0)
    arrays = {
        "frames": rng.integers(0, 255, (3, 8, 8, 3), dtype=np.uint8),
        "depth_m": rng.uniform(2, 30, (3, 8, 8)).astype(np.float32),
        "segmentation": rng.integers(0, 3, (3, 8, 8)),
        "tracks": {
            "tracks": rng.uniform(0, 8, (3, 5, 2)).astype(np.float32),
            "visible": np.ones((3, 5), bool),
            "query_frame": np.zeros(5, np.int32),
            "object_id": np.zeros(5, np.int32),
        },
        "metadata": {"seed": 1},
    }
    path.mkdir()
    folder.write_clip(path, **(arrays | changes))
    folder.write_manifest(path, digest)
    return arrays


def test_shards_reads_what_generation_writes(tmp_path):
    arrays = write(tmp_path / "movi_f-000001")
    (clip,) = read_clip_folders(tmp_path)
    assert clip.key == "movi_f-000001"
    np.testing.assert_array_equal(clip.video, arrays["frames"])
    np.testing.assert_array_equal(clip.tracks, arrays["tracks"]["tracks"])
    np.testing.assert_allclose(clip.depth_m, arrays["depth_m"], atol=28 / 65535)


def test_same_arrays_same_bytes(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert folder.manifest_sha256(tmp_path / "a") == folder.manifest_sha256(tmp_path / "b")


def test_complete_means_a_manifest_of_this_recipe(tmp_path):
    clip = tmp_path / "clip"
    write(clip, "wanted")
    assert folder.is_complete(clip, "wanted")
    assert not folder.is_complete(clip, "another")
    (clip / "manifest.json").write_text('{"recipe_digest": "wan')
    assert not folder.is_complete(clip, "wanted")
    (clip / "manifest.json").unlink()
    assert not folder.is_complete(clip, "wanted")


def test_put_in_place_replaces_another_recipe_and_keeps_the_first_of_the_same(tmp_path):
    target = tmp_path / "clip"
    write(target, "old")
    write(tmp_path / "new", "wanted", metadata={"by": "us"})
    folder.put_in_place(tmp_path / "new", target, "wanted")
    assert folder.is_complete(target, "wanted")
    write(tmp_path / "late", "wanted", metadata={"by": "another"})
    folder.put_in_place(tmp_path / "late", target, "wanted")
    assert json.loads((target / "metadata.json").read_text())["by"] == "us"
    assert not list(tmp_path.glob(".*"))


def test_only_folders_of_dead_processes_are_removed(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    mine = tmp_path / folder.temporary_name("clip-000001")
    dead = tmp_path / mine.name.replace(f".{os.getpid()}.", f".{child.pid}.")
    other_machine = tmp_path / f".clip-000001.elsewhere.{child.pid}.tmp"
    for path in (mine, dead, other_machine):
        path.mkdir()
    folder.remove_leftovers(tmp_path)
    assert mine.exists()
    assert other_machine.exists()
    assert not dead.exists()


def test_depth_of_one_value(tmp_path):
    write(tmp_path / "clip", depth_m=np.full((3, 8, 8), 4.0, np.float32))
    (clip,) = read_clip_folders(tmp_path)
    assert clip.depth_m == pytest.approx(4.0)
