"""A clip's folder: complete or nothing, the same bytes from the same arrays, readable as a Clip."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from generation import folder, tracks
from generation.config import TrackConfig
from generation.stored import read_passes
from shards.sources import read_clip_folders


def write(path, digest="d", **changes):
    rng = np.random.default_rng(0)
    camera = {"positions": [[0.0, -6.0, 1.0]] * 3, "quaternions_wxyz": [[0.7, 0.7, 0.0, 0.0]] * 3, "focal_px": 9.0}
    body = {"bounds": [[-1.0] * 3, [1.0] * 3], "positions": [[0.0] * 3] * 3, "quaternions_wxyz": [[1.0, 0, 0, 0]] * 3}
    metadata = {"seed": 1, "recipe": {"base_seed": 0}, "camera": camera, "instances": [body, body]}
    arrays = {
        "frames": rng.integers(0, 255, (3, 8, 8, 3), dtype=np.uint8),
        "depth_m": rng.uniform(2, 30, (3, 8, 8)).astype(np.float32),
        "segmentation": rng.integers(0, 3, (3, 8, 8)),
        "coordinates": rng.uniform(0, 1, (3, 8, 8, 3)),
        "normals": rng.uniform(-1, 1, (3, 8, 8, 3)),
        "metadata": metadata,
    }
    path.mkdir()
    folder.write_clip(path, **(arrays | changes))
    folder.write_manifest(path, digest)
    return arrays | changes


def annotated(clips: list[Path], out: Path, **settings) -> Path:
    """Annotate clips and list them; returns the list."""
    rows = tracks.annotate_clips(clips, TrackConfig(**{"num_tracks": 5, "sampling_stride": 1} | settings), out)
    tracks.write_done(out / "shard-000000.json", "movi_f", clips, rows, out)
    return out / "shard-000000.json"


def test_shards_reads_what_generation_writes(tmp_path):
    arrays = write(tmp_path / "movi_f-000001")
    (clip,) = read_clip_folders(annotated([tmp_path / "movi_f-000001"], tmp_path / "tracks"))
    assert clip.key == "movi_f-000001"
    np.testing.assert_array_equal(clip.video, arrays["frames"])
    assert clip.tracks.shape == (3, 5, 2)
    np.testing.assert_allclose(clip.depth_m, arrays["depth_m"], atol=28 / 65535)


def test_passes_come_back_as_they_were(tmp_path):
    arrays = write(tmp_path / "clip")
    passes = read_passes(tmp_path / "clip")
    is_object = arrays["segmentation"] > 0
    t, row, column = np.nonzero(is_object)
    np.testing.assert_allclose(passes.coordinates_at(t, row, column), arrays["coordinates"][is_object], atol=1e-5)
    np.testing.assert_allclose(passes.normals_at(t, row, column), arrays["normals"][is_object], atol=2e-5)
    # Finer than the 16 bits of the pictures: ground near a moving camera needs it.
    np.testing.assert_allclose(passes.depth_m, arrays["depth_m"], atol=28 / 65535 / 200)
    assert not passes.coordinates[~is_object].any()
    assert passes.boxes.shape == (2, 3, 8, 3)


def test_another_annotation_reads_the_same_clip_and_an_equal_one_reads_nothing(tmp_path, capsys):
    clip, out = tmp_path / "clip", tmp_path / "tracks"
    write(clip)
    before = {path: path.stat().st_mtime_ns for path in clip.rglob("*")}
    annotated([clip], out)
    first = (out / "clip.npz").read_bytes()
    assert "clip: 5 tracks" in capsys.readouterr().out
    annotated([clip], out)
    assert capsys.readouterr().out == ""
    annotated([clip], out, num_tracks=9)
    assert "clip: 9 tracks" in capsys.readouterr().out
    assert (out / "clip.npz").read_bytes() != first
    annotated([clip], out)
    assert (out / "clip.npz").read_bytes() == first
    (out / "clip.npz").unlink()  # half a result is made again
    annotated([clip], out)
    assert (out / "clip.npz").read_bytes() == first
    assert {path: path.stat().st_mtime_ns for path in clip.rglob("*")} == before


def test_dense_options_make_a_file_beside_the_tracks(tmp_path):
    write(tmp_path / "clip")
    annotated([tmp_path / "clip"], tmp_path / "out", dense_frames=(0, -1), dense_flow=True)
    with np.load(tmp_path / "out" / "clip.dense.npz", allow_pickle=False) as arrays:
        assert arrays["frames"].tolist() == [0, 2]
        assert arrays["tracks"].shape == (2, 3, 8, 8, 2)
        assert arrays["forward_flow"].shape == arrays["backward_flow"].shape == (3, 8, 8, 2)
    with np.load(tmp_path / "out" / "clip.npz", allow_pickle=False) as arrays:
        assert arrays["world_m"].shape == (3, 5, 3)
        np.testing.assert_array_equal(arrays["is_foreground"], arrays["object_id"] > 0)


@pytest.mark.parametrize("name", ["passes.npz", "depths/001.png", "segmentations/002.png"])
def test_a_damaged_clip_is_named(tmp_path, name):
    write(tmp_path / "clip")
    file = tmp_path / "clip" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"clip: .*render it again"):
        read_passes(tmp_path / "clip")


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
    (clip,) = read_clip_folders(annotated([tmp_path / "clip"], tmp_path / "tracks"))
    assert clip.depth_m == pytest.approx(4.0)
