"""Latents of a shard: what is written is read, in parts, and what belongs to something else is refused."""

import json
import shutil

import numpy as np
import pytest

from shards import ClipStore, pack_clips, write_index
from shards.__main__ import main as verify
from shards.driving.latents import LatentStore, Origin, write_latents
from tests.shards.driving.drives import drive_clip

SIZE = (16, 32)


def moments_of(num_frames=31, seed=0):
    return np.random.default_rng(seed).normal(size=(num_frames, 2, 4, 2, 4)).astype(np.float32)


def tokens_of(num_frames=31):
    return np.arange(num_frames * 3, dtype=np.float32).reshape(num_frames, 3)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("clips")
    for number in range(2):
        clips = [drive_clip(f"drive-{number}-{n}") for n in range(2)]
        pack_clips(clips, root / f"shard-00000{number}", "png")
    write_index(sorted(root.glob("shard-*.json")), "drives", root / "index.json")
    return ClipStore(root / "index.json")


def encode(store, folder, dtype="float16", **changes):
    """Latents of all shards under folder/drives."""
    for number, shard in enumerate(store.shards):
        origin = {"shard": shard["name"], "shard_sha256": shard["sha256"], "encoders_sha256": "0" * 64}
        origin |= {"height": SIZE[0], "width": SIZE[1]} | changes
        clips = [(row["key"], moments_of(seed=number), tokens_of()) for row in shard["clips"]]
        write_latents(folder / "drives", Origin(**origin), clips, dtype)
    return folder


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_window_is_read_as_it_was_written(store, tmp_path, dtype):
    latents = LatentStore(encode(store, tmp_path, dtype), store, SIZE)
    moments, token = latents.read("drive-1-0", slice(3, 12, 2))
    assert moments.dtype == token.dtype == dtype
    np.testing.assert_array_equal(moments, moments_of(seed=1)[3:12:2].astype(dtype))
    np.testing.assert_array_equal(token, tokens_of()[3].astype(dtype))
    assert (latents.latent, latents.token, latents.dtype) == ([4, 2, 4], 3, dtype)
    assert verify(["verify", store.name, "--latents", str(tmp_path)]) == 0
    with pytest.raises(ValueError, match=r"chooses no frames of clip drive-0-0, which has 0\.\.30"):
        latents.read("drive-0-0", slice(31, 40))


def test_the_same_latents_are_the_same_bytes_and_appear_whole(store, tmp_path):
    one, two = (LatentStore(encode(store, tmp_path / name), store, SIZE) for name in "ab")
    assert one.sha256 == two.sha256
    before = (tmp_path / "a/drives/shard-000000.json").read_bytes()
    origin = Origin(shard="shard-000000", shard_sha256="", height=16, width=32, encoders_sha256="")

    def broken():
        yield "drive-0-0", moments_of(), tokens_of()
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_latents(tmp_path / "a/drives", origin, broken())
    assert (tmp_path / "a/drives/shard-000000.json").read_bytes() == before
    assert LatentStore(tmp_path / "a", store, SIZE).read("drive-0-0", slice(0, 4))[0].shape == (4, 2, 4, 2, 4)
    assert sorted(path.name for path in (tmp_path / "a/drives").iterdir()) == [
        f"shard-00000{n}.{kind}" for n in range(2) for kind in ("json", "zarr")
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shard_sha256": "1" * 64}, r"shard-000000\.json: latents of another shard-000000 than that of .*index\.json"),
        ({"height": 24}, r"latents of frames of 24x32, asked for are 16x32; name another folder"),
    ],
)
def test_latents_of_something_else_are_refused(store, tmp_path, changes, message):
    encode(store, tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        LatentStore(tmp_path, store, SIZE)


def test_missing_mixed_and_damaged_latents_are_named(store, tmp_path, capsys):
    with pytest.raises(ValueError, match=r"drives/shard-000000\.json: latents are missing; encode them .python -m tra"):
        LatentStore(tmp_path, store, SIZE)
    folder = encode(store, tmp_path) / "drives"
    other = encode(store, tmp_path / "other", encoders_sha256="1" * 64) / "drives"
    shutil.copy(folder / "shard-000001.json", tmp_path / "kept.json")
    shutil.copy(other / "shard-000001.json", folder)
    with pytest.raises(ValueError, match="encoded by several networks"):
        LatentStore(tmp_path, store, SIZE)
    shutil.copy(tmp_path / "kept.json", folder / "shard-000001.json")
    latents = LatentStore(tmp_path, store, SIZE)

    file = folder / "shard-000001.zarr/drive-1-1/moments/c/0/0/0/0/0"
    content = bytearray(file.read_bytes())
    content[40] ^= 1  # of the first frame
    file.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"shard-000001\.zarr: latents of clip drive-1-1 cannot be read .*encode again"
    ):
        latents.read("drive-1-1", slice(0, 2))
    assert latents.read("drive-1-1", slice(8, 10))[0].shape[0] == 2  # of other frames nothing is read
    assert verify(["verify", store.name, "--latents", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "shard-000001.zarr: sha256 differs; delete shard-000001.json" in told and told.count("\n") == 1
    file.unlink()
    with pytest.raises(ValueError, match="its chunk file is missing"):
        latents.read("drive-1-1", slice(8, 10))
    array = folder / "shard-000001.zarr/drive-1-0/token/zarr.json"
    array.write_text(json.dumps(json.loads(array.read_text()) | {"data_type": "float32"}))
    with pytest.raises(ValueError, match=r"drive-1-0/token is float32 \(31, 3\), its JSON says float16"):
        latents.read("drive-1-0", slice(8, 10))
    entry = json.loads((folder / "shard-000000.json").read_text())
    (folder / "shard-000000.json").write_text(json.dumps(entry | {"clips": entry["clips"][:1]}))
    with pytest.raises(ValueError, match="has other clips than shard-000000"):
        LatentStore(tmp_path, store, SIZE)
    (folder / "shard-000000.json").write_text(json.dumps({"format": "frameline-latents/1"}))
    with pytest.raises(ValueError, match="lacks fields of latents"):
        LatentStore(tmp_path, store, SIZE)


def test_what_cannot_be_written_is_named(tmp_path):
    origin = Origin(shard="shard-000000", shard_sha256="", height=16, width=32, encoders_sha256="")
    large = moments_of() * 1e6
    with pytest.raises(
        ValueError, match="clip a: a latent is not finite as float16; check the weights, or encode with"
    ):
        write_latents(tmp_path, origin, [("a", large, tokens_of())])
    write_latents(tmp_path, origin, [("a", large, tokens_of())], "float32")
    with pytest.raises(ValueError, match="clip b has moments"):
        write_latents(tmp_path, origin, [("a", moments_of(), tokens_of()), ("b", moments_of()[..., :3], tokens_of())])
    with pytest.raises(ValueError, match="no clip to encode"):
        write_latents(tmp_path, origin, [])
    with pytest.raises(ValueError, match="latents of int8: use float16 or float32"):
        write_latents(tmp_path, origin, [], "int8")
