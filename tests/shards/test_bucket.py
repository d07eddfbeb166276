"""S3 servers that misbehave: what came is kept, what is wrong is never taken, and waiting ends."""

import hashlib
import time

import pytest

from shards.transfer import GivenUpError, Patience, get
from tests.shards.serving import serving

S3FileSystem = pytest.importorskip("s3fs", reason="the extra 'remote' is not installed").S3FileSystem

CONTENT = bytes(range(256)) * 20_000  # three pieces
KNOWN = {"size": len(CONTENT), "sha256": hashlib.sha256(CONTENT).hexdigest()}
QUICK = Patience(attempts=3, pause_seconds=0, timeout_seconds=2)
URL = "s3://bucket/a.tar"


@pytest.fixture
def server(tmp_path, monkeypatch):
    (tmp_path / "served" / "bucket").mkdir(parents=True)
    (tmp_path / "served" / "bucket" / "a.tar").write_bytes(CONTENT)
    monkeypatch.setattr(S3FileSystem, "retries", 1)
    with serving(tmp_path / "served") as server:
        settings = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in (settings | {"AWS_ENDPOINT_URL": server.url()}).items():
            monkeypatch.setenv(name, value)
        S3FileSystem.clear_instance_cache()
        yield server


def test_an_object_comes_in_pieces(server, tmp_path):
    get(URL, tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert server.count("a.tar") == 3


def test_a_server_that_dies_is_asked_for_the_rest(server, tmp_path):
    (tmp_path / "part").write_bytes(CONTENT[:4_000_000])
    server.cuts["a.tar"] = 1
    get(URL, tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT
    assert {wanted.partition("-")[0] for _, wanted in server.requests} == {"bytes=4000000"}


def test_a_server_that_dies_each_time_is_given_up(server, tmp_path):
    server.cuts["a.tar"] = 99
    with pytest.raises(GivenUpError, match="; 3 attempts"):
        get(URL, tmp_path / "part", **KNOWN, patience=QUICK)
    assert not (tmp_path / "part").exists() or CONTENT.startswith((tmp_path / "part").read_bytes())


def test_wrong_bytes_are_fetched_again_and_never_taken(server, tmp_path):
    server.flips["a.tar"] = 1
    get(URL, tmp_path / "part", **KNOWN, patience=QUICK)
    assert (tmp_path / "part").read_bytes() == CONTENT
    server.flips["a.tar"] = 999
    with pytest.raises(GivenUpError, match=r"sha256 is [0-9a-f]{64}, expected [0-9a-f]{64}; 3 attempts"):
        get(URL, tmp_path / "again", **KNOWN, patience=QUICK)
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize(
    ("status", "reason", "num_asked"), [(403, "refused", 1), (404, "not there", 1), (500, "Internal Server Error", 3)]
)
def test_refusals_are_told_from_trouble(server, tmp_path, status, reason, num_asked):
    server.statuses["a.tar"] = [status]
    with pytest.raises(GivenUpError, match=reason) as error:
        get(URL, tmp_path / "part", **KNOWN, patience=QUICK)
    assert ("3 attempts" in str(error.value)) == (num_asked == 3)
    assert "hush" not in str(error.value)


def test_a_slow_server_is_given_up_in_time(server, tmp_path):
    server.bytes_a_second = 2_000  # never so slow that a read of the socket times out
    began = time.monotonic()
    with pytest.raises(GivenUpError, match=r"no answer within 0.5 s; 3 attempts"):
        get(URL, tmp_path / "part", **KNOWN, patience=Patience(attempts=3, pause_seconds=0, timeout_seconds=0.5))
    assert time.monotonic() - began < 10
