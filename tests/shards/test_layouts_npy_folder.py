"""The folders of LBM and CoTracker3: what their npy holds, depth and its scale, gaps in the frames."""

import numpy as np
import pytest
from PIL import Image

from shards.layouts.npy_folder import (
    read_cotracker3_kubric,
    read_lbm_folders,
    write_cotracker3_kubric,
    write_lbm_folders,
)
from tests.conftest import make_clip


def test_the_npy_holds_occlusion_as_numpy_reads_it(tmp_path):
    clip = make_clip("0000")
    for write in (write_lbm_folders, write_cotracker3_kubric):
        write([clip], tmp_path / write.__name__)
        content = np.load(tmp_path / write.__name__ / "0000" / "0000.npy", allow_pickle=True).item()
        np.testing.assert_array_equal(content["visibility"], ~clip.visible.T)
        np.testing.assert_array_equal(content["coords"], clip.tracks.transpose(1, 0, 2))
        has_depth = write is write_lbm_folders
        assert ("depth_range" in content) == (tmp_path / write.__name__ / "0000" / "depths").is_dir() == has_depth


def test_depths_without_their_scale_are_not_read(tmp_path):
    write_lbm_folders([make_clip("0000")], tmp_path)
    path = tmp_path / "0000" / "0000.npy"
    content = np.load(path, allow_pickle=True).item()
    (clip,) = read_lbm_folders(tmp_path)
    assert clip.depth_m is not None
    del content["depth_range"]
    np.save(path, content)
    (clip,) = read_lbm_folders(tmp_path)
    assert clip.depth_m is None


def test_jpeg_frames_of_cotracker3(tmp_path):
    clip = make_clip("seq", depth=False)
    write_cotracker3_kubric([clip], tmp_path)
    for path in (tmp_path / "seq" / "frames").iterdir():
        Image.open(path).save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    (read,) = read_cotracker3_kubric(tmp_path)
    assert read.video.shape == clip.video.shape and read.metadata["source"] == "cotracker3_kubric"


def damage(tmp_path, name, content):
    path = tmp_path / "seq" / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("frames/002.png", None, r"frames: frame 2 is missing: 001\.png is followed by 003\.png"),
        ("frames/005.png", None, r"coords \(12, 6, 2\) .* for the 5 frames"),
        ("frames/3.jpg", b"", r"frames: (003\.png and 3\.jpg|3\.jpg and 003\.png) are the same frame"),
        ("frames/001.png", b"\x89PNG\r\n\x1a\n", r"frames/001\.png: cannot be decoded"),
        ("depths/005.png", None, "depths: 5 files for 6 frames"),
        ("depths/001.png", b"", r"depths/001\.png: cannot be decoded"),
        ("seq.npy", None, r"seq\.npy: not there; the annotation has the name of its folder"),
        ("seq.npy", b"\x93NUMPY", r"seq\.npy: not an npy file"),
    ],
)
def test_damage_is_named(tmp_path, name, content, message):
    write_lbm_folders([make_clip("seq")], tmp_path)
    damage(tmp_path, name, content)
    with pytest.raises(ValueError, match=message):
        list(read_lbm_folders(tmp_path))


def test_no_tracks_and_no_frames(tmp_path):
    write_lbm_folders([make_clip("seq", depth=False)], tmp_path)
    np.save(tmp_path / "seq" / "seq.npy", {"coords": np.zeros((0, 6, 2)), "visibility": np.zeros((0, 6))})
    with pytest.raises(ValueError, match=r"seq\.npy: has 0 tracks"):
        list(read_lbm_folders(tmp_path))
    for path in (tmp_path / "seq" / "frames").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="frames: there is no frame"):
        list(read_lbm_folders(tmp_path))


def test_what_a_killed_writer_left_is_no_sequence(tmp_path):
    write_lbm_folders([make_clip("seq", depth=False)], tmp_path)
    (tmp_path / ".other.host.1.tmp" / "frames").mkdir(parents=True)
    assert [clip.key for clip in read_lbm_folders(tmp_path)] == ["seq"]
    with pytest.raises(ValueError, match="a sequence of that name is already there"):
        write_lbm_folders([make_clip("seq", depth=False)], tmp_path)
