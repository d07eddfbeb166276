"""Dry runs of the graph of people: what a change makes stale, and what belongs to trackers and what to people."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.workflow.copies import copy_repository
from tests.workflow.test_graph import Graph
from workflow.plan import Plan

FIRST, SECOND = "blade_depthnet", "blade_posenet"
AFTER_SCORE = {"score_people", "people_table", "blade_page"}
AFTER_PREDICTION = {"predict_people", "draw_overlay", *AFTER_SCORE}
DRAWN = {"source": "people", "body": "toy", "clips_per_shard": 4, "num_clips": 8}
SMALL = [
    "data.dataset=train_people", "data.people.body=data/bodies/toy.npz", "validation.dataset=null",
    "training.keep=last", "training.num_epochs=null", "training.num_steps=4", "cluster.gpus_per_process=0",
]  # fmt: skip
CONFIG = {
    "bodies": {"toy": {"source": "toy"}, "smplx": {"source": "smplx", "path": "SMPLX_NEUTRAL.npz"}},
    "datasets": {"train_people": DRAWN, "heldout_people": DRAWN | {"num_clips": 4, "first_seed": 1000}},
    "stages": {
        FIRST: {"processes": 1, "overrides": ["model=blade_depthnet_small", *SMALL]},
        SECOND: {"processes": 1, "overrides": ["model=blade_posenet_small", "model.num_shapes=2", *SMALL]},
    },
    "benchmarks": {"heldout_people": {"dataset": "heldout_people", "most_failed": 1.0}},
}
TARGETS = ("blade", "--configfile", "people.yaml")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Graph:
    """A copy whose outputs all are there, entered into Snakemake's books."""
    root = copy_repository(tmp_path_factory.mktemp("graph") / "made")
    (root / "people.yaml").write_text(yaml.safe_dump(CONFIG))
    for output in (root / output for step in Plan(CONFIG, root).steps() for output in step.outputs):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("made\n")
    graph = Graph(root)
    touched = graph.snakemake("--touch", "--forceall", *TARGETS, "--quiet")
    assert touched.returncode == 0, touched.stdout + touched.stderr
    return graph


@pytest.fixture
def graph(made) -> Iterator[Graph]:
    """The made graph; what a test edits is put back."""
    names = [*made.root.glob("*.yaml"), *made.root.glob("eval/people/*.py")]
    before = {path: path.read_bytes() for path in names}
    yield made
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def plan_of(graph: Graph, *words: str) -> dict[str, int]:
    """How many jobs of each rule a dry run of the people would run."""
    result = graph.snakemake("-n", *TARGETS, *words)
    assert result.returncode == 0, result.stdout + result.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.M))
    return {rule: int(count) for rule, count in counts.items() if rule not in ("blade", "total")}


def test_nothing_to_do_after_everything_was_made(graph):
    assert plan_of(graph) == {}


def test_a_changed_first_stage_trains_both_and_a_changed_second_one_itself(graph):
    start, changed = (f"  {FIRST}:\n    overrides:\n{more}" for more in ("", "    - training.seed=7\n"))
    graph.edit("people.yaml", start, changed)
    plan = plan_of(graph)
    assert set(plan) == {"train_stage", "curves", *AFTER_PREDICTION}
    assert (plan["train_stage"], plan["predict_people"]) == (2, 2)
    graph.edit("people.yaml", changed, start)
    graph.edit("people.yaml", start.replace(FIRST, SECOND), changed.replace(FIRST, SECOND))
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


def test_another_body_file_draws_trains_and_scores_anew(graph):
    plan = plan_of(graph, "--forcerun", "body")
    assert plan["draw_people"] == 3 and plan["train_stage"] == 2
    assert {"index", "people_constant", *AFTER_PREDICTION} <= set(plan)


def test_without_people_there_is_nothing_to_make(graph):
    tiny = yaml.safe_load((graph.root / "config/tiny.yaml").read_text())
    for section in ("datasets", "stages", "benchmarks"):
        tiny[section] = {k: v for k, v in tiny[section].items() if not k.startswith(("people", "blade"))}
    (graph.root / "trackers.yaml").write_text(yaml.safe_dump(tiny))
    result = graph.snakemake("-n", "blade", "--configfile", "trackers.yaml")
    assert result.returncode != 0 and "error: no benchmark of people is there" in result.stdout + result.stderr


def test_other_held_out_people_train_nothing(graph):
    graph.edit("people.yaml", "    first_seed: 1000\n", "    first_seed: 2000\n")
    plan = plan_of(graph)
    assert "train_stage" not in plan and (plan["draw_people"], plan["predict_people"]) == (1, 2)


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
        ("datasets", "heldout_people", DRAWN | {"body": "smplx"}, "no stage learns from people of the body 'smplx'"),
        ("datasets", "train_people", {"source": "clip_folder", "path": "x"}, "data.dataset=train_people has no people"),
        ("datasets", "train_people", DRAWN | {"body": "smplx"}, "data.people.body=data/bodies/toy.npz, but train_peop"),
        ("datasets", "heldout_people", DRAWN, "heldout_people and train_people share seeds 0:8"),
        ("benchmarks", "heldout_people", {"dataset": "heldout_people", "trackers": ["static"]}, "'static' is no base"),
        ("stages", "constant", None, "stages.constant: this is the name of a row"),
        ("stages", SECOND, {"overrides": ["init_from=lbm", *SMALL]}, "init_from=lbm is not under stages:"),
    ],
)
def test_mistakes_are_one_line(section, name, value, message):
    config = copy.deepcopy(CONFIG)
    config[section][name] = value
    with pytest.raises(ValueError) as error:
        Plan(config)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_trackers_and_people_share_a_configuration():
    tiny = yaml.safe_load((Path(__file__).resolve().parents[2] / "config/tiny.yaml").read_text())
    plan = Plan(CONFIG | {key: tiny[key] | CONFIG[key] for key in ("datasets", "stages", "benchmarks")})
    assert {FIRST, SECOND}.isdisjoint(plan.trackers.trained) and "lbm" in plan.trackers.trained
    assert [benchmark.name for benchmark in plan.tracking_benchmarks] == ["tiny_heldout"]
    outputs = [output for step in plan.steps() for output in step.outputs]
    assert "results/heldout_people/constant.people.json" in outputs and "results/blade.html" in outputs
    assert not any("heldout_people/static" in output or f"results/tiny_heldout/{FIRST}" in output for output in outputs)


def test_a_stage_that_draws_people_before_panoramas_waits_for_them():
    config, behind = copy.deepcopy(CONFIG), "data/panoramas/open.npz"
    config["datasets"]["train_people"] |= {"overrides": {"background": "panorama"}}
    Plan(config)  # the packed ones have their backgrounds
    for stage in (FIRST, SECOND):
        config["stages"][stage]["overrides"].append("data.people.endless=true")
    with pytest.raises(ValueError, match=rf"stages\.{FIRST}: .* is {behind}; set data\.people\.panoramas={behind}"):
        Plan(config)
    for stage in (FIRST, SECOND):
        config["stages"][stage]["overrides"].append(f"data.people.panoramas={behind}")
    steps = [step.rule for step in Plan(config).steps()]
    assert steps.index("panoramas") < steps.index("train_stage")
    config["datasets"]["train_people"].pop("overrides")
    with pytest.raises(ValueError, match=r"is none; set data\.people\.panoramas=null"):
        Plan(config)


def test_a_stage_draws_no_people_that_blender_renders():
    config = copy.deepcopy(CONFIG)
    config["datasets"]["train_people"] |= {"overrides": {"renderer": "cycles"}}
    rules = [step.rule for step in Plan(config).steps()]
    assert rules.index("render_environment") < rules.index("draw_people") and "render_assets" not in rules
    config["stages"][FIRST]["overrides"].append("data.people.endless=true")
    with pytest.raises(ValueError, match=rf"stages\.{FIRST}: Blender renders the people of train_people"):
        Plan(config)


def test_the_guides_scale_is_planned_through_slurm(made):
    """8 and 6 nodes of 8 GPUs, one after the other, and the three benchmarks by the guide's names."""
    config = yaml.safe_load((made.root / "config/blade_paper.yaml").read_text())
    given = [Path(config["bodies"]["smplx"]["path"]), *(Path(one["path"]) for one in config["datasets"].values())]
    for path in (made.root / path for path in given):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("given\n") if path.suffix else path.mkdir()
    words = ("blade", "-n", "-p", "--profile", "profiles/slurm", "--configfile", "config/blade_paper.yaml")
    result = made.snakemake(*words)
    assert result.returncode == 0, result.stdout + result.stderr
    told = result.stdout + result.stderr
    launches = re.findall(r"workflow.torchrun (.*?) -- -m trainer.launch stage=(\w+)", told)
    assert launches == [
        ("--nodes 8 --processes-per-node 8 --cpus-per-node 64", FIRST),
        ("--nodes 6 --processes-per-node 8 --cpus-per-node 64", SECOND),
    ]
    assert "paths.init_weights=results/blade_depthnet/weights.safetensors" in told
    counts = dict(re.findall(r"^(\w+) +(\d+)$", told, re.M))
    assert (counts["pack"], counts["predict_people"], counts["people_table"]) == ("7", "6", "3")
    for name in ("spec_mtp_p3", "pdhuman_p5", "humman_p3"):
        assert f"results/{name}/table.md" in told


def test_the_hours_preset_learns_from_the_same_people_for_longer():
    folder = Path(__file__).resolve().parents[2] / "config"
    default, hour = (yaml.safe_load((folder / name).read_text()) for name in ("config.yaml", "blade_hour.yaml"))
    assert hour["bodies"] == default["bodies"]
    more, *rest = (hour["datasets"][name] for name in ("people_more", "people_validation", "people_heldout"))
    assert rest == [default["datasets"][name] for name in ("people_validation", "people_heldout")]
    assert more == default["datasets"]["people_small"] | {"num_clips": 1024}
    assert hour["benchmarks"]["people_heldout"] == default["benchmarks"]["people_heldout"]
    for stage in (FIRST, SECOND):
        overrides = (one["stages"][stage]["overrides"] for one in (default, hour))
        (steps,), (longer,) = ([int(w.split("=")[1]) for w in words if "num_steps=" in w] for words in overrides)
        assert longer >= 3 * steps
    outputs = [output for step in Plan(hour).steps() for output in step.outputs]
    assert "results/blade.html" in outputs and f"results/{SECOND}/weights.safetensors" in outputs
