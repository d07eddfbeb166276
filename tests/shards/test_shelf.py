"""Packed clips behind a URL read like those beside their index; what comes is checked, kept once, and made room for."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from shards import ClipStore, read, stream, transfer
from shards.__main__ import main
from shards.cache import Cache, find_cache
from shards.files import sha256_of
from shards.shelf import find_shelf, link_index
from shards.transfer import Patience
from tests.conftest import make_dataset
from tests.shards.serving import serving

REPOSITORY = Path(__file__).parents[2]
QUICK = Patience(attempts=3, pause_seconds=0, timeout_seconds=1, slowest=20_000, window_seconds=1)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and a little patience."""
    monkeypatch.setenv("FRAMELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FRAMELINE_CACHE_GB", raising=False)
    monkeypatch.setattr(transfer, "PATIENCE", QUICK)
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path):
    return make_dataset(tmp_path / "served", num_clips=6, clips_per_shard=2)


@pytest.fixture
def server(index, cache):
    with serving(index.parents[1]) as server:
        yield server


@pytest.fixture
def url(server):
    return server.url("toy/index.json")


def names_in(cache, kind="shards"):
    return sorted(path.name for path in (cache / kind).iterdir())


def assert_same(one, other):
    for name in ("video", "tracks", "visible", "depth_m"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_clips_behind_a_url_are_those_of_the_disk(url, index):
    remote, local = ClipStore(url), ClipStore(index)
    assert (remote.keys, remote.sha256, remote.summary) == (local.keys, local.sha256, local.summary)
    for number in (5, 0, 3):
        assert_same(remote.read(number, with_depth=True), local.read(number, with_depth=True))


def test_each_file_is_fetched_once_and_when_it_is_needed(server, url, cache):
    store = ClipStore(url)
    assert server.count(".tar") == 0
    for _ in range(2):
        for number in (0, 1, 0):
            store.read(number)
    assert server.count(".tar") == 1 and server.count("zarr.json") == 0
    store.read(0, with_depth=True)
    store.read(1, with_depth=True)
    assert server.count("zarr.json") == 3 and server.count("c/0/0/0") == 2
    shard = store.shards[0]
    assert names_in(cache) == sorted([f"{shard['sha256']}.tar", f"{shard['depth_sha256']}.zarr"])
    assert sha256_of(cache / "shards" / f"{shard['depth_sha256']}.zarr") == shard["depth_sha256"]


def test_both_readers_read_urls(url, index):
    here = [clip.key for clip in read(index, seed=3)]
    assert [clip.key for clip in read(url, seed=3)] == here
    for one, other in zip(stream(url), stream(index), strict=True):
        np.testing.assert_array_equal(one.video, other.video)


def _keys_and_sums(store):
    return [(clip.key, int(clip.video.sum())) for clip in (store.read(number) for number in range(len(store)))]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_that_read_at_once_fetch_each_shard_once(server, url, index, cache, method):
    store = ClipStore(url)
    with multiprocessing.get_context(method).Pool(3) as pool:
        results = pool.map(_keys_and_sums, [store] * 3, chunksize=1)
    assert results == [_keys_and_sums(ClipStore(index))] * 3
    assert server.count(".tar") == 3
    assert len(names_in(cache)) == 3


def test_a_process_killed_while_it_fetches_leaves_a_part_that_is_continued(server, url, cache):
    server.bytes_a_second = 20_000
    code = f"from shards import ClipStore; ClipStore({url!r}).read(0)"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)
    part = cache / "shards" / f"{ClipStore(url).shards[0]['sha256']}.tar.part"
    deadline = time.monotonic() + 60
    while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    done = part.stat().st_size
    assert 0 < done < ClipStore(url).shards[0]["bytes"]
    server.bytes_a_second = None
    ClipStore(url).read(0)
    assert server.requests[-1] == ("/toy/shard-000000.tar", f"bytes={done}-")
    assert names_in(cache) == [part.name.removesuffix(".part")]


def test_the_least_recently_used_shard_goes(server, url, cache, monkeypatch):
    store = ClipStore(url)
    sizes = [shard["bytes"] for shard in store.shards]
    monkeypatch.setenv("FRAMELINE_CACHE_GB", str((sum(sizes) - 1) / 1e9))  # two of three fit
    for number in (0, 2, 0):
        store.read(number)
        time.sleep(0.01)
    store.read(4)
    assert names_in(cache) == sorted(f"{store.shards[kept]['sha256']}.tar" for kept in (0, 2))
    assert server.count(".tar") == 3
    store.read(2)
    assert server.count(".tar") == 4


def test_what_is_in_use_is_not_removed(url, cache, monkeypatch):
    store = ClipStore(url)
    with store.shelf.depth(store.shards[0]) as depth:
        monkeypatch.setenv("FRAMELINE_CACHE_GB", str(store.shards[1]["bytes"] / 1e9))
        store.read(2)
        assert sha256_of(depth) == store.shards[0]["depth_sha256"]
    store.read(4)
    assert not depth.exists()


def test_leftovers_of_killed_processes_make_room(tmp_path):
    cache = Cache(tmp_path, limit=100)
    cache.entries.mkdir()
    (cache.entries / "a.tar.part").write_bytes(bytes(60))
    (cache.entries / "b.zarr.old").mkdir()
    (cache.entries / "b.zarr.old" / "c").write_bytes(bytes(30))
    with cache.holding("new.tar", 90, lambda path, part: path.write_bytes(bytes(90))) as path:
        assert names_in(tmp_path) == ["new.tar"]
        assert path.stat().st_size == 90


def test_a_failure_leaves_no_entry_and_frees_the_lock(tmp_path):
    cache = Cache(tmp_path)

    def fail(path, part):
        part.write_bytes(b"half")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), cache.holding("a.tar", 9, fail):
        pass
    with cache.holding("a.tar", 9, lambda path, part: part.rename(path)) as path:
        assert path.read_bytes() == b"half"


def test_one_maker_at_a_time(tmp_path):
    cache, made, read_contents = Cache(tmp_path), [], []

    def make(path, part):
        made.append(part.exists())
        part.write_bytes(b"x")
        time.sleep(0.1)
        part.rename(path)

    def use():
        with cache.holding("a.tar", 1, make) as path:
            read_contents.append(path.read_bytes())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [False] and read_contents == [b"x"] * 4


def test_a_shard_larger_than_the_cache_is_an_error(url, monkeypatch):
    monkeypatch.setenv("FRAMELINE_CACHE_GB", "0.000001")
    with pytest.raises(ValueError, match=r"does not fit into 1e-06 GB; raise FRAMELINE_CACHE_GB"):
        ClipStore(url).read(0)


@pytest.mark.parametrize("text", ["much", "-1", "0", "nan", "inf"])
def test_a_limit_is_a_number_of_gigabytes(monkeypatch, text):
    monkeypatch.setenv("FRAMELINE_CACHE_GB", text)
    with pytest.raises(ValueError, match=f"FRAMELINE_CACHE_GB={text}: give a number"):
        find_cache()


def test_the_cache_is_in_data_by_default(monkeypatch):
    monkeypatch.delenv("FRAMELINE_CACHE", raising=False)
    monkeypatch.delenv("FRAMELINE_CACHE_GB", raising=False)
    assert find_cache() == Cache(Path("data/cache"), None)


def test_a_pinned_index_is_that_or_an_error(url, index):
    assert ClipStore(f"{url}#sha256={sha256_of(index)}").keys == ClipStore(index).keys
    with pytest.raises(ValueError, match=r"pinned is 0{64}; it was replaced"):
        ClipStore(f"{url}#sha256={'0' * 64}")
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        ClipStore(f"{url}#md5=1")


@pytest.mark.parametrize("url", ["http://me:hush@h/index.json", "https://h/index.json?token=hush"])
def test_secrets_in_a_url_are_refused_and_not_repeated(url, cache):
    with pytest.raises(ValueError, match="give the URL without") as error:
        ClipStore(url)
    assert "hush" not in str(error.value)


def test_a_missing_index_and_a_missing_shard_name_their_url(server, url, index):
    with pytest.raises(ValueError, match=r"toy/other.json: could not be fetched \(HTTP 404 Not Found\)"):
        ClipStore(server.url("toy/other.json"))
    store = ClipStore(url)
    (index.parent / store.shards[0]["tar"]).unlink()
    with pytest.raises(ValueError, match=r"http://.*/toy/shard-000000.tar: could not be fetched \(HTTP 404"):
        store.read(0)


def test_other_bytes_than_the_index_says_are_never_read(server, url, index, cache):
    store = ClipStore(url)
    tar = index.parent / store.shards[0]["tar"]
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(ValueError, match=r"sha256 is .*, expected .*; 3 attempts"):
        store.read(0)
    chunk = index.parent / store.shards[1]["depth"] / store.keys[2] / "zarr.json"
    chunk.write_text(chunk.read_text() + " ")
    with pytest.raises(ValueError, match="sha256 of the store is"):
        store.read(2, with_depth=True)
    assert names_in(cache) == []


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("sha256", "../../../evil", "is no sha256"),
        ("depth_sha256", 7, "is no sha256"),
        ("tar", "../../../../evil.tar", "lies elsewhere"),
        ("tar", "//other.host/evil.tar", "lies elsewhere"),
        ("key", "../../evil", "is no key of a clip"),
    ],
)
def test_a_hostile_index_reaches_no_file_outside_the_cache(server, url, index, field, value, message, tmp_path):
    content = json.loads(index.read_bytes())
    if field == "key":
        content["shards"][0]["clips"][0]["key"] = value
    else:
        content["shards"][0][field] = value
    index.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        ClipStore(url).read(1, with_depth=True)
    assert not list(tmp_path.rglob("evil*"))


def test_a_changed_index_is_another_copy(server, url, index):
    old = ClipStore(url)
    make_dataset(index.parents[1], num_clips=2, clips_per_shard=2)
    new = ClipStore(url)
    assert (len(old), len(new)) == (6, 2) and old.path != new.path
    assert ClipStore(old.path).keys == old.keys  # a process that was handed the path still reads the old one


def test_a_linked_index_is_used_by_its_path(server, url, index, tmp_path):
    out = tmp_path / "linked" / "toy" / "index.json"
    assert main(["link", f"{url}#sha256={sha256_of(index)}", "--out", str(out)]) == 0
    assert sha256_of(out) == sha256_of(index) and server.count("index.json") == 1
    store = ClipStore(out)
    assert_same(store.read(4, with_depth=True), ClipStore(index).read(4, with_depth=True))
    assert server.count("index.json") == 1
    out.write_text(out.read_text() + " ")
    with pytest.raises(ValueError, match=r"is not what was copied from http://"):
        ClipStore(out)


def test_a_link_does_not_take_the_place_of_a_packed_index(url, index):
    before = index.read_bytes()
    with pytest.raises(ValueError, match="not a link"):
        link_index(url, index)
    assert index.read_bytes() == before and find_shelf(index).url is None


def test_commands_take_urls(server, url, index, cache, tmp_path, capsys):
    assert main(["verify", "--deep", url]) == 0
    assert f"{url}: 6 clips, all as packed" in capsys.readouterr().out
    assert main(["view", url, "--out", str(tmp_path / "sheet.png")]) == 0
    assert main(["ls", url]) == 0
    assert main(["diff", url, str(index)]) == 0
    tar = cache / "shards" / f"{ClipStore(url).shards[1]['sha256']}.tar"
    os.truncate(tar, 3000)
    capsys.readouterr()
    assert main(["verify", url]) == 1
    assert f"{tar}: sha256 differs (3000 bytes instead of" in (told := capsys.readouterr().err)
    assert "it is fetched anew" in told
    tar.unlink()
    assert main(["verify", url]) == 0
    server.statuses["shard-000002.tar"] = [500]
    (cache / "shards" / f"{ClipStore(url).shards[2]['sha256']}.tar").unlink()
    capsys.readouterr()
    assert main(["verify", url]) == 1
    assert "shard-000002.tar: could not be fetched (HTTP 500" in capsys.readouterr().err


def test_convert_takes_the_url_of_an_index(url, index, tmp_path):
    words = ["convert", "--from", "index", "--to", "index", "--clips-per-shard", "2", "--out"]
    for name, place in (("one", url), ("other", str(index))):
        assert main([*words, str(tmp_path / name / "toy"), place]) == 0
    assert sha256_of(tmp_path / "one") == sha256_of(tmp_path / "other")


def test_fetch_fills_the_cache(server, url, index, capsys):
    assert main(["fetch", url, "--depth"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "shard-000002: there"
    num_requests = len(server.requests)
    store = ClipStore(url)
    for number in range(len(store)):
        store.read(number, with_depth=True)
    assert len(server.requests) == num_requests + 1  # the index alone


def test_local_indexes_need_no_cache(index, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELINE_CACHE", str(tmp_path / "cache"))
    ClipStore(index).read(0, with_depth=True)
    assert not (tmp_path / "cache").exists()


def _read_at_random(url, seed, seconds, expected):
    store, rng, until = ClipStore(url), random.Random(seed), time.monotonic() + seconds
    while time.monotonic() < until:
        number = rng.randrange(len(store))
        clip = store.read(number, with_depth=True)
        assert (int(clip.video.sum()), float(clip.depth_m.sum())) == expected[number]


@pytest.mark.slow
def test_a_cache_too_small_for_its_killed_readers_never_gives_a_wrong_clip(server, url, index, monkeypatch):
    local = ClipStore(index)
    clips = [local.read(number, with_depth=True) for number in range(len(local))]
    expected = [(int(clip.video.sum()), float(clip.depth_m.sum())) for clip in clips]
    largest = max(shard["bytes"] + shard["depth_bytes"] for shard in local.shards)
    monkeypatch.setenv("FRAMELINE_CACHE_GB", str(largest * 1.5 / 1e9))  # of three shards
    context, rng, seconds = multiprocessing.get_context("fork"), random.Random(9), 15
    arguments = [(url, seed, seconds, expected) for seed in range(40)]
    readers = [context.Process(target=_read_at_random, args=arguments[seed]) for seed in range(3)]
    for reader in readers:
        reader.start()
    for seed in range(3, 40):
        victim = context.Process(target=_read_at_random, args=arguments[seed])
        victim.start()
        time.sleep(rng.uniform(0.02, 0.5))
        victim.kill()
        victim.join()
    for reader in readers:
        reader.join()
    assert [reader.exitcode for reader in readers] == [0, 0, 0]
    assert server.count(".tar") > 6, "shards came and went"
