"""`python -m shards convert`: every layout there and back, mistakes in one line, nothing half written."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from shards.__main__ import main
from shards.clip import Clip
from shards.convert import STREAMING, WRITERS, convert_clips, read_clips
from shards.layouts.choice import Choice, cut_clips
from shards.pack import pack_clips
from shards.sources import SOURCES
from shards.store import ClipStore
from tests.conftest import make_clip
from tests.shards.layout_clips import camera_clip

DEPTH_STEP = {"lbm_folder": 1e-3, "movi_tfrecord": 1e-3, "index": 1e-3, "point_odyssey": 0.012, "dynamic_replica": 0.02}
"""The largest error of depth, metres, at 3 to 30 m; layouts without a place for depth are not listed."""


def pack(root, clips, clips_per_shard=2):
    root.mkdir()
    return convert_to_index(clips, root / "set", clips_per_shard)


def convert_to_index(clips, out, clips_per_shard):
    WRITERS["index"](clips, out, clips_per_shard)
    return out / "index.json"


def written(out, layout):
    return out / "index.json" if layout == "index" else out


@pytest.mark.parametrize("layout", sorted(WRITERS))
def test_every_layout_there_and_back(tmp_path, capsys, layout):
    clips = [camera_clip("one"), camera_clip("two_2", num_frames=1), camera_clip("three-3", num_points=1)]
    index = pack(tmp_path / "in", clips)
    out = tmp_path / "out"
    assert main(["convert", "--from", "index", str(index), "--to", layout, "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == f"{out}: 3 clips\n"
    assert captured.err.count("\n") == 3 and "two_2: 1 frames 30x22, 7 tracks, depth" in captured.err
    again = {clip.key: clip for clip in SOURCES[layout](written(out, layout))}
    assert again.keys() == {clip.key for clip in clips}
    for clip in clips:
        read = again[clip.key]
        np.testing.assert_allclose(read.tracks, clip.tracks, atol=1e-5)
        np.testing.assert_array_equal(read.visible, clip.visible)
        difference = np.abs(read.video.astype(int) - clip.video)
        assert difference.max() <= (12 if layout == "point_odyssey" else 0)
        assert (read.depth_m is None) == (layout not in DEPTH_STEP)
        if read.depth_m is not None:
            assert np.abs(read.depth_m - clip.depth_m).max() < DEPTH_STEP[layout]


@pytest.mark.parametrize("layout", sorted(set(WRITERS) - {"tapvid", "movi_tfrecord", "index"}))
def test_windows_are_those_of_the_whole(tmp_path, layout):
    clip = camera_clip("long", num_frames=7)
    WRITERS[layout]([clip], tmp_path / "out")
    (whole,) = SOURCES[layout](tmp_path / "out")
    expected = list(cut_clips([whole], Choice(start=1, stop=6, window=2)))
    read = list(read_clips(layout, tmp_path / "out", Choice(start=1, stop=6, window=2)))
    assert [c.key for c in read] == ["long-00001", "long-00003", "long-00005"]
    assert [len(c.video) for c in read] == [2, 2, 1]
    for one, other in zip(read, expected, strict=True):
        for name in ("video", "tracks", "visible"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert (one.depth_m is None) == (other.depth_m is None)
        if one.depth_m is not None:
            np.testing.assert_allclose(one.depth_m, other.depth_m)


def test_a_window_of_a_packed_set_takes_its_cameras_with_it(tmp_path):
    clip = camera_clip("long", num_frames=6)
    index = pack(tmp_path / "in", [clip])
    out = tmp_path / "out"
    convert_clips("index", [index], "point_odyssey", out, choice=Choice(start=2, window=3))
    whole, (first, second) = clip.metadata["camera"]["positions"], SOURCES["point_odyssey"](out)
    assert (first.key, second.key) == ("long-00002", "long-00005")
    transform = np.array(first.metadata["camera"]["world_to_camera"])
    centres = -np.einsum("tji,tj->ti", transform[:, :3, :3], transform[:, :3, 3])
    np.testing.assert_allclose(centres, whole[2:5], atol=1e-9)


def test_only_the_asked_frames_are_decoded(tmp_path):
    WRITERS["lbm_folder"]([camera_clip("a", num_frames=6)], tmp_path / "out")
    (tmp_path / "out" / "a" / "frames" / "005.png").write_bytes(b"damaged")
    choice = Choice(stop=4, window=2)
    assert [clip.key for clip in read_clips("lbm_folder", tmp_path / "out", choice)] == ["a-00000", "a-00002"]
    with pytest.raises(ValueError, match=r"005\.png: cannot be decoded"):
        list(read_clips("lbm_folder", tmp_path / "out"))
    assert set(WRITERS) - STREAMING == {"tapvid", "movi_tfrecord"}


def test_no_depth_and_many_inputs(tmp_path, capsys):
    indices = [pack(tmp_path / name, [camera_clip(name)]) for name in "abc"]
    arguments = ["convert", "--from", "index", *map(str, indices), "--to", "index", "--out", str(tmp_path / "all")]
    assert main([*arguments, "--no-depth", "--frames", "1:", "--clips-per-shard", "2"]) == 0
    store = ClipStore(tmp_path / "all" / "index.json")
    assert store.keys == ["a", "b", "c"] and len(store.shards) == 2
    assert len(store[0].video) == 4 and store.shards[0]["depth"] is None


def without_tracks(key):
    clip = make_clip(key, depth=False)
    empty = clip.tracks[:, :0], clip.visible[:, :0]
    return Clip(key=key, video=clip.video, tracks=empty[0], visible=empty[1])


@pytest.mark.parametrize("layout", sorted(WRITERS))
def test_clips_without_tracks(tmp_path, capsys, layout):
    index = pack(tmp_path / "in", [without_tracks("none"), make_clip("some", depth=False)])
    arguments = ["convert", "--from", "index", str(index), "--to", layout, "--out"]
    if layout in ("index", "movi_tfrecord"):
        assert main([*arguments, str(tmp_path / "out")]) == 0
        keys = {clip.key: clip.tracks.shape[1] for clip in SOURCES[layout](written(tmp_path / "out", layout))}
        assert keys == {"none": 0, "some": 12}
        return
    assert main([*arguments, str(tmp_path / "out")]) == 2
    assert "clip none: has 0 tracks" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*arguments, str(tmp_path / "out"), "--skip-empty"]) == 0
    assert "none: left out, it has 0 tracks" in capsys.readouterr().err
    assert [clip.key for clip in SOURCES[layout](tmp_path / "out")] == ["some"]


@pytest.mark.parametrize("layout", sorted(WRITERS))
def test_an_occupied_out_is_refused_and_stays(tmp_path, capsys, layout):
    index = pack(tmp_path / "in", [make_clip("a", depth=False)])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("out", "file"):
        assert main(["convert", "--from", "index", str(index), "--to", layout, "--out", str(tmp_path / name)]) == 2
        assert "exists and is not empty; delete it or give another --out" in capsys.readouterr().err
    assert (tmp_path / "out" / "mine").read_text() == (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("layout", sorted(WRITERS))
def test_a_failure_leaves_nothing_that_looks_whole(tmp_path, capsys, layout):
    index = pack(tmp_path / "in", [camera_clip("a"), camera_clip("b"), camera_clip("c")], clips_per_shard=1)
    tar = index.parent / "shard-000002.tar"
    tar.write_bytes(bytes(255 - byte for byte in tar.read_bytes()))
    out = tmp_path / "out"
    arguments = ["convert", "--from", "index", str(index), "--to", layout, "--out", str(out)]
    assert main([*arguments, "--clips-per-shard", "1"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [line for line in errors if line.startswith("error: ")] == errors[-1:] and "shard-000002.tar" in errors[-1]
    if layout in ("tapvid", "movi_tfrecord"):
        assert not out.exists()
    else:
        assert "holds the clips before it, delete it" in errors[-1]
        assert not list(out.glob("*index.json")) and not list(out.glob("*.jgz")) and not list(out.glob(".*"))
        if layout not in ("index", "dynamic_replica"):
            assert sorted(clip.key for clip in SOURCES[layout](out)) == ["a", "b"]


def test_two_sequences_of_one_key(tmp_path, capsys):
    video = {"video": make_clip().video, "points": np.zeros((2, 6, 2)), "occluded": np.zeros((2, 6), bool)}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a b": video, "a.b": video}))
    arguments = ["convert", "--from", "tapvid", str(tmp_path / "x.pkl"), "--to", "lbm_folder", "--out"]
    assert main([*arguments, str(tmp_path / "out")]) == 2
    assert "clip a-b comes twice; rename one of the two sequences" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--frames", "5"], "--frames 5: give A:B"),
        (["--frames", "3:2"], "frames 3:2: give A:B with 0 <= A < B"),
        (["--frames", "4:99"], "has frames 0..5; 4:99 chooses others"),
        (["--window", "0"], "a window of 0 frames"),
        (["--clips-per-shard", "0"], "0 clips a shard"),
    ],
)
def test_mistakes_in_options(tmp_path, capsys, options, message):
    index = pack(tmp_path / "in", [make_clip("a", depth=False)])
    assert (
        main(["convert", "--from", "index", str(index), "--to", "index", "--out", str(tmp_path / "o"), *options]) == 2
    )
    errors = capsys.readouterr().err
    assert message in errors and errors.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_depth_along_the_axis_needs_a_camera(tmp_path, capsys):
    index = pack(tmp_path / "in", [make_clip("a")])
    for layout in ("point_odyssey", "dynamic_replica"):
        arguments = ["convert", "--from", "index", str(index), "--to", layout, "--out", str(tmp_path / layout)]
        assert main(arguments) == 2
        assert "use --no-depth" in capsys.readouterr().err
        assert not list((tmp_path / layout).glob("*"))
        assert main([*arguments, "--no-depth"]) == 0
        (clip,) = SOURCES[layout](tmp_path / layout)
        assert clip.depth_m is None and "camera" not in clip.metadata


def test_pack_takes_every_layout_too(tmp_path):
    for layout in WRITERS:
        WRITERS[layout]([camera_clip("a")], tmp_path / layout)
        source = str(written(tmp_path / layout, layout))
        assert main(["pack", "--source", layout, source, "--out", str(tmp_path / f"packed-{layout}")]) == 0
        (row,) = json.loads((tmp_path / f"packed-{layout}.json").read_text())["clips"]
        assert row["key"] == "a" and row["num_tracks"] == 7


def test_help_names_layouts_and_examples(capsys):
    with pytest.raises(SystemExit):
        main(["convert", "--help"])
    text = capsys.readouterr().out
    assert all(f"  {name}: " in text for name in SOURCES) and text.count("python -m shards convert") >= 4


def test_the_graph_takes_every_layout_of_others():
    schema = Path(__file__).resolve().parents[2] / "workflow" / "schemas" / "config.schema.yaml"
    dataset = yaml.safe_load(schema.read_text())["$defs"]["dataset"]
    assert set(dataset["properties"]["source"]["enum"]) == set(SOURCES) - {"index"} | {"render", "people"}
    conditions = [branch["if"]["properties"]["source"] for branch in dataset["allOf"]]
    folders = [source for condition in conditions for source in condition.get("enum", [])]
    assert sorted(folders) == sorted(set(SOURCES) - {"index", "tapvid"})


def test_windows_of_a_choice():
    assert Choice(window=4).ranges(10) == [range(0, 4), range(4, 8), range(8, 10)]
    assert Choice(start=3).ranges(10) == [range(3, 10)]
    with pytest.raises(ValueError, match=r"has frames 0\.\.2; 3:3 chooses others"):
        Choice(start=3).ranges(3)


def test_pack_clips_is_what_writes_an_index(tmp_path):
    pack_clips([camera_clip("a")], tmp_path / "direct")
    index = pack(tmp_path / "in", [camera_clip("a")])
    assert (tmp_path / "direct.tar").read_bytes() == (index.parent / "shard-000000.tar").read_bytes()
