"""Dry runs of the graph of people: what a change makes stale, and what belongs to trackers and what to people.

Edges are what counts here. Two stages of another model stand in for DepthNet and PoseNet: in the copy
`workflow.people.MODELS` names that model, and they learn from a user's labels of people.
"""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.workflow.copies import copy_repository
from tests.workflow.test_graph import Graph
from workflow.plan import Plan

FIRST, SECOND = "cotracker3_offline", "cotracker3_online"
AFTER_SCORE = {"score_people", "people_table", "blade_page"}
AFTER_PREDICTION = {"predict_people", "draw_overlay", *AFTER_SCORE}
SMALL = ["data.dataset=train_people", "training.num_steps=4", "training.precision=fp32", "cluster.gpus_per_process=0"]
LABELS = {"source": "human_data", "body": "toy"}
CONFIG = {
    "datasets": {
        "train_people": LABELS | {"path": "train.npz"},
        "heldout_people": LABELS | {"path": "heldout.npz"},
    },
    "stages": {
        FIRST: {"processes": 1, "overrides": [*SMALL, "validation.dataset=null"]},
        SECOND: {"processes": 1, "overrides": [*SMALL, f"init_from={FIRST}", "validation.dataset=null"]},
    },
    "benchmarks": {"heldout_people": {"dataset": "heldout_people"}},
}
FILES = ("train.npz", "heldout.npz", "data/bodies/toy.npz")
TARGETS = ("blade", "--configfile", "people.yaml")


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    monkeypatch.setattr("workflow.people.MODELS", ("cotracker3",))


def make(root: Path, config: dict) -> Graph:
    """A copy whose outputs all are there, entered into Snakemake's books."""
    root = copy_repository(root)
    people = root / "workflow/people.py"
    people.write_text(re.sub(r"MODELS = \(.*?\)", 'MODELS = ("cotracker3",)', people.read_text(), count=1))
    predict = root / "trainer/predict_people.py"
    predict.write_text('"""Stands in."""\n\n\ndef predict():\n    """Predict."""\n    return 1\n')
    (root / "people.yaml").write_text(yaml.safe_dump(config))
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("given\n")
    for output in (root / output for step in Plan(config, root).steps() for output in step.outputs):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("made\n")
    graph = Graph(root)
    touched = graph.snakemake("--touch", "--forceall", *TARGETS, "--quiet")
    assert touched.returncode == 0, touched.stdout + touched.stderr
    return graph


def plan_of(graph: Graph) -> dict[str, int]:
    """How many jobs of each rule a dry run of the people would run."""
    result = graph.snakemake("-n", *TARGETS)
    assert result.returncode == 0, result.stdout + result.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.M))
    return {rule: int(count) for rule, count in counts.items() if rule not in ("blade", "total")}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Graph:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workflow.people.MODELS", ("cotracker3",))
        return make(tmp_path_factory.mktemp("graph") / "made", CONFIG)


@pytest.fixture
def graph(made) -> Iterator[Graph]:
    """The made graph; what a test edits is put back."""
    names = [*made.root.glob("*.yaml"), *made.root.glob("eval/people/*.py"), made.root / "workflow/people.py"]
    before = {path: path.read_bytes() for path in names}
    yield made
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def test_nothing_to_do_after_everything_was_made(graph):
    assert plan_of(graph) == {}


def test_a_changed_first_stage_trains_both_and_a_changed_second_one_itself(graph):
    graph.edit("people.yaml", f"  {FIRST}:\n    overrides:\n", f"  {FIRST}:\n    overrides:\n    - data.flip=false\n")
    plan = plan_of(graph)
    assert set(plan) == {"train_stage", "curves", *AFTER_PREDICTION}
    assert (plan["train_stage"], plan["predict_people"]) == (2, 2)
    graph.edit("people.yaml", f"  {FIRST}:\n    overrides:\n    - data.flip=false\n", f"  {FIRST}:\n    overrides:\n")
    graph.edit("people.yaml", f"  {SECOND}:\n    overrides:\n", f"  {SECOND}:\n    overrides:\n    - data.flip=false\n")
    plan = plan_of(graph)
    assert (plan["train_stage"], plan["predict_people"], plan["score_people"]) == (1, 1, 1)


def test_an_edited_metric_scores_again_and_predicts_nothing(graph):
    graph.edit("eval/people/metrics.py", '"left_ankle", "right_ankle", ', '"left_foot", "right_foot", ')
    plan = plan_of(graph)
    # Overlays are chosen by the same errors.
    assert set(plan) == {*AFTER_SCORE, "draw_overlay"} and plan["score_people"] == 3


def test_an_edited_drawing_draws_again_and_scores_nothing(graph):
    graph.edit("eval/people/overlay.py", "OPACITY = 0.72", "OPACITY = 0.5")
    assert set(plan_of(graph)) == {"draw_overlay", "blade_page"}


def test_another_body_file_makes_everything_anew(graph):
    (graph.root / "data/bodies/toy.npz").touch()
    (graph.root / "data/bodies/toy.npz").write_text("another\n")
    plan = plan_of(graph)
    assert {"pack", "index", "train_stage", "people_constant", *AFTER_PREDICTION} <= set(plan)


def test_rows_are_the_constant_and_each_stage_of_people():
    plan = Plan(CONFIG)
    assert plan.people.rows("heldout_people") == ["constant", FIRST, SECOND]
    assert plan.trackers.trained == [] and plan.tracking_benchmarks == []
    assert plan.people.training_set("heldout_people") == "train_people"
    few = copy.deepcopy(CONFIG)
    few["benchmarks"]["heldout_people"]["trackers"] = ["constant", SECOND]
    assert Plan(few).people.files("heldout_people", "json") == [
        "results/heldout_people/constant.people.json",
        f"results/heldout_people/{SECOND}.people.json",
    ]


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        (
            "datasets",
            "heldout_people",
            LABELS | {"path": "x.npz", "body": "smplx"},
            "no stage learns from people of the ",
        ),
        ("datasets", "train_people", {"source": "clip_folder", "path": "x"}, "data.dataset=train_people has no people"),
        (
            "benchmarks",
            "heldout_people",
            {"dataset": "heldout_people", "trackers": ["static"]},
            "'static' is no baselin",
        ),
        ("stages", "constant", None, "stages.constant: this is the name of a tracker"),
    ],
)
def test_mistakes_are_one_line(section, name, value, message):
    config = copy.deepcopy(CONFIG)
    config[section][name] = value
    with pytest.raises(ValueError) as error:
        Plan(config)
    assert message in str(error.value)


def test_trackers_and_people_share_a_configuration(tmp_path):
    (tmp_path / "heldout.npz").write_text("given")
    tiny = yaml.safe_load((Path(__file__).resolve().parents[2] / "config/tiny.yaml").read_text())
    plan = Plan({key: tiny[key] | CONFIG[key] for key in CONFIG}, tmp_path)
    assert plan.trackers.trained == ["lbm-untrained", "lbm"]
    assert [benchmark.name for benchmark in plan.tracking_benchmarks] == ["tiny_heldout"]
    outputs = [output for step in plan.steps() for output in step.outputs]
    assert "results/heldout_people/constant.people.json" in outputs and "results/blade.html" in outputs
    assert not any("heldout_people/static" in output or f"tiny_heldout/{FIRST}" in output for output in outputs)
