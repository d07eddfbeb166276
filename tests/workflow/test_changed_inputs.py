"""A file that changed since it was made is refused by every job that would read it: never a wrong number.

A real graph of a few jobs, from a packed video to a table, in which nothing is rendered or trained.
"""

import hashlib
import pickle

import numpy as np
import pytest
import yaml

from tests.workflow.copies import copy_repository
from tests.workflow.test_graph import Graph
from workflow.provenance import record, sidecar_path

CONFIG = {
    "datasets": {"slide": {"source": "tapvid", "path": "slide.pkl"}},
    "stages": {"lbm": {"overrides": ["data.dataset=slide", "validation.dataset=null", "cluster.gpus_per_process=0"]}},
    "benchmarks": {"slide": {"dataset": "slide", "trackers": ["static"]}},
}
WEIGHTS, INDEX = "results/lbm/weights.safetensors", "data/shards/slide/index.json"
PREDICTIONS, SCORE, TABLE = (
    "results/slide/static.first.256.predictions.npz",
    "results/slide/static.first.256.json",
    "results/slide/table.md",
)


class Small(Graph):
    """The graph of CONFIG."""

    def run(self, *words: str) -> str:
        """Run jobs that must end well; returns what was printed."""
        code, told = self.attempt(*words)
        assert code == 0, told
        return told

    def attempt(self, *words: str) -> tuple[int, str]:
        result = self.snakemake(*words, "--configfile", "config/slide.yaml")
        return result.returncode, result.stdout + result.stderr

    def flip(self, name: str) -> None:
        """Flip one bit of a file's last byte."""
        path = self.root / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 0x20]))

    def sha256(self, name: str) -> str:
        return hashlib.sha256((self.root / name).read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Small:
    graph = Small(copy_repository(tmp_path_factory.mktemp("changed") / "copy"))
    generator = np.random.default_rng(0)
    video = generator.integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    points, occluded = generator.uniform(size=(3, 4, 2)).astype(np.float32), np.zeros((3, 4), bool)
    (graph.root / "slide.pkl").write_bytes(
        pickle.dumps({"one": {"video": video, "points": points, "occluded": occluded}})
    )
    (graph.root / "config/slide.yaml").write_text(yaml.safe_dump(CONFIG))
    told = graph.run(TABLE)
    assert "changed since" not in told
    logs = [path.read_text() for path in (graph.root / "logs").rglob("*.log")]
    assert logs and not any("changed since" in log or "note:" in log for log in logs)
    return graph


def assert_refused(told: str, name: str, sidecar_sha256: str) -> None:
    (line,) = {line.strip() for line in told.splitlines() if "changed since it was made" in line}
    assert line.startswith(f"error: {name}: ")
    assert sidecar_sha256[:12] in line and f"{name}.prov.json" in line and f"`snakemake --force {name}`" in line


def test_a_flipped_byte_in_predictions_is_no_score_and_making_them_again_gives_the_same_one(small: Small):
    before = {name: small.sha256(name) for name in (PREDICTIONS, SCORE)}
    small.flip(PREDICTIONS)
    code, told = small.attempt(SCORE)
    assert code != 0 and not (small.root / SCORE).exists()
    assert_refused(told, PREDICTIONS, before[PREDICTIONS])
    small.run("--force", PREDICTIONS)
    small.run(SCORE)
    assert {name: small.sha256(name) for name in before} == before


def test_a_flipped_byte_in_a_score_is_no_table(small: Small):
    before = {name: small.sha256(name) for name in (SCORE, TABLE)}
    small.flip(SCORE)
    code, told = small.attempt(TABLE)
    assert code != 0 and not (small.root / TABLE).exists()
    assert_refused(told, SCORE, before[SCORE])
    small.run("--force", SCORE)
    small.run(TABLE)
    assert {name: small.sha256(name) for name in before} == before


@pytest.mark.parametrize("changed", [WEIGHTS, INDEX])
def test_a_flipped_byte_in_weights_or_in_an_index_predicts_nothing(small: Small, changed):
    weights, predicted = small.root / WEIGHTS, PREDICTIONS.replace("static", "lbm")
    weights.parent.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(b"no weights, and nobody comes to read them")
    record("train_stage", {}, [str(weights)], {})
    before, content = small.sha256(changed), (small.root / changed).read_bytes()
    small.flip(changed)
    try:
        code, told = small.attempt(predicted, "--allowed-rules", "predict")
        assert code != 0 and not (small.root / predicted).exists()
        assert_refused(told, changed, before)
    finally:
        (small.root / changed).write_bytes(content)
    sidecar_path(weights).unlink()  # as weights that a user put there
    code, told = small.attempt(predicted, "--allowed-rules", "predict")
    assert code != 0 and "changed since" not in told
    assert f"note: {WEIGHTS}: taken as it is" in told and f"error: {WEIGHTS}: " in told
