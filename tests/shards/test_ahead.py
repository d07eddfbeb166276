"""Shards behind a URL are fetched while the clips before them are used: the same clips, bounded, and one error."""

import itertools
import threading
import time

import pytest

from shards import ClipStore, read, transfer
from shards.ahead import ReadAhead
from shards.shelf import NotFetchedError
from shards.transfer import Patience
from tests.conftest import make_dataset
from tests.shards.serving import serving

NUM_CLIPS = 12
QUICK = Patience(attempts=2, pause_seconds=0, timeout_seconds=1)


@pytest.fixture
def index(tmp_path):
    return make_dataset(tmp_path / "served", num_clips=NUM_CLIPS, clips_per_shard=1)


@pytest.fixture
def server(index, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "PATIENCE", QUICK)
    with serving(index.parents[1]) as server:
        yield server


def wait_until(is_true):
    deadline = time.monotonic() + 20
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert is_true()


def in_order(store, order=range(NUM_CLIPS)):
    return ReadAhead(store, order, lambda number: (number,))


def test_the_next_shards_come_while_a_clip_is_used_and_no_more_than_were_asked_for(server, monkeypatch):
    monkeypatch.setenv("FRAMELINE_READ_AHEAD", "3")
    store = ClipStore(server.url("toy/index.json"))
    numbers = iter(in_order(store))
    assert next(numbers) == 0
    wait_until(lambda: server.count(".tar") >= 3)
    time.sleep(0.3)  # a fourth would have come by now
    fetched = [path for path, _ in server.requests if path.endswith(".tar")]
    assert [path for path in fetched if "000000" not in path] == [f"/toy/shard-{n:06d}.tar" for n in (1, 2, 3)]
    assert next(numbers) == 1
    wait_until(lambda: server.count("shard-000004.tar") == 1)
    time.sleep(0.3)
    assert server.count("shard-000005.tar") == 0
    numbers.close()


def test_a_batch_counts_by_its_shards(server, monkeypatch):
    monkeypatch.setenv("FRAMELINE_READ_AHEAD", "1")
    store = ClipStore(server.url("toy/index.json"))
    batches = [[0, 1], [0, 1], [1, 0], [2, 3], [4, 5]]
    numbers = iter(ReadAhead(store, batches, lambda batch: batch))
    assert next(numbers) == batches[0]
    wait_until(lambda: server.count("shard-000001.tar") == 1)
    time.sleep(0.3)
    assert server.count("shard-000002.tar") == 0, "two shards are ahead of one"
    assert list(numbers) == batches[1:]


@pytest.mark.parametrize("ahead", ["0", "1", "4", "99"])
def test_clips_and_order_are_those_without(server, index, monkeypatch, ahead):
    monkeypatch.setenv("FRAMELINE_READ_AHEAD", ahead)
    expected = [(clip.key, clip.video.sum(), clip.depth_m.sum()) for clip in read(index, seed=5, with_depth=True)]
    clips = read(server.url("toy/index.json"), seed=5, with_depth=True)
    assert [(clip.key, clip.video.sum(), clip.depth_m.sum()) for clip in clips] == expected
    assert server.count(".tar") == len(expected) and server.count("c/0/0/0") == len(expected)


def test_the_disk_starts_no_thread_and_neither_does_nought(server, index, monkeypatch):
    before = threading.active_count()
    numbers = iter(in_order(ClipStore(index)))
    assert next(numbers) == 0 and threading.active_count() == before
    monkeypatch.setenv("FRAMELINE_READ_AHEAD", "0")
    numbers = iter(in_order(ClipStore(server.url("toy/index.json"))))
    assert next(numbers) == 0 and threading.active_count() == before and server.count(".tar") == 0


def test_an_order_that_is_left_ends_its_thread(server):
    before = threading.active_count()
    numbers = iter(in_order(ClipStore(server.url("toy/index.json"))))
    next(numbers)
    numbers.close()
    wait_until(lambda: threading.active_count() <= before)


def test_a_long_order_of_few_shards_is_not_looked_through(server):
    looked_at = []

    class Endless:
        def __iter__(self):
            for number in itertools.cycle((0, 1)):
                looked_at.append(number)
                yield number

    numbers = iter(in_order(ClipStore(server.url("toy/index.json")), Endless()))
    assert [next(numbers) for _ in range(3)] == [0, 1, 0]
    assert len(looked_at) < 2000
    numbers.close()


def test_a_server_that_dies_is_one_error_when_its_clip_is_read_after_bounded_attempts(server):
    server.statuses["shard-000002.tar"] = [500]
    clips = read(server.url("toy/index.json"), shuffle=False)
    assert [next(clips).key for _ in range(2)] == ["toy-000", "toy-001"]
    began = time.monotonic()
    with pytest.raises(NotFetchedError, match=r"shard-000002.tar: could not be fetched \(HTTP 500 .*; 2 attempts\)"):
        next(clips)
    assert time.monotonic() - began < 10
    assert 2 <= server.count("shard-000002.tar") <= 2 * QUICK.attempts
    with pytest.raises(StopIteration):
        next(clips)


def test_what_failed_ahead_is_read_when_the_server_is_back(server):
    server.statuses["shard-000002.tar"] = [500, 500, 200]
    clips = read(server.url("toy/index.json"), shuffle=False)
    keys = [next(clips).key]
    wait_until(lambda: server.count("shard-000002.tar") == 2)  # both attempts ahead have failed
    assert keys + [clip.key for clip in clips] == [f"toy-{number:03d}" for number in range(NUM_CLIPS)]


def test_a_number_of_shards_that_is_none_is_refused(server, monkeypatch):
    monkeypatch.setenv("FRAMELINE_READ_AHEAD", "many")
    with pytest.raises(ValueError, match="FRAMELINE_READ_AHEAD=many: give a number of shards"):
        read(server.url("toy/index.json"))
