"""Packed clips come back as they were; damage is named; equal clips give equal bytes."""

import dataclasses
import json
import multiprocessing
import pickle
import re
import signal
import subprocess
import sys
import tarfile
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import zarr

import shards.store
from shards import ClipStore, pack_clips, stream, write_index
from shards import read as read_all
from shards.__main__ import main
from shards.depth import metres, quantise
from shards.files import sha256_of
from shards.members import _encode_array, encode_clip
from tests.conftest import make_clip, with_points

REPOSITORY = Path(__file__).parents[2]


def assert_same(one, other):
    for name in ("video", "tracks", "visible"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert (one.key, one.metadata) == (other.key, other.metadata)


def test_clips_come_back_exactly(dataset):
    store = ClipStore(dataset(num_clips=5))
    assert store.keys == [f"toy-{i:03d}" for i in range(5)]
    for number in (4, 0, 2):
        original = make_clip(f"toy-{number:03d}")
        read = store.read(number, with_depth=True)
        assert_same(read, original)
        span = original.depth_m.max() - original.depth_m.min()
        np.testing.assert_allclose(read.depth_m, original.depth_m, atol=span / 65535)


def test_a_window_decodes_only_its_frames(dataset):
    store = ClipStore(dataset())
    whole = store.read(1, with_depth=True)
    part = store.read(1, frames=slice(2, 5), with_depth=True)
    for name in ("video", "tracks", "visible", "depth_m"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[2:5])


@pytest.mark.parametrize("frames", [slice(None, None, 2), slice(-3, None), slice(0, 1)])
def test_slices_are_those_of_a_list(dataset, frames):
    store = ClipStore(dataset())
    whole, part = store.read(0, with_depth=True), store.read(0, frames=frames, with_depth=True)
    for name in ("video", "tracks", "visible", "depth_m"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[frames])


@pytest.mark.parametrize("frames", [slice(3, 3), slice(None, None, -1), slice(90, 99)])
def test_a_slice_of_nothing_is_refused(dataset, frames):
    with pytest.raises(ValueError, match=r"chooses no frames of clip toy-000, which has 0\.\.5"):
        ClipStore(dataset()).read(0, frames=frames)


def test_optional_fields_come_back(dataset):
    index = dataset(points=True)
    store, original = ClipStore(index), with_points(make_clip("toy-001"))
    read = store.read(1, with_world=True)
    assert_same(read, original)
    for name in ("object_id", "query_frame", "world_m"):
        np.testing.assert_array_equal(getattr(read, name), getattr(original, name), err_msg=name)
    streamed = list(stream(index))[1]
    np.testing.assert_array_equal(streamed.world_m, original.world_m)
    assert len(list(read_all(index, with_world=True, shuffle=False))) == 6


def test_world_positions_are_read_only_when_asked_for(dataset, monkeypatch):
    store, asked = ClipStore(dataset(points=True)), []
    read_member = shards.store._read_member
    monkeypatch.setattr(shards.store, "_read_member", lambda *args: asked.append(args[-1]) or read_member(*args))
    clip = store.read(0, frames=slice(2, 4))
    frames = ["frame002.png", "frame003.png"]
    assert sorted(asked) == sorted(
        [*frames, "object_id.npy", "query_frame.npy", "tracks.npy", "visible.npy", "metadata.json"]
    )
    assert clip.world_m is None and clip.object_id is not None
    asked.clear()
    store.read(0, with_world=True)
    assert "world.npy" in asked


def test_slices_cut_world_positions_and_renumber_query_frames(dataset):
    store, original = ClipStore(dataset(points=True)), with_points(make_clip("toy-000"))
    part = store.read(0, frames=slice(1, None, 2), with_world=True)
    np.testing.assert_array_equal(part.world_m, original.world_m[1::2])
    np.testing.assert_array_equal(part.object_id, original.object_id)
    np.testing.assert_array_equal(part.query_frame, [-1, 0, -1, 1, -1, 2] * 2)  # of frames 0..5 twice


def test_world_positions_that_were_not_packed_are_refused(dataset):
    store = ClipStore(dataset())
    assert store.read(0).object_id is None
    with pytest.raises(ValueError, match="clip toy-000 was packed without world_m; read it with with_world=False"):
        store.read(0, with_world=True)


def test_a_shard_has_all_or_none_of_a_field(tmp_path):
    one, other = with_points(make_clip("a")), with_points(make_clip("b"))
    with pytest.raises(ValueError, match="clip b has no world while clip a has; pack them apart"):
        pack_clips([one, dataclasses.replace(other, world_m=None)], tmp_path / "s")
    with pytest.raises(ValueError, match="clip a has no object_id while clip b has; pack them apart"):
        pack_clips([dataclasses.replace(one, object_id=None), other], tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def pack_described(prefix, *clips):
    """Pack clips of (key, metadata)."""
    pack_clips([dataclasses.replace(make_clip(key), metadata=metadata) for key, metadata in clips], prefix)
    return prefix.with_name(f"{prefix.name}.json")


def test_the_index_sums_up_seeds_assets_and_recipe(tmp_path):
    def scene(seed, *assets):
        instances = [{"asset_id": name} for name in assets]
        return {"seed": seed, "attempt": 1, "recipe": {"x": 2}, "scene": {"hdri": "sky"}, "instances": instances}

    entries = [
        pack_described(tmp_path / "s0", ("a", scene(7, "cup", "shoe", "cup")), ("b", scene(8))),
        pack_described(tmp_path / "s1", ("c", scene(9, "shoe"))),
    ]
    content = write_index(entries, "x", tmp_path / "index.json")
    store = ClipStore(tmp_path / "index.json")
    assert [store.row(n)["seed"] for n in range(3)] == [7, 8, 9]
    assert store.row(0)["assets"] == ("cup", "shoe", "sky") and store.row(0)["attempt"] == 1
    assert store.row(2)["shard"] == "s1"
    assert store.summary["assets"] == {"cup": 1, "shoe": 2, "sky": 3}
    assert store.summary["recipe"] == {"x": 2}
    assert (store.summary["num_clips"], store.summary["num_frames"]) == (3, 18)
    assert store.summary["bytes"] == sum(path.stat().st_size for path in tmp_path.glob("*.tar"))
    depth_files = [path for path in tmp_path.glob("*.zarr/**/*") if path.is_file()]
    assert store.summary["depth_bytes"] == sum(path.stat().st_size for path in depth_files)
    text = (tmp_path / "index.json").read_text()
    assert text == json.dumps(content, separators=(",", ":"))


def test_a_large_index_is_held_in_little_memory(dataset):
    """Parsed as plain lists its rows would take 9 kB each."""
    index = dataset(num_clips=1, num_frames=24, size=96)
    content = json.loads(index.read_text())
    row, num_clips = content["shards"][0]["clips"][0], 500
    content["shards"][0]["clips"] = [row | {"key": f"c{number}"} for number in range(num_clips)]
    index.write_text(json.dumps(content | {"num_clips": num_clips, "num_frames": 24 * num_clips}))
    tracemalloc.start()
    store = ClipStore(index)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(store) == num_clips
    assert held / num_clips < 2500
    assert peak - held < index.stat().st_size * 2 + 2**20


def test_recipes_that_differ_are_listed_once(tmp_path):
    entries = [
        pack_described(tmp_path / "s0", ("a", {"recipe": {"x": 2}}), ("b", {"recipe": {"x": 1}})),
        pack_described(tmp_path / "s1", ("c", {"recipe": {"x": 1}}), ("d", {})),
    ]
    assert write_index(entries, "x", tmp_path / "index.json")["recipe"] == [None, {"x": 1}, {"x": 2}]
    assert write_index(entries[:1], "x", tmp_path / "index.json")["recipe"] == [{"x": 1}, {"x": 2}]


def test_metadata_of_others_is_no_reason_to_fail(tmp_path):
    odd = {"seed": "seven", "scene": 5, "instances": {"asset_id": 3}, "recipe": [1]}
    entry = pack_described(tmp_path / "s0", ("a", odd), ("b", {"instances": [3, {"asset_id": 4}]}))
    write_index([entry], "x", tmp_path / "index.json")
    assert ClipStore(tmp_path / "index.json").row(0).keys().isdisjoint({"seed", "assets"})


def read_in_child(store, number):
    clip = store.read(number, with_depth=True)
    return clip.key, int(clip.video.sum()), float(clip.depth_m.sum())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_may_be_read_in_other_processes(dataset, method):
    store = ClipStore(dataset())
    here = [read_in_child(store, number) for number in range(6)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(read_in_child, [(store, number) for number in range(6)]) == here


def test_reading_leaves_no_file_open(dataset):
    store = ClipStore(dataset())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        store.read(0), store.read(5)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("depth_m", [np.full((6, 32, 32), 3, np.float32), None])
def test_constant_depth_and_no_points_come_back(tmp_path, depth_m):
    clip = make_clip("a", depth=False)
    odd = dataclasses.replace(clip, tracks=clip.tracks[:, :0], visible=clip.visible[:, :0], depth_m=depth_m)
    pack_clips([odd], tmp_path / "s")
    write_index([tmp_path / "s.json"], "x", tmp_path / "index.json")
    read = ClipStore(tmp_path / "index.json").read(0, with_depth=depth_m is not None)
    assert read.tracks.shape == (6, 0, 2)
    np.testing.assert_array_equal(read.depth_m, depth_m) if depth_m is not None else None
    assert main(["view", str(tmp_path / "index.json"), "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["ls", str(tmp_path / "index.json")]) == 0
    assert main(["verify", "--deep", str(tmp_path / "index.json")]) == 0


def test_codes_of_depth_survive_packing_exactly(tmp_path):
    """A clip folder holds 16-bit codes over the clip's range; the store holds the same codes."""
    codes = np.random.default_rng(0).integers(0, 65536, (6, 32, 32), dtype=np.uint16)
    codes[0, 0, :2] = 0, 65535
    clip = dataclasses.replace(make_clip("a"), depth_m=metres(codes, 2.25, 19.5))
    np.testing.assert_array_equal(quantise(clip.depth_m)[0], codes)
    pack_clips([clip], tmp_path / "s")
    np.testing.assert_array_equal(zarr.open(str(tmp_path / "s.zarr"), mode="r")["a"][:], codes)


def test_importing_shards_brings_neither_torch_nor_webdataset():
    script = "import sys, shards, shards.__main__; print({'torch', 'webdataset', 'snakemake'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "set()"


def test_stream_yields_what_the_store_holds(dataset):
    index = dataset(num_clips=5)
    store = ClipStore(index)
    streamed = list(stream(index))
    assert len(streamed) == 5
    for number, clip in enumerate(streamed):
        assert_same(clip, store[number])


def test_plain_tar_reads_a_shard(dataset):
    with tarfile.open(dataset().with_name("shard-000000.tar")) as archive:
        assert archive.getnames()[0] == "toy-000.frame000.png"
        assert {m.mtime for m in archive} == {0}


def test_packing_again_gives_the_same_bytes(tmp_path):
    entries = [pack_clips([make_clip("a"), make_clip("b")], tmp_path / name / "shard-000000") for name in "xy"]
    assert entries[0]["sha256"] == entries[1]["sha256"]
    assert entries[0]["depth_sha256"] == entries[1]["depth_sha256"]


def test_a_failure_leaves_the_complete_shard_alone(tmp_path):
    prefix = tmp_path / "shard-000000"
    pack_clips([make_clip("a")], prefix)
    before = {path.name: sha256_of(path) for path in tmp_path.iterdir()}

    def failing():
        yield make_clip("b")
        raise OSError(28, "No space left on device")

    with pytest.raises(ValueError, match="no space left on the device"):
        pack_clips(failing(), prefix)
    assert {path.name: sha256_of(path) for path in tmp_path.iterdir()} == before


def test_a_shard_without_depth_leaves_no_old_depth_behind(tmp_path):
    pack_clips([make_clip("a")], tmp_path / "s")
    pack_clips([make_clip("a", depth=False)], tmp_path / "s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.json", "s.tar"]
    write_index([tmp_path / "s.json"], "x", tmp_path / "index.json")
    with pytest.raises(ValueError, match="clip a was packed without depth"):
        ClipStore(tmp_path / "index.json").read(0, with_depth=True)


def test_packing_is_refused_on_a_full_disk(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shards.pack.write_depth", full)
    with pytest.raises(ValueError, match=r"s\.\w+: no space left on the device; free some and run"):
        pack_clips([make_clip("a")], tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_keys_must_be_unique_and_depth_all_or_none(tmp_path):
    with pytest.raises(ValueError, match="clip a comes twice"):
        pack_clips([make_clip("a"), make_clip("a")], tmp_path / "s")
    with pytest.raises(ValueError, match="clip b has no depth while clip a has"):
        pack_clips([make_clip("a"), make_clip("b", depth=False)], tmp_path / "s")
    pack_clips([make_clip("a")], tmp_path / "s0")
    pack_clips([make_clip("a")], tmp_path / "s1")
    with pytest.raises(ValueError, match="clip a is in s0 and in s1"):
        write_index([tmp_path / "s0.json", tmp_path / "s1.json"], "x", tmp_path / "index.json")


def test_kill_9_while_packing_then_again_gives_the_same_bytes(tmp_path):
    script = (
        "import sys, time; sys.path.insert(0, '.')\n"
        "from shards import pack_clips\nfrom tests.conftest import make_clip\n"
        "def clips(pause):\n"
        "    for i in range(4):\n        print(i, flush=True); time.sleep(pause); yield make_clip(f'c{i}')\n"
        "pack_clips(clips(float(sys.argv[2])), sys.argv[1])\n"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "killed" / "s"), "0.3"], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert killed.stdout.readline() and killed.stdout.readline()
    time.sleep(0.1)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not list((tmp_path / "killed").glob("s.*")), "nothing looks complete"
    assert list((tmp_path / "killed").glob(".s.*.tmp"))
    for name in ("killed", "calm"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name / "s"), "0"], check=True, cwd=REPOSITORY)
    entries = [json.loads((tmp_path / name / "s.json").read_text()) for name in ("killed", "calm")]
    assert entries[0] == entries[1]
    assert sha256_of(tmp_path / "killed") == sha256_of(tmp_path / "calm"), "and nothing of the killed one is left"


def test_ls_and_view(dataset, tmp_path, capsys):
    index = dataset()
    assert main(["ls", str(index)]) == 0
    assert "6 clips in 2 shards" in capsys.readouterr().out
    assert main(["view", str(index), "toy-003", "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert main(["view", str(index), "nobody", "--out", str(tmp_path / "sheet.png")]) == 2
    assert "no clip 'nobody'" in capsys.readouterr().err


def test_pack_and_index_as_commands(tmp_path, capsys):
    """A shard of a codec is packed, indexed, listed and compared from the command line."""
    video = {
        "video": make_clip("a").video,
        "points": np.full((3, 6, 2), 0.5, np.float32),
        "occluded": np.zeros((3, 6), bool),
    }
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"camel": video}))
    for codec in ("png", "webp"):
        prefix = tmp_path / codec / "s"
        pack = ["pack", "--source", "tapvid", str(tmp_path / "x.pkl"), "--codec", codec, "--out", str(prefix)]
        assert main(pack) == 0
        assert main(["index", f"{prefix}.json", "--dataset", "x", "--out", f"{tmp_path / codec}/index.json"]) == 0
    capsys.readouterr()
    assert main(["ls", f"{tmp_path}/webp/index.json"]) == 0
    assert re.search(r"camel +6 +32x32 +3 +100 % webp +s\n6 frames, 0\.\d MB of tars", capsys.readouterr().out)
    assert main(["diff", f"{tmp_path}/png/index.json", f"{tmp_path}/webp/index.json"]) == 1
    assert "! camel: frames (png -> webp)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("query_frame.npy", np.full(12, 60, np.int32)),
        ("tracks.npy", np.zeros((2, 12, 2), np.float32)),
        ("world.npy", np.zeros((2, 12, 3), np.float32)),
        ("object_id.npy", np.zeros((2, 3), np.int32)),
    ],
)
def test_arrays_of_another_writer_that_do_not_fit_are_named(tmp_path, monkeypatch, name, array):
    def encode(clip, codec):
        return encode_clip(clip, codec) | {name: _encode_array(array)}

    monkeypatch.setattr("shards.pack.encode_clip", encode)
    pack_clips([with_points(make_clip("a"))], tmp_path / "s")
    write_index([tmp_path / "s.json"], "x", tmp_path / "index.json")
    with pytest.raises(ValueError, match=r"s\.tar: .*see `python -m shards verify"):
        ClipStore(tmp_path / "index.json").read(0, with_world=True)
    with pytest.raises(ValueError, match=r"s\.tar: .*; delete the tar"):
        list(stream(tmp_path / "index.json"))


def test_annotations_come_without_frames(dataset):
    store = ClipStore(dataset())
    tracks, visible, size = store.read_annotations(2)
    np.testing.assert_array_equal(tracks, store[2].tracks)
    np.testing.assert_array_equal(visible, store[2].visible)
    assert size == (32, 32)
