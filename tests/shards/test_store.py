"""Packed clips come back as they were; damage is named; equal clips give equal bytes."""

import json
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest

from shards import ClipStore, pack_clips, stream, write_index
from shards.__main__ import main
from shards.files import sha256_of
from tests.conftest import make_clip

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


def flip(tar):
    content = bytearray(tar.read_bytes())
    content[2000:2008] = bytes(b ^ 0xFF for b in content[2000:2008])
    tar.write_bytes(content)


def cut_at_a_header(tar):
    with tarfile.open(tar) as archive:
        offset = archive.getmembers()[12].offset
    tar.write_bytes(tar.read_bytes()[:offset])


def cut_inside(tar):
    tar.write_bytes(tar.read_bytes()[:-20000])


def zero_a_header(tar):
    with tarfile.open(tar) as archive:
        offset = archive.getmembers()[12].offset
    content = bytearray(tar.read_bytes())
    content[offset : offset + 512] = bytes(512)
    tar.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, cut_at_a_header, cut_inside, zero_a_header, lambda tar: tar.write_bytes(b"")])
def test_damage_is_named_by_every_reader(dataset, damage, capsys):
    index = dataset(num_clips=4)
    tar = index.with_name("shard-000000.tar")
    damage(tar)
    assert main(["verify", str(index)]) == 1
    assert "shard-000000.tar: sha256 differs" in capsys.readouterr().err
    if damage is not zero_a_header:  # own offsets step over a header
        with pytest.raises(ValueError, match=r"shard-000000\.tar: member toy-.* (is cut short|has flipped bytes)"):
            [clip.key for clip in map(ClipStore(index).__getitem__, range(4))]
    if damage is not flip:  # webdataset has no checksum for bytes of a member; verify and the store do
        with pytest.raises(ValueError, match=r"shard-000000\.tar"):
            list(stream(index))


def test_a_missing_shard_is_named(dataset, capsys):
    index = dataset()
    index.with_name("shard-000001.tar").unlink()
    with pytest.raises(ValueError, match=r"shard-000001\.tar: the shard is missing; run `snakemake"):
        ClipStore(index)[5]
    assert main(["verify", str(index)]) == 1
    assert "shard-000001.tar: missing" in capsys.readouterr().err


def test_damaged_depth_is_named(dataset, capsys):
    index = dataset()
    chunk = max(index.with_name("shard-000000.zarr").rglob("*"), key=lambda p: p.stat().st_size * p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:100])
    assert main(["verify", str(index)]) == 1
    assert "shard-000000.zarr: sha256 differs" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"shard-000000\.zarr: depth of clip"):
        [ClipStore(index).read(i, with_depth=True) for i in range(4)]


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


def test_keys_must_be_unique_and_depth_all_or_none(tmp_path):
    with pytest.raises(ValueError, match="clip a comes twice"):
        pack_clips([make_clip("a"), make_clip("a")], tmp_path / "s")
    with pytest.raises(ValueError, match="clip b has no depth while others have"):
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
    assert not (tmp_path / "killed" / "s.json").exists()
    for name in ("killed", "calm"):
        subprocess.run([sys.executable, "-c", script, str(tmp_path / name / "s"), "0"], check=True, cwd=REPOSITORY)
    entries = [json.loads((tmp_path / name / "s.json").read_text()) for name in ("killed", "calm")]
    assert entries[0] == entries[1]
    assert sha256_of(tmp_path / "killed" / "s.zarr") == sha256_of(tmp_path / "calm" / "s.zarr")


def test_ls_and_view(dataset, tmp_path, capsys):
    index = dataset()
    assert main(["ls", str(index)]) == 0
    assert "6 clips in 2 shards" in capsys.readouterr().out
    assert main(["view", str(index), "toy-003", "--out", str(tmp_path / "sheet.png")]) == 0
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert main(["view", str(index), "nobody", "--out", str(tmp_path / "sheet.png")]) == 2
    assert "no clip 'nobody'" in capsys.readouterr().err


def test_annotations_come_without_frames(dataset):
    store = ClipStore(dataset())
    tracks, visible, size = store.read_annotations(2)
    np.testing.assert_array_equal(tracks, store[2].tracks)
    np.testing.assert_array_equal(visible, store[2].visible)
    assert size == (32, 32)
