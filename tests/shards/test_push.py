"""Data sets on a real S3 server (moto's) and in fsspec's other places: pushed whole, read back, the index last."""

import hashlib
import multiprocessing
import socket
import threading
import time

import numpy as np
import pytest

from shards import ClipStore, transfer
from shards.__main__ import main
from shards.bucket import Bucket
from shards.files import sha256_of
from shards.push import push_dataset, send_files
from shards.transfer import GivenUpError, Patience, get
from tests.conftest import make_dataset

S3FileSystem = pytest.importorskip("s3fs", reason="the extra 'remote' is not installed").S3FileSystem
pytest.importorskip("moto.server", reason="the extra 'test' is not installed")

QUICK = Patience(attempts=2, pause_seconds=0, timeout_seconds=5)


@pytest.fixture(scope="module")
def endpoint():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint, monkeypatch, tmp_path, request):
    """The URL of an empty bucket; settings come from the environment, as they do for a user."""
    settings = {
        "ENDPOINT_URL": endpoint,
        "ACCESS_KEY_ID": "id",
        "SECRET_ACCESS_KEY": "hush",
        "DEFAULT_REGION": "us-east-1",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("FRAMELINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(transfer, "PATIENCE", QUICK)
    S3FileSystem.clear_instance_cache()
    name = "b" + hashlib.sha256(request.node.name.encode()).hexdigest()[:20]
    Bucket(f"s3://{name}").call("mkdir", name, timeout_seconds=30)
    return f"s3://{name}"


@pytest.fixture
def index(tmp_path):
    return make_dataset(tmp_path / "here", num_clips=4, clips_per_shard=2)


def list_names(url):
    bucket = Bucket(url)
    return sorted(
        name.removeprefix(bucket.path).lstrip("/") for name in bucket.call("find", bucket.path, timeout_seconds=30)
    )


def _keys_and_sums(store):
    return [(clip.key, int(clip.video.sum())) for clip in (store.read(number) for number in range(len(store)))]


def test_a_data_set_goes_to_s3_and_is_read_from_there(bucket, index, capsys):
    assert main(["push", str(index.parent), f"{bucket}/shards/toy"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{bucket}/shards/toy/index.json: sent"
    assert main(["verify", "--deep", f"{bucket}/shards/toy/index.json"]) == 0
    remote, local = ClipStore(f"{bucket}/shards/toy/index.json"), ClipStore(index)
    assert remote.sha256 == local.sha256
    for number in range(len(local)):
        one, other = (store.read(number, with_depth=True) for store in (remote, local))
        np.testing.assert_array_equal(one.video, other.video)
        np.testing.assert_array_equal(one.depth_m, other.depth_m)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_processes_read_s3(bucket, index, method):
    list(push_dataset(index, bucket))
    store = ClipStore(f"{bucket}/index.json")  # fsspec's loop runs in this process already
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.map(_keys_and_sums, [store] * 2, chunksize=1)
    assert results == [_keys_and_sums(ClipStore(index))] * 2


def test_the_index_comes_last_and_only_after_its_shards(bucket, index):
    sent = []
    for url, _ in push_dataset(index, bucket):
        sent.append(url.removeprefix(f"{bucket}/"))
        assert ("index.json" in list_names(bucket)) == (url == f"{bucket}/index.json")
    assert sent == ["shard-000000.tar", "shard-000000.zarr", "shard-000001.tar", "shard-000001.zarr", "index.json"]


def test_a_push_that_was_cut_goes_on_and_a_second_one_sends_nothing(bucket, index, monkeypatch):
    sending = push_dataset(index, bucket)
    assert [next(sending)[1] for _ in range(2)] == [True, True]
    sending.close()
    assert [is_new for _, is_new in push_dataset(index, bucket)] == [False, False, True, True, True]
    calls = []
    call = Bucket.call

    def note(self, name, *arguments, **options):
        calls.append(name)
        return call(self, name, *arguments, **options)

    monkeypatch.setattr(Bucket, "call", note)
    assert [is_new for _, is_new in push_dataset(index, bucket)] == [False] * 5
    assert calls and not {"put_file", "pipe_file"} & set(calls)


@pytest.mark.parametrize("harm", ["half", "gone"])
def test_what_is_not_whole_is_sent_again(bucket, index, harm):
    list(push_dataset(index, bucket))
    one = Bucket(f"{bucket}/shard-000000.tar")
    if harm == "half":
        one.call("pipe_file", one.path, b"half", timeout_seconds=30)
    else:
        one.call("rm_file", one.path, timeout_seconds=30)
    news = dict(push_dataset(index, bucket))
    assert [url for url, is_new in news.items() if is_new] == [f"{bucket}/shard-000000.tar"]
    assert main(["verify", f"{bucket}/index.json"]) == 0


def test_another_data_set_is_replaced_only_when_told_and_never_mixed(bucket, index, tmp_path):
    list(push_dataset(index, bucket))
    other = make_dataset(tmp_path / "other", "else", num_clips=2, clips_per_shard=2)
    with pytest.raises(ValueError, match=r"index.json: is another index; push to another folder, or say --replace"):
        list(push_dataset(other, bucket))
    assert ClipStore(f"{bucket}/index.json").dataset == "toy"
    sending = push_dataset(other, bucket, replace=True)
    next(sending)
    assert "index.json" not in list_names(bucket)
    list(sending)
    assert main(["verify", f"{bucket}/index.json"]) == 0
    assert ClipStore(f"{bucket}/index.json").dataset == "else"


def test_shards_that_are_damaged_here_are_not_sent(bucket, index):
    tar = index.parent / "shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:-512])
    with pytest.raises(ValueError, match="is not what the index says; see `python -m shards verify"):
        list(push_dataset(index, bucket))
    assert "index.json" not in list_names(bucket)


def test_bytes_that_change_on_the_way_are_noticed(bucket, index, monkeypatch):
    call = Bucket.call

    def harm(self, name, *arguments, **options):
        result = call(self, name, *arguments, **options)
        if name == "put_file" and self.path.endswith("shard-000000.tar"):
            call(self, "pipe_file", self.path, b"other", timeout_seconds=30)
        return result

    monkeypatch.setattr(Bucket, "call", harm)
    with pytest.raises(ValueError, match="other bytes came back than were sent; 2 attempts"):
        list(push_dataset(index, bucket))
    assert list_names(bucket) == ["shard-000000.tar"]


def test_other_bytes_in_the_bucket_are_an_error_for_readers(bucket, index):
    list(push_dataset(index, bucket))
    one = Bucket(f"{bucket}/shard-000000.tar")
    content = bytearray((index.parent / "shard-000000.tar").read_bytes())
    content[1000] ^= 1
    one.call("pipe_file", one.path, bytes(content), timeout_seconds=30)
    with pytest.raises(ValueError, match=r"shard-000000.tar: could not be fetched \(sha256 is"):
        ClipStore(f"{bucket}/index.json").read(0)


def test_what_is_not_there_is_told_at_once_without_secrets(bucket, index, capsys):
    began = time.monotonic()
    assert main(["ls", f"{bucket}/nothing/index.json"]) == 2
    told = capsys.readouterr().err
    assert f"error: {bucket}/nothing/index.json: could not be fetched (not there)" in told
    assert main(["push", str(index), "s3://no-such-bucket-anywhere/x"]) == 2
    told += capsys.readouterr().err
    assert "no-such-bucket-anywhere" in told and "hush" not in told
    assert time.monotonic() - began < 20


def test_a_part_is_continued_from_s3(bucket, tmp_path):
    content = np.random.default_rng(0).bytes(5_000_000)
    one = Bucket(f"{bucket}/big")
    one.call("pipe_file", one.path, content, timeout_seconds=30)
    (tmp_path / "part").write_bytes(content[:3_000_001])
    known = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    get(f"{bucket}/big", tmp_path / "part", **known)
    assert sha256_of(tmp_path / "part") == known["sha256"]


def test_a_server_that_takes_connections_and_says_nothing_is_given_up(bucket, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        threading.Thread(target=_accept_all, args=(silent,), daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        S3FileSystem.clear_instance_cache()  # it holds the other server
        patience = Patience(attempts=2, pause_seconds=0, timeout_seconds=0.5)
        began = time.monotonic()
        with pytest.raises(GivenUpError, match=r"no answer within 0.5 s; 2 attempts"):
            get("s3://bucket/a.tar", tmp_path / "part", size=9, sha256="0" * 64, patience=patience)
        assert time.monotonic() - began < 10


def _accept_all(server):
    kept = []
    while True:
        try:
            kept.append(server.accept())
        except OSError:
            return


@pytest.mark.parametrize("url", ["https://host/shards", "data/shards"])
def test_http_and_paths_are_not_pushed_to(index, url):
    with pytest.raises(ValueError, match="cannot be written; give a URL such as s3://"):
        list(push_dataset(index, url))


def test_other_places_of_fsspec_work_alike(index, tmp_path, monkeypatch):
    monkeypatch.setenv("FRAMELINE_CACHE", str(tmp_path / "cache"))
    list(push_dataset(index, f"file://{tmp_path}/there/toy"))
    assert main(["verify", f"file://{tmp_path}/there/toy/index.json"]) == 0
    assert main(["verify", f"{tmp_path}/there/toy/index.json"]) == 0


@pytest.fixture
def here(index, tmp_path, monkeypatch):
    """A folder with a result, its sidecar, and a data set."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results/score.json").write_text("87.3")
    (tmp_path / "results/score.json.prov.json").write_text("{}")
    (tmp_path / "results/table.md").write_text("| 87.3 |")
    return tmp_path


def test_files_go_to_the_same_names_with_their_sidecars_and_an_index_with_its_shards(bucket, here, capsys):
    words = ["send", f"{bucket}/run1", "results/score.json", "results/table.md", "here/toy/index.json"]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "9 sent, 0 were there"
    names = list_names(f"{bucket}/run1")
    assert {"results/score.json", "results/score.json.prov.json", "here/toy/shard-000001.tar", "files.json"} <= {*names}
    assert main(["verify", f"{bucket}/run1/here/toy/index.json"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "0 sent, 9 were there"
    (here / "results/table.md").write_text("| 87.4 |")
    assert [url.removeprefix(f"{bucket}/run1/") for url, is_new in send_files(words[2:], words[1]) if is_new] == [
        "results/table.md",
        "files.json",
    ]


@pytest.mark.parametrize("name", ["../up.json", "/etc/hostname", "results/none.json", "results"])
def test_only_files_below_the_folder_are_sent(bucket, here, name):
    (here.parent / "up.json").write_text("{}")
    with pytest.raises(ValueError, match="no file below this folder"):
        list(send_files(["results/table.md", name], bucket))
    assert list_names(bucket) == []


def test_a_place_with_a_list_that_is_not_ours_is_left_alone(bucket, here):
    place = Bucket(f"{bucket}/files.json")
    place.call("pipe_file", place.path, b'{"files": 3}', timeout_seconds=30)
    with pytest.raises(ValueError, match=r"files\.json: is no list of files that were sent; send to another folder"):
        list(send_files(["results/table.md"], bucket))
    assert list_names(bucket) == ["files.json"]
    with pytest.raises(ValueError, match="cannot be written"):
        list(send_files(["results/table.md"], "https://host/run1"))


def test_a_page_of_clips_is_drawn_from_a_bucket(bucket, index, here):
    list(push_dataset(index, f"{bucket}/toy"))
    for place, out in ((f"{bucket}/toy/index.json", "far.png"), (str(index), "near.png")):
        assert main(["view", place, "--out", out]) == 0
    assert (here / "far.png").read_bytes() == (here / "near.png").read_bytes()
