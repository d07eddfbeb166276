"""`snakemake publish`: all that was made goes to a bucket with its provenance, once, and nothing that changed."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import make_dataset
from tests.workflow.copies import copy_repository, environment_of
from tests.workflow.test_graph import Graph
from workflow.plan import Plan
from workflow.provenance import record, sha256_of, sidecar_path

filesystem = pytest.importorskip("s3fs", reason="the extra 'remote' is not installed").S3FileSystem
moto = pytest.importorskip("moto.server", reason="the extra 'test' is not installed")
PLACE = "published/run1"


class Published(Graph):
    """A finished graph and a bucket."""

    environment: dict[str, str]

    def snakemake(self, *words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "snakemake", *words, "--configfile", "config/tiny.yaml"]
        environment = environment_of(self.root) | self.environment
        return subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, timeout=300)

    def publish(self) -> tuple[int, str]:
        result = self.snakemake("publish", "--config", f"publish=s3://{PLACE}")
        return result.returncode, result.stdout + result.stderr

    def bucket(self) -> dict[str, tuple[bytes, str]]:
        """Content and time of every object, by name."""
        files = filesystem(use_listings_cache=False)
        names = files.find(PLACE)
        return {name.removeprefix(f"{PLACE}/"): (files.cat(name), str(files.modified(name))) for name in names}


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Iterator[Published]:
    """Everything is made: the shards are real, all else says its name."""
    root = copy_repository(tmp_path_factory.mktemp("publish") / "copy")
    config = yaml.safe_load((root / "config/tiny.yaml").read_text())
    config["stages"] = {"lbm": config["stages"]["lbm"]}
    config["benchmarks"] = {"tiny_heldout": {"dataset": "tiny_heldout", "trackers": ["static", "lbm"]}}
    (root / "config/tiny.yaml").write_text(yaml.safe_dump(config))
    plan = Plan(config)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for step in plan.steps():
            for output in step.outputs:
                Path(output).parent.mkdir(parents=True, exist_ok=True)
                Path(output).write_text(output)
        for name, num_clips in (("tiny", 3), ("tiny_heldout", 1)):
            make_dataset(root / "data/shards", name, num_clips=num_clips, clips_per_shard=2, num_frames=2)
        for step in plan.steps():
            record(step.rule, {}, step.outputs, plan.facts(step.rule, step.wildcards))
        server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        graph = Published(root)
        address = ":".join(map(str, server.get_host_and_port()))
        settings = {"ENDPOINT_URL": f"http://{address}", "ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "hush"}
        graph.environment = {f"AWS_{name}": value for name, value in settings.items()}
        graph.environment["AWS_DEFAULT_REGION"] = "us-east-1"
        for name, value in graph.environment.items():
            patch.setenv(name, value)
        filesystem.clear_instance_cache()
        filesystem().mkdir("published")
        touched = graph.snakemake("--touch", "--forceall", "all", "evaluate", "--quiet")
        assert touched.returncode == 0, touched.stderr
        yield graph
        server.stop()


@pytest.fixture(scope="module")
def first(graph) -> dict[str, tuple[bytes, str]]:
    """What the first run sent."""
    code, told = graph.publish()
    assert code == 0 and "hush" not in told, told
    return graph.bucket()


@pytest.mark.slow
def test_results_and_rendered_shards_go_with_their_sidecars_under_their_own_names(graph, first):
    expected = {
        "data/shards/tiny/index.json", "data/shards/tiny/shard-000001.tar", "results/lbm/weights.safetensors",
        "results/lbm/weights.safetensors.prov.json", "results/tiny_heldout/table.csv", "results/report.html",
        "results/tiny_heldout/lbm.first.256.predictions.npz", "results/tiny_heldout/static.first.256.json.prov.json",
        "results/data/tiny.html", "files.json",
    }  # fmt: skip
    assert expected <= first.keys()
    assert not any(name.startswith(("data/shards/tapvid", "data/downloads", "runs")) for name in first)
    listed = json.loads(first["files.json"][0])["files"]
    for name, (content, _) in first.items():
        if (graph.root / name).is_file():
            assert (graph.root / name).read_bytes() == content, name
        if name.startswith("results/"):
            assert listed[name] == {"sha256": sha256_of(graph.root / name), "bytes": len(content)}


@pytest.mark.slow
def test_a_second_run_sends_nothing_and_a_changed_file_goes_alone(graph, first):
    code, told = graph.publish()
    assert code == 0 and "\n0 sent, " in told
    assert graph.bucket() == first
    report = "results/report.html"
    (graph.root / report).write_text("a newer one")
    sidecar_path(graph.root / report).unlink()
    record("report_page", {}, [str(graph.root / report)], {})
    code, told = graph.publish()
    after = graph.bucket()
    assert code == 0 and "\n3 sent, " in told
    changed = {name for name in first if after[name] != first[name]}
    assert changed == {report, f"{report}.prov.json", "files.json"}


@pytest.mark.slow
def test_what_is_gone_or_cut_in_the_bucket_is_sent_again(graph, first):
    graph.publish()
    files = filesystem(use_listings_cache=False)
    files.rm(f"{PLACE}/results/lbm/weights.safetensors")
    files.pipe(f"{PLACE}/results/lbm/metrics.jsonl", b"cut")
    code, told = graph.publish()
    assert code == 0 and "\n2 sent, " in told
    for name in ("weights.safetensors", "metrics.jsonl"):
        assert graph.bucket()[f"results/lbm/{name}"][0] == (graph.root / "results/lbm" / name).read_bytes()


@pytest.mark.slow
def test_what_changed_since_it_was_made_does_not_go_out(graph, first):
    page = graph.root / "results/data/tiny.html"
    content, before = page.read_bytes(), graph.bucket()
    page.write_bytes(content[:-1] + b"L")
    try:
        code, told = graph.publish()
    finally:
        page.write_bytes(content)
    assert code != 0 and "error: results/data/tiny.html: changed since it was made" in told
    assert graph.bucket() == before


def test_without_a_place_the_command_is_named_and_secrets_have_no_place_in_it(graph):
    result = graph.snakemake("-n", "publish")
    assert result.returncode != 0
    assert "snakemake publish --config publish=s3://bucket/run1" in result.stdout + result.stderr
    refused = graph.snakemake("-n", "publish", "--config", "publish=s3://id:word@lent/run1")
    told = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "publish: give the URL without user, password" in told
