"""One file from a real HTTP server: on after a break, over again after harm, and an end to waiting."""

import base64
import hashlib
import time

import pytest

from shards.transfer import GivenUpError, Patience, authorization_of, get, is_url, shown
from tests.shards.serving import serving

CONTENT = bytes(range(256)) * 4096
KNOWN = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
QUICK = Patience(attempts=3, pause_seconds=0, timeout_seconds=0.3, slowest=20_000, window_seconds=0.3)


@pytest.fixture
def server(tmp_path):
    root = tmp_path / "served"
    root.mkdir()
    (root / "a.tar").write_bytes(CONTENT)
    with serving(root) as server:
        yield server


def test_a_file_comes_whole(server, tmp_path):
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.requests == [("/a.tar", None)]


def test_what_is_whole_already_is_not_asked_for(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT)
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert server.requests == []


def test_a_broken_connection_goes_on_where_it_ended(server, tmp_path):
    server.cuts["a.tar"] = 2
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    half = len(CONTENT) // 2
    assert [wanted for _, wanted in server.requests] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_it_again(server, tmp_path):
    server.has_ranges, server.cuts["a.tar"] = False, 1
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_server_that_dies_each_time_is_given_up(server, tmp_path):
    server.cuts["a.tar"] = 99
    with pytest.raises(GivenUpError, match=r"ended after \d+ of \d+ bytes; 3 attempts"):
        get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").stat().st_size == len(CONTENT) * 7 // 8  # the next command goes on here
    server.cuts.clear()
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_harmed_bytes_are_fetched_again(server, tmp_path):
    server.flips["a.tar"] = 1
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_a_part_of_something_else_does_no_harm(server, tmp_path):
    (tmp_path / "part").write_bytes(b"<html>")
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_wrong_bytes_are_never_taken(server, tmp_path):
    server.flips["a.tar"] = 99
    with pytest.raises(GivenUpError, match=r"sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}; 3 attempts"):
        get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize("size", [len(CONTENT) - 1, len(CONTENT) + 1])
def test_another_length_is_given_up(server, tmp_path, size):
    with pytest.raises(GivenUpError, match=r"more than the \d+ bytes|ended after|range"):
        get(server.url("a.tar"), tmp_path / "part", size=size, sha256=KNOWN["sha256"], patience=QUICK)


def test_no_more_is_taken_than_allowed(server, tmp_path):
    with pytest.raises(GivenUpError, match="more than the 1000 bytes"):
        get(server.url("a.tar"), tmp_path / "part", at_most=1000, patience=QUICK)
    assert (tmp_path / "part").stat().st_size <= 1000


@pytest.mark.parametrize("status", [403, 404])
def test_a_refusal_is_asked_once(server, tmp_path, status):
    server.statuses["a.tar"] = [status]
    with pytest.raises(GivenUpError, match=f"^HTTP {status}"):
        get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_is_asked_again(server, tmp_path, status):
    server.statuses["a.tar"] = [status, status, 200]
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert len(server.requests) == 3
    server.statuses["a.tar"] = [status]
    with pytest.raises(GivenUpError, match=f"^HTTP {status} .*; 3 attempts"):
        get(server.url("a.tar"), tmp_path / "again", **KNOWN, patience=QUICK)
    assert len(server.requests) == 6


def test_a_slow_server_is_given_up_in_time(server, tmp_path):
    server.bytes_a_second = 2_000  # never so slow that a read times out
    began = time.monotonic()
    with pytest.raises(GivenUpError, match=r"kB/s over 0 s is too slow; 3 attempts"):
        get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert time.monotonic() - began < 10


def test_a_hanging_server_is_given_up_in_time(server, tmp_path):
    server.hangs = True
    began = time.monotonic()
    with pytest.raises(GivenUpError, match="timed out; 3 attempts"):
        get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert time.monotonic() - began < 10


def test_no_server_at_all(tmp_path):
    with pytest.raises(GivenUpError, match="refused; 3 attempts"):
        get("http://127.0.0.1:9/a.tar", tmp_path / "part", **KNOWN, patience=QUICK)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://me:hush@127.0.0.1:9/a.tar", "a user or password in a URL"),
        ("nonsense://host/a.tar", "Protocol not known"),
        ("file:///nowhere/a.tar", "not there"),
    ],
)
def test_urls_that_cannot_work_are_refused_at_once(tmp_path, url, reason):
    with pytest.raises(GivenUpError, match=reason) as error:
        get(url, tmp_path / "part", **KNOWN, patience=Patience(pause_seconds=60))
    assert "hush" not in str(error.value)


def test_a_login_comes_from_netrc_and_stays_there(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    server.login = "Basic " + base64.b64encode(b"me:hush").decode()
    with pytest.raises(GivenUpError, match=r"^HTTP 401"):
        get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    file = tmp_path / ".netrc"
    file.write_text("machine 127.0.0.1 login me password hush\n")
    file.chmod(0o600)
    get(server.url("a.tar"), tmp_path / "part", **KNOWN, patience=QUICK)
    assert authorization_of("https://127.0.0.1/x") == server.login
    assert authorization_of("https://other.host/x") is None
    file.write_text("machine other.host login me password hush\nnonsense hush\n")
    assert authorization_of("http://other.host/x") is None  # in the clear
    with pytest.raises(GivenUpError, match=r"netrc cannot be read near line") as error:
        get(server.url("a.tar"), tmp_path / "again", **KNOWN, patience=QUICK)
    assert "hush" not in str(error.value)


def test_other_urls_go_through_fsspec(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT[:1000])
    get(f"file://{server.root}/a.tar", tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT


def test_what_is_a_url_and_what_of_it_is_shown(tmp_path):
    assert is_url("s3://bucket/a") and is_url("https://host/a")
    assert not is_url("data/shards/index.json") and not is_url(tmp_path) and not is_url("C://x")
    assert shown("https://me:hush@host:80/a/b?token=hush#x") == "https://host:80/a/b"
