"""Every kind of damage to packed files is an error that names the file, and never a shorter data set."""

import json
import re
import shutil
import tarfile

import pytest

from shards import ClipStore, pack_clips, stream, write_index
from shards.__main__ import main
from shards.codecs import CODECS
from tests.conftest import make_clip


def flip(tar):
    content = bytearray(tar.read_bytes())
    content[2000:2008] = bytes(b ^ 0xFF for b in content[2000:2008])
    tar.write_bytes(content)


def header_of(tar, number):
    with tarfile.open(tar) as archive:
        return archive.getmembers()[number].offset


def cut_at_a_header(tar):
    tar.write_bytes(tar.read_bytes()[: header_of(tar, 12)])


def cut_between_clips(tar):
    tar.write_bytes(tar.read_bytes()[: header_of(tar, 18)])


def cut_inside(tar):
    tar.write_bytes(tar.read_bytes()[:-20000])


def zero_a_header(tar):
    content = bytearray(tar.read_bytes())
    offset = header_of(tar, 12)
    content[offset : offset + 512] = bytes(512)
    tar.write_bytes(content)


def replace_by_a_page(tar):
    tar.write_text("<html>404 not found</html>" * 100)


def empty(tar):
    tar.write_bytes(b"")


DAMAGES = [flip, cut_at_a_header, cut_between_clips, cut_inside, zero_a_header, replace_by_a_page, empty]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_tar_is_named_by_every_reader(dataset, damage, capsys):
    index = dataset(num_clips=4)
    tar = index.with_name("shard-000000.tar")
    damage(tar)
    assert main(["verify", str(index)]) == 1
    assert "shard-000000.tar: sha256 differs" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"shard-000000\.tar: .*run `snakemake .*shard-000000\.tar`"):
        list(stream(index))
    store = ClipStore(index)
    if damage is zero_a_header:  # own offsets step over a header
        assert [store[number].key for number in range(4)] == store.keys
        return
    with pytest.raises(ValueError, match=r"tar: member toy-00\d\.\S+ (is cut short|has flipped bytes); see `python -m"):
        [store[number] for number in range(4)]


@pytest.mark.parametrize("codec", CODECS)
def test_flipped_bytes_anywhere_are_found(dataset, codec):
    """Each member has its checksum: annotations and JPEG too, which no decoder would refuse."""
    index = dataset(num_clips=1, num_frames=2, size=16, codec=codec, points=True)
    tar = index.with_name("shard-000000.tar")
    whole, members = tar.read_bytes(), json.loads(index.read_text())["shards"][0]["clips"][0]["members"]
    assert len(members) == 2 + 3 + 3
    for name, place in members.items():
        for at in {place[0], place[0] + place[1] // 2, place[0] + place[1] - 1}:
            damaged = bytearray(whole)
            damaged[at] ^= 1
            tar.write_bytes(damaged)
            with pytest.raises(ValueError, match=rf"member toy-000\.{name} has flipped bytes"):
                ClipStore(index).read(0, with_world=True)
            with pytest.raises(ValueError, match=rf"member toy-000\.{name} has flipped bytes"):
                list(stream(index))


def test_damage_leaves_other_clips_readable(dataset):
    index = dataset(num_clips=4)
    flip(index.with_name("shard-000000.tar"))
    assert [ClipStore(index)[number].key for number in (1, 2, 3)] == ["toy-001", "toy-002", "toy-003"]


def test_a_missing_shard_is_named(dataset, capsys):
    index = dataset()
    index.with_name("shard-000001.tar").unlink()
    for fails in (lambda: ClipStore(index)[5], lambda: list(stream(index))):
        with pytest.raises(ValueError, match=r"shard-000001\.tar: the shard is missing; run `snakemake"):
            fails()
    assert main(["verify", str(index)]) == 1
    assert "shard-000001.tar: missing" in capsys.readouterr().err


def chunk_of(index):
    return next(index.with_name("shard-000000.zarr").glob("*-000/c/0/0/0"))


def test_cut_depth_is_named(dataset, capsys):
    index = dataset()
    chunk_of(index).write_bytes(chunk_of(index).read_bytes()[:100])
    assert main(["verify", "--deep", str(index)]) == 1
    errors = capsys.readouterr().err
    assert "shard-000000.zarr: sha256 differs" in errors
    assert "shard-000000.zarr: depth of clip toy-000 cannot be read" in errors
    with pytest.raises(ValueError, match=r"shard-000000\.zarr: depth of clip"):
        ClipStore(index).read(0, with_depth=True)


def test_flipped_depth_is_named(dataset):
    """The picture of depth is noise here, which blosc stores as it is: only the checksum can tell."""
    index = dataset()
    content = chunk_of(index).read_bytes()
    for at in range(0, len(content), len(content) // 50):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        chunk_of(index).write_bytes(damaged)
        with pytest.raises(ValueError, match=r"shard-000000\.zarr: depth of clip toy-000 cannot be read"):
            ClipStore(index).read(0, with_depth=True)


def test_missing_depth_is_not_zero_depth(dataset):
    index = dataset()
    chunk_of(index).unlink()
    with pytest.raises(ValueError, match=r"depth of clip toy-000 cannot be read \(its chunk file is missing\)"):
        ClipStore(index).read(0, with_depth=True)


def test_flipped_attributes_of_depth_are_named(dataset):
    """The numbers that make metres of codes have no checksum of zarr's."""
    index = dataset()
    attributes = index.with_name("shard-000000.zarr") / "toy-000" / "zarr.json"
    content = json.loads(attributes.read_text())
    content["attributes"]["depth_max_m"] += 1
    attributes.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"depth of clip toy-000 cannot be read \(its range is .* the index says"):
        ClipStore(index).read(0, with_depth=True)


def test_a_missing_depth_store_is_named(dataset, capsys):
    index = dataset()
    shutil.rmtree(index.with_name("shard-000001.zarr"))
    with pytest.raises(
        ValueError, match=r"shard-000001\.zarr: depth of clip toy-005 cannot be read .the store is missing"
    ):
        ClipStore(index).read(5, with_depth=True)
    entries = [str(index.with_name(f"shard-00000{number}.json")) for number in range(2)]
    assert main(["index", *entries, "--dataset", "toy", "--out", str(index)]) == 2
    assert capsys.readouterr().err.endswith("shard-000001.zarr: is missing; pack it again (python -m shards pack)\n")


def test_a_tar_without_its_json_is_named(dataset, capsys):
    index = dataset()
    entry = index.with_name("shard-000001.json")
    entry.unlink()
    assert main(["index", str(entry), "--dataset", "toy", "--out", str(index)]) == 2
    errors = capsys.readouterr().err
    assert (
        errors.count("\n") == 1
        and "shard-000001.json: not there, though shard-000001.tar is: packing did not" in errors
    )


@pytest.mark.parametrize("name", ["index", "shard"])
def test_files_of_the_last_version_are_refused_in_one_line(dataset, name, capsys):
    index = dataset()
    path = index if name == "index" else index.with_name("shard-000000.json")
    path.write_text(path.read_text().replace(f"frameline-{name}/2", f"frameline-{name}/1"))
    arguments = ["ls", str(index)] if name == "index" else ["index", str(path), "--dataset", "x", "--out", str(index)]
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "pack again (python -m shards pack, then index)" in errors


def members_of(content):
    return content["shards"][0]["clips"][1]["members"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["shards"][0]["clips"].pop(), "says 6 clips and lists 5"),
        (lambda content: members_of(content).pop("frame003.png"), "members of clip toy-001"),
        (lambda content: members_of(content).pop("tracks.npy"), "members of clip toy-001"),
        (lambda content: content["shards"][1]["clips"][0].update(key="toy-000"), "clip toy-000 is in shard-000000 and"),
        (lambda content: content["shards"][1].pop("sha256"), "lacks fields of a shard"),
        (lambda content: content["shards"][1]["clips"][0].pop("num_frames"), "a clip of shard-000001 lacks fields"),
        (lambda content: members_of(content).update(extra=[0, 0, 0]), "members of clip toy-001"),
        (lambda content: members_of(content).update({"tracks.npy": [0, 1]}), "members of clip"),
        (lambda content: members_of(content).update({"tracks.npy": 7}), "members of clip"),
        (lambda content: members_of(content).update({"tracks.npy": [-1, 0, 0]}), "members of"),
        (lambda content: members_of(content).update({"tracks.npy": [0.5, 0, 0]}), "members of"),
        (lambda content: members_of(content).update({"tracks.npy": [2**70, 0, 0]}), "members of"),
        (lambda content: content["shards"][0]["clips"][1].update(num_frames=10**9), "members of clip toy-001"),
        (lambda content: content["shards"][0]["clips"][1].pop("depth_crc32"), "a clip of shard-000000 lacks fields"),
        (lambda content: content["shards"][0].update(codec="webp"), "members of clip toy-000"),
        (lambda content: content["shards"][0].update(codec=["png"]), "codec ['png'], known are png, webp, jpeg95"),
        (lambda content: content["shards"][0].update(optional=["world.npy"]), "members of clip toy-000"),
        (lambda content: content["shards"][0].update(optional=["colour.npy"]), "optional members ['colour.npy']"),
        (lambda content: content["shards"][0].update(optional=3), "shard-000000 lacks a list"),
        (lambda content: content.update(num_frames=3), "says 3 frames and lists 36"),
        (lambda content: content.pop("assets"), "not an index"),
        (lambda content: content.pop("shards"), "not an index"),
        (lambda content: content.update(format="frameline-index/9"), "format 'frameline-index/9', expected"),
    ],
)
def test_a_changed_index_is_refused(dataset, change, message):
    index = dataset()
    content = json.loads(index.read_text())
    change(content)
    index.write_text(json.dumps(content))
    for reader in (ClipStore, lambda path: list(stream(path))):
        with pytest.raises(ValueError, match=rf"index\.json: .*{re.escape(message)}"):
            reader(index)


def test_an_index_that_fits_another_size_is_refused(dataset):
    index = dataset()
    content = json.loads(index.read_text())
    content["shards"][0]["clips"][0]["num_tracks"] = 99
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="clip toy-000 is 32x32 with 12 tracks, which is not what the index says"):
        ClipStore(index)[0]


def test_an_index_older_than_its_shards_is_named(dataset, capsys):
    index = dataset()
    pack_clips([make_clip("new")], index.with_name("shard-000001"))
    assert main(["verify", str(index)]) == 1
    errors = capsys.readouterr().err
    assert "index.json: older than shard-000001.json; write it again (python -m shards index)" in errors
    entries = [index.with_name(f"shard-00000{number}.json") for number in range(2)]
    write_index(entries, "toy", index)
    assert main(["verify", "--deep", str(index)]) == 0


def test_members_elsewhere_are_named_though_the_sha256_is_right(dataset, capsys):
    index = dataset()
    content = json.loads(index.read_text())
    content["shards"][0]["clips"][0]["members"]["tracks.npy"][0] += 512
    index.write_text(json.dumps(content))
    assert main(["verify", str(index)]) == 1
    assert "member toy-000.tracks.npy lies elsewhere, though its sha256 is right" in capsys.readouterr().err


def test_an_index_in_another_folder_finds_its_shards(dataset, tmp_path):
    index = dataset()
    entries = [index.with_name(f"shard-00000{number}.json") for number in range(2)]
    write_index(entries, "toy", tmp_path / "elsewhere" / "index.json")
    store = ClipStore(tmp_path / "elsewhere" / "index.json")
    assert store.read(5, with_depth=True).key == "toy-005"
    assert main(["verify", "--deep", str(store.path)]) == 0


def test_a_cut_tar_is_not_indexed(dataset):
    index = dataset()
    cut_inside(index.with_name("shard-000001.tar"))
    with pytest.raises(ValueError, match=r"shard-000001\.tar: has \d+ bytes instead of \d+; pack it again"):
        write_index([index.with_name("shard-000001.json")], "toy", index)
    assert len(ClipStore(index)) == 6, "the old index stays"
