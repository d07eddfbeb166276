"""Layouts of others become Clips; hostile pickles are refused."""

import hashlib
import io
import json
import pickle

import numpy as np
import pytest
from PIL import Image

from shards.__main__ import main
from shards.members import decode_rgb
from shards.sources import read_clip_folders, read_lbm_folders, read_tapvid
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


def test_kinetics_keeps_its_jpegs_in_an_array_of_bytes_and_comes_in_several_files(tmp_path):
    clips = [make_clip(f"c{i}", depth=False) for i in range(3)]
    videos = [tapvid_video(clip, jpeg=True) for clip in clips]
    for video in videos:
        video["video"] = np.array(video["video"])  # of one width: the longest JPEG's, others end with zeros
        assert video["video"].dtype.kind == "S"
    (tmp_path / "0000_of_0002.pkl").write_bytes(pickle.dumps(videos[:2]))
    (tmp_path / "0001_of_0002.pkl").write_bytes(pickle.dumps(videos[2:]))
    read = list(read_tapvid(tmp_path))
    assert [clip.key for clip in read] == ["0000_of_0002-0000", "0000_of_0002-0001", "0001_of_0002-0000"]
    assert all(one.video.shape == clip.video.shape for one, clip in zip(read, clips, strict=True))
    np.testing.assert_array_equal(read[2].video, [decode_rgb(bytes(frame)) for frame in videos[2]["video"]])
    np.testing.assert_allclose(read[2].tracks, clips[2].tracks, atol=1e-4)
    with pytest.raises(ValueError, match=r"no \*\.pkl in it"):
        list(read_tapvid((tmp_path / "empty").mkdir() or tmp_path / "empty"))


class Hostile:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('executed').touch()",))


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
    """A rendered clip with its tracks; returns its row of the list."""
    folder = root / clip.key
    low, high = float(clip.depth_m.min()), float(clip.depth_m.max())
    codes = np.rint((clip.depth_m - low) / (high - low) * 65535).astype(np.uint16)
    files = {f"frames/{t:03d}.png": png(frame) for t, frame in enumerate(clip.video)}
    files |= {f"depths/{t:03d}.png": png(code) for t, code in enumerate(codes)}
    files["metadata.json"] = json.dumps({"depth_range": [low, high]}).encode()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": digests}))
    count = clip.tracks.shape[1]
    np.savez(
        root / f"{clip.key}.npz",
        tracks=clip.tracks,
        visible=clip.visible,
        query_frame=np.zeros(count, np.int32),
        object_id=np.zeros(count, np.int32),
        world_m=np.zeros((*clip.visible.shape, 3), np.float32),
    )
    return {
        "key": clip.key,
        "path": clip.key,
        "manifest_sha256": hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest(),
        "tracks": f"{clip.key}.npz",
        "tracks_sha256": hashlib.sha256((root / f"{clip.key}.npz").read_bytes()).hexdigest(),
    }


def write_list(root, rows):
    listing = root / "shard-000000.json"
    listing.write_text(json.dumps({"format": "frameline-tracks/1", "dataset": "x", "clips": rows}))
    return listing


def test_clip_folders_are_read_and_checked(tmp_path):
    clip = make_clip("movi-000017")
    row = write_clip_folder(tmp_path, clip)
    listing = write_list(tmp_path, [row])
    (read,) = read_clip_folders(listing)
    np.testing.assert_array_equal(read.video, clip.video)
    np.testing.assert_array_equal(read.tracks, clip.tracks)
    np.testing.assert_allclose(read.depth_m, clip.depth_m, atol=2e-4)
    (tmp_path / clip.key / "frames" / "002.png").write_bytes(png(np.zeros((32, 32, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"002\.png: missing or damaged"):
        list(read_clip_folders(listing))
    write_list(tmp_path, [row | {"manifest_sha256": "0" * 64}])
    with pytest.raises(ValueError, match=r"manifest\.json: is not the one that was listed"):
        list(read_clip_folders(listing))


def test_tracks_that_are_not_the_listed_ones_are_refused(tmp_path):
    listing = write_list(tmp_path, [write_clip_folder(tmp_path, make_clip("a")) | {"tracks_sha256": "0" * 64}])
    with pytest.raises(ValueError, match=r"a\.npz: missing or damaged; delete .* and annotate again"):
        list(read_clip_folders(listing))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"occluded": np.zeros((11, 6), bool)}, r"points \(12, 6, 2\) and occluded \(11, 6\), expected \(N, 6, 2\)"),
        ({"points": np.zeros((12, 5, 2))}, r"points \(12, 5, 2\) and occluded"),
        ({"points": np.full((12, 6, 2), np.nan)}, "tracks is NaN or infinite"),
        ({"video": [b"<html>", b"<html>"]}, r"cannot be decoded \(neither PNG, JPEG nor WebP\)"),
        ({"video": []}, "there is no frame"),
        ({"video": 5}, "not as expected"),
        ({"video": np.zeros((6, 32, 32, 3), np.float32)}, "video is 4-d float32"),
    ],
)
def test_strange_tapvid_videos_are_named(tmp_path, change, message):
    video = tapvid_video(make_clip(depth=False)) | change
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"good": tapvid_video(make_clip()), "camel": video}))
    with pytest.raises(ValueError, match=rf"x\.pkl: video 'camel': .*{message}"):
        list(read_tapvid(tmp_path / "x.pkl"))


@pytest.mark.parametrize("content", [5, {}, {"a": 5}, {"a": {"video": 1}}, [{"points": 1}]])
def test_pickles_of_something_else_are_named(tmp_path, content):
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"x\.pkl: (expected a dictionary or list|video .* lacks)"):
        list(read_tapvid(tmp_path / "x.pkl"))


def test_names_that_clean_to_one_key_do_not_overwrite_each_other(tmp_path, capsys):
    video = tapvid_video(make_clip())
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a b": video, "a.b": video}))
    assert main(["pack", "--source", "tapvid", str(tmp_path / "x.pkl"), "--out", str(tmp_path / "s")]) == 2
    assert "clip a-b comes twice" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["x.pkl"]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"coords": np.zeros((12, 6, 2))}, "expected a dictionary with coords and visibility"),
        ({"coords": np.zeros((12, 5, 2)), "visibility": np.zeros((12, 5))}, r"expected \(N, 6, 2\) and \(N, 6\)"),
        ({"coords": np.zeros((6, 12, 2)), "visibility": np.zeros((6, 12))}, r"for the 6 frames"),
        ({"coords": np.full((12, 6, 2), np.nan), "visibility": np.zeros((12, 6))}, "tracks is NaN"),
    ],
)
def test_strange_lbm_annotations_are_named(tmp_path, annotation, message):
    write_lbm_folder(tmp_path, make_clip("0007", depth=False), annotation)
    with pytest.raises(ValueError, match=rf"0007.*{message}"):
        list(read_lbm_folders(tmp_path))


def test_frames_are_ordered_by_number_and_become_rgb(tmp_path):
    clip = make_clip("long", num_frames=12, depth=False)
    annotation = {"coords": clip.tracks.transpose(1, 0, 2), "visibility": ~clip.visible.T}
    write_lbm_folder(tmp_path, clip, annotation)
    for t in range(12):
        (tmp_path / "long" / "frames" / f"{t:03d}.png").rename(tmp_path / "long" / "frames" / f"{t + 995}.png")
    (tmp_path / "long" / "frames" / "notes.txt").write_text("not a frame")
    (read,) = read_lbm_folders(tmp_path)
    np.testing.assert_array_equal(read.video, clip.video)
    grey = tmp_path / "long" / "frames" / "1000.png"
    grey.write_bytes(png(np.full((32, 32), 7, np.uint8)))
    (read,) = read_lbm_folders(tmp_path)
    assert (read.video[5] == 7).all()
    grey.write_bytes(png(np.zeros((32, 16, 3), np.uint8)))
    with pytest.raises(ValueError, match=r"long/frames: frame 5 has shape \(32, 16, 3\), frame 0 has \(32, 32, 3\)"):
        list(read_lbm_folders(tmp_path))


def test_an_incomplete_clip_folder_is_not_left_out_silently(tmp_path):
    listing = write_list(tmp_path, [write_clip_folder(tmp_path, make_clip(key)) for key in ("a", "b")])
    assert [clip.key for clip in read_clip_folders(listing)] == ["a", "b"]
    (tmp_path / "b" / "manifest.json").unlink()
    with pytest.raises(ValueError, match=r"b: not complete, it has no manifest\.json; delete the folder"):
        list(read_clip_folders(listing))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "tapvid", "absent.pkl"], "absent.pkl"),
        (["--source", "lbm_folder", "absent"], "absent: not a folder"),
        (["absent.json"], "absent.json: not there"),
        (["."], "Is a directory"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(["pack", *arguments, "--out", "s"]) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("error: ") and errors.count("\n") == 1 and message in errors
