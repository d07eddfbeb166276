"""Layouts of others become Clips; hostile pickles are refused."""

import hashlib
import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from shards.sources import read_clip_folders, read_lbm_folders, read_tapvid
from shards.unpickle import load_pickle
from tests.conftest import make_clip


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    return buffer.getvalue()


def tapvid_video(clip, *, jpeg=False):
    size = clip.video.shape[2:0:-1]
    frames = clip.video
    if jpeg:
        frames = []
        for frame in clip.video:
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, "jpeg", quality=95)
            frames.append(buffer.getvalue())
    points = (clip.tracks / np.array(size)).transpose(1, 0, 2).astype(np.float32)
    return {"video": frames, "points": points, "occluded": ~clip.visible.T, "labelled": clip.visible.T}


@pytest.mark.parametrize("protocol", [2, 4])
def test_tapvid_pickle_becomes_pixels(tmp_path, protocol):
    clip = make_clip(depth=False)
    (tmp_path / "davis.pkl").write_bytes(pickle.dumps({"a b.c": tapvid_video(clip)}, protocol))
    (read,) = read_tapvid(tmp_path / "davis.pkl")
    assert read.key == "a-b-c"
    np.testing.assert_array_equal(read.video, clip.video)
    np.testing.assert_allclose(read.tracks, clip.tracks, atol=1e-4)
    np.testing.assert_array_equal(read.visible, clip.visible)


def test_tapvid_list_of_jpeg_videos(tmp_path):
    clips = [make_clip(f"c{i}", depth=False) for i in range(2)]
    (tmp_path / "kinetics.pkl").write_bytes(pickle.dumps([tapvid_video(c, jpeg=True) for c in clips]))
    read = list(read_tapvid(tmp_path / "kinetics.pkl"))
    assert [c.key for c in read] == ["kinetics-0000", "kinetics-0001"]
    assert read[0].video.shape == clips[0].video.shape


class Hostile:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


@pytest.mark.parametrize("content", [Hostile(), {"video": [Hostile()]}])
def test_a_hostile_pickle_is_refused_and_not_executed(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"x\.pkl: refused or damaged pickle: asks for builtins\.exec"):
        load_pickle(tmp_path / "x.pkl")
    assert not (tmp_path / "executed").exists()


def write_lbm_folder(root, clip, annotation):
    folder = root / clip.key
    (folder / "frames").mkdir(parents=True)
    for t, frame in enumerate(clip.video):
        (folder / "frames" / f"{t:03d}.png").write_bytes(png(frame))
    np.save(folder / f"{clip.key}.npy", annotation)


def test_lbm_folder_holds_occlusion_under_the_name_visibility(tmp_path):
    clip = make_clip("0000", depth=False)
    write_lbm_folder(tmp_path, clip, {"coords": clip.tracks.transpose(1, 0, 2), "visibility": ~clip.visible.T})
    (read,) = read_lbm_folders(tmp_path)
    np.testing.assert_array_equal(read.visible, clip.visible)
    np.testing.assert_array_equal(read.tracks, clip.tracks)


def test_a_hostile_npy_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_lbm_folder(tmp_path, make_clip("0000"), {"coords": Hostile()})
    with pytest.raises(ValueError, match=r"0000\.npy: refused or damaged pickle"):
        list(read_lbm_folders(tmp_path))
    assert not (tmp_path / "executed").exists()


def write_clip_folder(root, clip):
    folder = root / clip.key
    low, high = float(clip.depth_m.min()), float(clip.depth_m.max())
    codes = np.rint((clip.depth_m - low) / (high - low) * 65535).astype(np.uint16)
    files = {f"frames/{t:03d}.png": png(frame) for t, frame in enumerate(clip.video)}
    files |= {f"depths/{t:03d}.png": png(code) for t, code in enumerate(codes)}
    files["metadata.json"] = json.dumps({"depth_range": [low, high]}).encode()
    buffer = io.BytesIO()
    np.savez(buffer, tracks=clip.tracks, visible=clip.visible)
    files["tracks.npz"] = buffer.getvalue()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": digests}))
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def test_clip_folders_are_read_and_checked(tmp_path):
    clip = make_clip("movi-000017")
    sha256 = write_clip_folder(tmp_path, clip)
    rows = [{"key": clip.key, "path": clip.key, "manifest_sha256": sha256}]
    listing = tmp_path / "shard-000000.json"
    listing.write_text(json.dumps({"format": "frameline-clips/1", "dataset": "x", "clips": rows}))
    for source in (listing, tmp_path):
        (read,) = read_clip_folders(source)
        np.testing.assert_array_equal(read.video, clip.video)
        np.testing.assert_allclose(read.depth_m, clip.depth_m, atol=2e-4)
    (tmp_path / clip.key / "frames" / "002.png").write_bytes(png(np.zeros((32, 32, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"002\.png: missing or damaged"):
        list(read_clip_folders(listing))
    rows[0]["manifest_sha256"] = "0" * 64
    listing.write_text(json.dumps({"format": "frameline-clips/1", "dataset": "x", "clips": rows}))
    with pytest.raises(ValueError, match=r"missing or not as shard-000000\.json lists it"):
        list(read_clip_folders(listing))
