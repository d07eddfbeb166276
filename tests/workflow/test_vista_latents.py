"""Latents in the graph: which folders, what makes them again, mistakes; and (slow) a real run of it, at its tiniest."""

import copy
import json
import re
from collections.abc import Iterator

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.trainer.driving.worlds import LATENTS
from tests.workflow.copies import copy_repository
from tests.workflow.test_graph import Graph
from workflow.plan import Plan

STAGES = ("vista_phase1", "vista_phase2_stage1", "vista_phase2_stage2")
PUBLISHED = "data/svd/svd_xt.safetensors"
TINY = [
    *LATENTS, "data=driving", "data.dataset=drives", "data.num_workers=0", "data.driving.height=32",
    "data.driving.width=64", "data.driving.num_frames=5", "data.driving.latents=data/latents/low",
    "training.num_steps=2", "training.batch_size=2", "training.accumulation_steps=1", "training.strategy=ddp",
    "training.threads=1", "cluster.gpus_per_process=0", "logging.log_every=1",
]  # fmt: skip
HIGH = ["data.driving.height=48", "data.driving.width=96", "data.driving.latents=data/latents/high"]
FRAMES = {"source": "opendv", "path": "data/downloads/opendv", "rate": 10, "clip_length": 12}
CONFIG = {
    "datasets": {"drives": FRAMES, "heldout": FRAMES | {"path": "data/downloads/heldout"}},
    "stages": {
        STAGES[0]: {"processes": 1, "overrides": [*TINY, "model.unet.with_actions=false"]},
        STAGES[1]: {"processes": 1, "overrides": TINY},
        STAGES[2]: {"processes": 1, "overrides": [*TINY, *HIGH]},
    },
    "benchmarks": {"heldout": {"dataset": "heldout"}},
}
TARGETS = (*(f"results/{stage}/weights.safetensors" for stage in STAGES), "--configfile", "drives.yaml")


def write_configuration(root, config) -> None:
    (root / "drives.yaml").write_text(yaml.safe_dump(config))


def counts_of(graph: Graph) -> dict[str, int]:
    """How many jobs of each rule a dry run would run."""
    result = graph.snakemake("-n", *TARGETS)
    told = result.stdout + result.stderr
    assert result.returncode == 0, told
    counts = dict(re.findall(r"^(\w+) +(\d+)$", told, re.M))
    return {rule: int(count) for rule, count in counts.items() if rule != "total"}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Graph:
    """A copy whose outputs all are there, entered into Snakemake's books."""
    root = copy_repository(tmp_path_factory.mktemp("graph") / "made")
    write_configuration(root, CONFIG)
    for name in (PUBLISHED, "data/downloads/opendv/a/000000.jpg"):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("given\n")
    graph = Graph(root)
    assert counts_of(graph) == {"pack": 1, "index": 1, "encode_latents": 2, "train_stage": 3}
    for output in (root / output for step in Plan(CONFIG, root).steps() for output in step.outputs):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("made\n")
    touched = graph.snakemake("--touch", "--forceall", *TARGETS, "--quiet")
    assert touched.returncode == 0, touched.stdout + touched.stderr
    return graph


@pytest.fixture
def graph(made) -> Iterator[Graph]:
    """The made graph; what a test edits is put back."""
    names = [made.root / "drives.yaml", made.root / PUBLISHED, *(made.root / "trainer/models/vista").glob("*.py")]
    before = {path: path.read_bytes() for path in names}
    yield made
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def test_nothing_to_do_after_everything_was_made(graph):
    assert counts_of(graph) == {}


def test_another_published_file_encodes_and_trains_again(graph):
    (graph.root / PUBLISHED).write_text("another\n")
    assert counts_of(graph) == {"encode_latents": 2, "train_stage": 3}


def test_an_edited_loss_trains_again_and_encodes_nothing(graph):
    path = graph.root / "trainer/models/vista/losses.py"
    path.write_text(path.read_text() + "\n\nDYNAMICS_NORMS = (*DYNAMICS_NORMS, 'none')\n")
    assert counts_of(graph) == {"train_stage": 3}


def test_an_edited_encoding_encodes_again(graph):
    graph.edit("trainer/models/vista/latents.py", "frames.float() / 127.5 - 1", "frames.float() / 128 - 1")
    assert counts_of(graph) == {"encode_latents": 2, "train_stage": 3}


def test_another_size_of_the_last_stage_encodes_for_it_alone(graph):
    graph.edit("drives.yaml", "data.driving.height=48", "data.driving.height=56")
    assert counts_of(graph) == {"encode_latents": 1, "train_stage": 1}


def test_stages_of_one_size_share_a_folder():
    plan = Plan(CONFIG)
    low, high = plan.latents["low"], plan.latents["high"]
    assert (low.stage, high.stage, low.datasets) == (STAGES[0], STAGES[2], ("drives",))
    assert low.options() == "--height 32 --width 64 --frozen tiny" and low.weights == PUBLISHED
    entry = "data/latents/low/drives/shard-000000.json"
    assert plan.latent_files(STAGES[0]) == plan.latent_files(STAGES[1]) == [entry]
    made = [step.outputs[0] for step in plan.steps() if step.rule == "encode_latents"]
    assert made == [entry, "data/latents/high/drives/shard-000000.json"]
    config = copy.deepcopy(CONFIG)
    config["stages"][STAGES[2]]["overrides"].append("model.published=null")
    high = Plan(config).latents["high"]
    assert (high.weights_option, high.weights) == ("--weights", f"results/{STAGES[1]}/weights.safetensors")
    assert high.options() == "--height 48 --width 96", "weights of a training say which networks they are"
    config["datasets"]["more"] = FRAMES | {"path": "data/downloads/more"}
    config["stages"][STAGES[1]]["overrides"].append("data.mixture={drives: 0.5, more: 0.5}")
    both = [f"data/latents/low/{name}/shard-000000.json" for name in ("drives", "more")]
    assert Plan(config).latents["low"].datasets == ("drives", "more")
    assert (Plan(config).latent_files(STAGES[0]), Plan(config).latent_files(STAGES[1])) == (both[:1], both)
    for stage in STAGES:
        config["stages"][stage]["overrides"].append("data.driving.latents=null")
    assert not Plan(config).latents and not Plan(config).latent_files(STAGES[0])


@pytest.mark.parametrize(
    ("stage", "override", "message"),
    [
        (STAGES[2], "data.driving.latents=data/latents/low", r"is that of stages\.vista_phase1, with another size"),
        (
            STAGES[0],
            "data.driving.latents=elsewhere/low",
            r"the graph makes latents in data/latents; use data/latents/N",
        ),
        (
            STAGES[0],
            "model.published=null",
            r"stages\.vista_phase1: .*its networks are in no file; set model\.published",
        ),
        (STAGES[0], "data.driving.flip=true", r"flip=true with latents"),
    ],
)
def test_mistakes_are_one_line(stage, override, message):
    config = copy.deepcopy(CONFIG)
    config["stages"][stage]["overrides"].append(override)
    with pytest.raises(ValueError, match=message) as error:
        Plan(config)
    assert "\n" not in str(error.value)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_three_stages_learn_from_latents_that_the_graph_made(tmp_path):
    pytest.importorskip("transformers", reason="the tower needs the extra `vista`")
    from tests.trainer.driving.worlds import write_published

    root = copy_repository(tmp_path / "real")
    write_configuration(root, CONFIG)
    (root / PUBLISHED).parent.mkdir(parents=True)
    write_published(root / PUBLISHED)
    frames, rng = root / "data/downloads/opendv/a", np.random.default_rng(0)
    frames.mkdir(parents=True)
    for number in range(24):
        Image.fromarray(rng.integers(0, 256, (40, 72, 3), dtype=np.uint8)).save(frames / f"{number:06}.png")
    graph = Graph(root)
    result = graph.snakemake(*TARGETS, "--cores", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    entries = [json.loads(path.read_text()) for path in sorted(root.glob("data/latents/*/drives/shard-000000.json"))]
    assert [(entry["height"], entry["latent"]) for entry in entries] == [(48, [4, 6, 12]), (32, [4, 4, 8])]
    assert len({entry["encoders_sha256"] for entry in entries}) == 1
    for stage in STAGES:
        rows = [json.loads(line) for line in (root / f"results/{stage}/metrics.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2] and all(row["diffusion_loss"] > 0 for row in rows)
    assert counts_of(graph) == {}
    told = json.loads((root / "results/vista_phase2_stage2/weights.safetensors.prov.json").read_text())
    assert "data/latents/high/drives/shard-000000.json" in told["inputs"]
