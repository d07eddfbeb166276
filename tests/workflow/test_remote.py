"""Shards behind a URL as a data set of the graph: linked, pinned, read through the cache, and refused when other."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import make_dataset
from tests.shards.serving import Server, serving
from tests.workflow.copies import copy_repository, environment_of
from tests.workflow.test_graph import Graph
from workflow.plan import Plan

LINKED, TABLE = "data/shards/far/index.json", "results/far/table.md"


class Remote(Graph):
    """A graph whose one data set lies behind a URL."""

    environment: dict[str, str]

    def snakemake(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", *words, "--configfile", "config/far.yaml"]
        environment = environment_of(self.root) | self.environment
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300)

    def configure(self, **dataset) -> None:
        config = config_of(**dataset)
        (self.root / "config/far.yaml").write_text(yaml.safe_dump(config))

    def run(self, *words: str) -> str:
        result = self.snakemake(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr

    def fail(self, *words: str) -> str:
        result = self.snakemake(*words)
        assert result.returncode != 0
        return result.stdout + result.stderr


def config_of(**dataset) -> dict:
    stage = ["data.dataset=far", "validation.dataset=null", "cluster.gpus_per_process=0"]
    return {
        "datasets": {"far": {"source": "remote"} | dataset},
        "stages": {"lbm": {"overrides": stage}},
        "benchmarks": {"far": {"dataset": "far", "trackers": ["static"]}},
    }


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    return copy_repository(tmp_path_factory.mktemp("remote") / "copy")


@pytest.fixture
def graph(copy) -> Iterator[Remote]:
    graph = Remote(copy)
    graph.environment = {}
    yield graph
    for made in ("data", "results", "logs", ".snakemake"):
        shutil.rmtree(copy / made, ignore_errors=True)


@pytest.fixture
def index(tmp_path) -> Path:
    return make_dataset(tmp_path / "served", "far", num_clips=4, clips_per_shard=2)


@pytest.fixture
def server(index) -> Iterator[Server]:
    with serving(index.parents[1]) as server:
        yield server


def test_a_data_set_behind_http_is_linked_read_and_scored_like_one_of_the_disk(graph: Remote, server, index):
    graph.configure(index=server.url("far/index.json"), sha256=sha256(index))
    assert "link" in graph.run("-n", "data")
    graph.run(TABLE)
    score = json.loads((graph.root / "results/far/static.first.256.json").read_bytes())
    assert (graph.root / LINKED).read_bytes() == index.read_bytes()
    assert not list((graph.root / "data/shards/far").glob("*.tar"))
    assert (server.count("index.json"), server.count(".tar")) == (1, 2)

    shutil.copytree(index.parent, graph.root / "data/near")
    command = [sys.executable, "-m", "eval", "score", "--predictions", "results/far/static.first.256.predictions.npz"]
    words = ["--truth", "data/near/index.json", "--out", "near.json"]
    subprocess.run([*command, *words], cwd=graph.root, env=environment_of(graph.root), check=True, timeout=100)
    assert json.loads((graph.root / "near.json").read_bytes()) == score

    sidecar = json.loads((graph.root / f"{LINKED}.prov.json").read_bytes())
    assert sidecar["facts"] == {"sha256": sha256(index), "url": server.url("far/index.json")}
    told = subprocess.run(
        [sys.executable, "-m", "workflow.provenance", "show", "results/far/static.first.256.json"],
        cwd=graph.root, env=environment_of(graph.root), capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert "all as the configuration" in graph.run("verify")
    assert told.returncode == 0 and server.url("far/index.json") in told.stdout and "num_clips 4" in told.stdout


def test_what_was_fetched_is_read_when_the_server_is_gone(graph: Remote, index):
    with serving(index.parents[1]) as server:
        graph.configure(index=server.url("far/index.json"), sha256=sha256(index), fetch=True)
        graph.run("data")
        assert server.count(".tar") == 2
    graph.run(TABLE)
    assert len(list((graph.root / "data/cache/shards").glob("*.tar"))) == 2


def test_another_index_than_the_pinned_one_is_refused_with_both_digests(graph: Remote, server, index, tmp_path):
    pinned = sha256(index)
    graph.configure(index=server.url("far/index.json"), sha256=pinned)
    other = make_dataset(tmp_path / "other", "far", num_clips=3, clips_per_shard=2)
    index.write_bytes(other.read_bytes())
    told = graph.fail(TABLE)
    (line,) = {line.strip() for line in told.splitlines() if "pinned is" in line}
    assert line.startswith(f"error: {server.url('far/index.json')}: sha256 is {sha256(other)}, pinned is {pinned}; ")
    assert not (graph.root / LINKED).exists() and server.count(".tar") == 0


@pytest.mark.slow
def test_another_pin_links_again_and_fetch_alone_does_not(graph: Remote, server, index, tmp_path):
    graph.configure(index=server.url("far/index.json"), sha256=sha256(index))
    graph.run("data")
    graph.configure(index=server.url("far/index.json"), sha256=sha256(index), fetch=True)
    assert "Nothing to be done" in graph.run("-n", "data")
    other = make_dataset(tmp_path / "other", "far", num_clips=3, clips_per_shard=2)
    shutil.copytree(other.parent, index.parent, dirs_exist_ok=True)
    graph.configure(index=server.url("far/index.json"), sha256=sha256(other))
    graph.run("data")
    assert sha256(graph.root / LINKED) == sha256(other)


@pytest.mark.slow
def test_a_data_set_on_s3_is_linked_and_scored(graph: Remote, index, monkeypatch):
    filesystem = pytest.importorskip("s3fs", reason="the extra 'remote' is not installed").S3FileSystem
    moto = pytest.importorskip("moto.server", reason="the extra 'test' is not installed")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        address = ":".join(map(str, server.get_host_and_port()))
        settings = {"ENDPOINT_URL": f"http://{address}", "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "hush"}
        graph.environment = {f"AWS_{name}": value for name, value in settings.items()}
        graph.environment["AWS_DEFAULT_REGION"] = "us-east-1"
        for name, value in graph.environment.items():
            monkeypatch.setenv(name, value)
        filesystem.clear_instance_cache()
        filesystem().mkdir("lent")
        push = [sys.executable, "-m", "shards", "push", str(index), "s3://lent/far"]
        environment = environment_of(graph.root) | graph.environment
        subprocess.run(push, cwd=graph.root, env=environment, check=True, capture_output=True, timeout=100)
        graph.configure(index="s3://lent/far/index.json", sha256=sha256(index))
        told = graph.run(TABLE)
        assert (graph.root / LINKED).read_bytes() == index.read_bytes()
        assert len(list((graph.root / "data/cache/shards").glob("*.tar"))) == 2
        assert "hush" not in told
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ({"index": "https://h/index.json"}, "missing key 'datasets.far.sha256'"),
        ({"index": "https://h/index.json", "sha256": None}, "datasets.far.sha256: None is not of type 'string'"),
        ({"index": "https://h/index.json", "sha256": "9f86"}, "datasets.far.sha256: '9f86'"),
        ({"index": "data/shards/x/index.json"}, "datasets.far.index: not a URL; give one such as s3://bucket"),
        ({"index": "s3://id:hush@b/index.json"}, "datasets.far.index: give the URL without user, password"),
        ({"index": "https://me:hush@h/index.json"}, "datasets.far.index: a user or password is in the address of h"),
        ({"index": "https://h/index.json?token=hush"}, "datasets.far.index: 'token' in the address of h is a secret"),
        ({"index": "s3://b/index.json#sha256=9"}, "datasets.far.index: give the URL without"),
        ({"index": "s3://b/{x}/index.json"}, "datasets.far.index: give the URL without"),
        ({"index": "s3://b/index.json", "path": "x"}, "unknown key 'datasets.far.path'"),
    ],
)
def test_a_mistake_in_a_remote_data_set_is_one_line_without_its_secret(dataset, message):
    pin = {} if "missing" in message else {"sha256": "0" * 64}
    with pytest.raises(ValueError) as error:
        Plan(config_of(**(pin | dataset)))
    assert message in str(error.value) and "hush" not in str(error.value) and "\n" not in str(error.value)


def test_hostile_characters_of_a_url_reach_no_shell():
    url = "s3://b/$(touch-x);'`/index.json"
    plan = Plan(config_of(index=url, sha256="0" * 64))
    assert plan.link_words("far") == "'s3://b/$(touch-x);'\"'\"'`/index.json#sha256=" + "0" * 64 + "'"
