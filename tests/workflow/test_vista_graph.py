"""Dry runs of the graph of driving worlds: what a change makes stale, and which rows they have."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.workflow.copies import copy_repository
from tests.workflow.test_graph import Graph
from workflow.plan import Plan

STAGES = ("vista_phase1", "vista_phase2_stage1", "vista_phase2_stage2")
AFTER_SCORE = {"score_drives", "drives_table", "vista_page"}
AFTER_PREDICTION = {"predict_drives", "draw_drives", *AFTER_SCORE}
DRIVES = {"source": "render", "recipe": "driving", "clips_per_shard": 4, "num_clips": 8}
HELDOUT = DRIVES | {"split": "test", "num_clips": 4, "first_seed": 1000}
SMALL = [
    "model=vista_small", "data=driving_small", "data.dataset=train_drives",
    "data.driving.num_frames=5", "data.driving.frame_step=1", "validation.dataset=null", "training.keep=last",
    "training.num_epochs=null", "training.num_steps=4", "cluster.gpus_per_process=0",
]  # fmt: skip
SIZES = ([24, 32], [24, 32], [36, 48])
CONFIG = {
    "datasets": {"train_drives": DRIVES, "heldout_drives": HELDOUT},
    "stages": {
        name: {
            "processes": 1,
            "overrides": [*SMALL, f"data.driving.height={height}", f"data.driving.width={width}"],
        }
        for name, (height, width) in zip(STAGES, SIZES, strict=True)
    },
    "benchmarks": {"heldout_drives": {"dataset": "heldout_drives", "rollouts": {"steps": 5, "samples": 2}}},
}
COPIES = ["copy-5x24x32x1", "copy-5x36x48x1"]
TARGETS = ("vista", "--configfile", "drives.yaml")
PUBLISHED = "data/svd/svd_xt.safetensors"


def prepare(to: Path) -> Path:
    """A copy of the repository with the configuration, and the file that is the user's."""
    root = copy_repository(to)
    (root / "drives.yaml").write_text(yaml.safe_dump(CONFIG))
    (root / PUBLISHED).parent.mkdir(parents=True)
    (root / PUBLISHED).write_text("given\n")
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Graph:
    """A copy whose outputs all are there, entered into Snakemake's books."""
    root = prepare(tmp_path_factory.mktemp("graph") / "made")
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
    names = [*made.root.glob("*.yaml"), *made.root.glob("eval/driving/*.py")]
    before = {path: path.read_bytes() for path in names}
    yield made
    for path, content in before.items():
        if path.read_bytes() != content:
            path.write_bytes(content)


def plan_of(graph: Graph, *words: str) -> dict[str, int]:
    """How many jobs of each rule a dry run of the worlds would run."""
    result = graph.snakemake("-n", *TARGETS, *words)
    assert result.returncode == 0, result.stdout + result.stderr
    counts = dict(re.findall(r"^(\w+) +(\d+)$", result.stdout + result.stderr, re.M))
    return {rule: int(count) for rule, count in counts.items() if rule not in ("vista", "total")}


def test_from_nothing_everything_is_planned_from_drives_to_the_page(tmp_path):
    result = Graph(prepare(tmp_path / "new")).snakemake("-n", "-p", *TARGETS)
    told = result.stdout + result.stderr
    assert result.returncode == 0, told
    counts = dict(re.findall(r"^(\w+) +(\d+)$", told, re.M))
    assert (counts["train_stage"], counts["predict_drives"], counts["drives_copy"]) == ("3", "3", "2")
    assert (counts["score_drives"], counts["draw_drives"], counts["drives_table"]) == ("5", "3", "1")
    assert "--num-frames 5 --height 36 --width 48 --frame-step 1 --num-given 1 " in told
    assert "--samples 2 --steps 5 --threads 1 --out results/heldout_drives/vista_phase1.drives.rollouts.npz" in told
    assert "results/vista.html" in told


def test_nothing_to_do_after_everything_was_made(graph):
    assert plan_of(graph) == {}


def test_an_edited_metric_scores_again_and_rolls_out_and_draws_nothing(graph):
    graph.edit("eval/driving/metrics.py", "LEAST_ERROR = 1 / 12", "LEAST_ERROR = 1 / 13")
    plan = plan_of(graph)
    assert set(plan) == AFTER_SCORE and plan["score_drives"] == 5


def test_an_edited_drawing_draws_again_and_scores_nothing(graph):
    graph.edit("eval/driving/drawing.py", "LEAST_SIDE = 96", "LEAST_SIDE = 64")
    assert set(plan_of(graph)) == {"draw_drives", "vista_page"}


def test_other_rollouts_are_made_without_training(graph):
    graph.edit("drives.yaml", "      steps: 5\n", "      steps: 6\n")
    plan = plan_of(graph)
    assert set(plan) == AFTER_PREDICTION and (plan["predict_drives"], plan["score_drives"]) == (3, 3)


def test_more_windows_are_made_and_copied_without_training(graph):
    graph.edit("drives.yaml", "      steps: 5\n", "      steps: 5\n      windows: 3\n")
    plan = plan_of(graph)
    assert set(plan) == {*AFTER_PREDICTION, "drives_copy"} and (plan["predict_drives"], plan["drives_copy"]) == (3, 2)
    told = graph.snakemake("-n", "-p", *TARGETS).stdout
    assert "--num-given 1 --windows 3 --out results/heldout_drives/copy-5x24x32x1.drives.rollouts.npz" in told
    assert "--samples 2 --steps 5 --windows 3 --threads 1" in told


def test_other_held_out_drives_train_nothing(graph):
    graph.edit("drives.yaml", "    first_seed: 1000\n", "    first_seed: 2000\n")
    plan = plan_of(graph)
    assert "train_stage" not in plan and (plan["predict_drives"], plan["drives_copy"]) == (3, 2)


def test_a_changed_last_stage_rolls_out_itself_alone(graph):
    start = "    - data.driving.width=48\n"
    graph.edit("drives.yaml", start, f"{start}    - training.seed=7\n")
    plan = plan_of(graph)
    assert (plan["train_stage"], plan["predict_drives"], plan["score_drives"]) == (1, 1, 1)
    assert "drives_copy" not in plan


def test_a_changed_published_file_trains_again_from_its_first_stage_on(graph):
    path = graph.root / PUBLISHED
    path.write_text("another\n")
    assert plan_of(graph)["train_stage"] == 3
    path.write_text("given\n")
    assert plan_of(graph) == {}


def test_a_missing_published_file_is_said_before_anything_is_made(graph):
    path = graph.root / PUBLISHED
    away = path.rename(path.with_suffix(".away"))
    result = graph.snakemake("-n", *TARGETS)
    away.rename(path)
    told = result.stdout + result.stderr
    assert result.returncode != 0 and "Traceback" not in told
    assert f"error: stages.{STAGES[0]}: model.published={PUBLISHED} is not there; download svd_xt.safetensors" in told
    assert Plan(CONFIG).driving.published == {STAGES[0]: PUBLISHED}, "later stages begin with the one before"


def test_rows_are_copies_of_each_size_and_the_stages():
    plan = Plan(CONFIG)
    assert plan.driving.rows("heldout_drives") == [*COPIES, *STAGES]
    assert plan.trackers.trained == [] and plan.tracking_benchmarks == []
    for asked, rows in (
        (["copy"], COPIES),
        ([STAGES[2]], [STAGES[2]]),
        (["copy", STAGES[0]], [COPIES[0], STAGES[0]]),
    ):
        few = copy.deepcopy(CONFIG)
        few["benchmarks"]["heldout_drives"]["trackers"] = asked
        assert Plan(few).driving.rows("heldout_drives") == rows
        stems = [f"results/heldout_drives/{row}.drives" for row in rows]
        assert Plan(few).driving.files("heldout_drives", "json") == [f"{stem}.json" for stem in stems]
        assert Plan(few).driving.files("heldout_drives", "png") == [f"{s}.png" for s in stems if "copy" not in s]


@pytest.mark.parametrize(
    ("section", "name", "value", "message"),
    [
        ("benchmarks", "heldout_drives", {"dataset": "heldout_drives", "trackers": ["static"]}, "'static' is no base"),
        ("benchmarks", "heldout_drives", {"dataset": "heldout_drives", "rollouts": {"given": 5}}, "rollouts.given=5"),
        ("benchmarks", "heldout_drives", {"dataset": "heldout_drives", "rollouts": {"windows": 99}},
         r"heldout_drives: rollouts.windows=99 of stages.vista_phase1, each over 5 frames, and clips have 40"),
        ("benchmarks", "heldout_drives", {"dataset": "heldout_drives", "rollouts": {"step": 5}},
         "unknown key 'benchmarks.heldout_drives.rollouts.step', did you mean 'steps'?"),
        ("stages", "copy", None, "stages.copy: this is the name of a row"),
        ("datasets", "heldout_drives", DRIVES, "heldout_drives and train_drives share seeds 0:8"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(section, name, value, message):
    config = copy.deepcopy(CONFIG)
    config[section][name] = value
    with pytest.raises(ValueError) as error:
        Plan(config)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_benchmark_without_a_world_is_a_mistake():
    tiny = yaml.safe_load((Path(__file__).resolve().parents[2] / "config/tiny.yaml").read_text())
    config = tiny | {key: tiny[key] | CONFIG[key] for key in ("datasets", "benchmarks")}
    with pytest.raises(ValueError, match=r"benchmarks\.heldout_drives: no stage makes drives"):
        Plan(config)


def test_trackers_and_worlds_share_a_configuration():
    tiny = yaml.safe_load((Path(__file__).resolve().parents[2] / "config/tiny.yaml").read_text())
    plan = Plan(tiny | {key: tiny[key] | CONFIG[key] for key in ("datasets", "stages", "benchmarks")})
    assert set(STAGES).isdisjoint(plan.trackers.trained) and "lbm" in plan.trackers.trained
    assert [benchmark.name for benchmark in plan.driving_benchmarks] == ["heldout_drives"]
    assert "heldout_drives" not in [benchmark.name for benchmark in plan.tracking_benchmarks]
    outputs = [output for step in plan.steps() for output in step.outputs]
    assert "results/heldout_drives/copy-5x24x32x1.drives.json" in outputs and "results/vista.html" in outputs
    assert not any(f"results/tiny_heldout/{STAGES[0]}" in output for output in outputs)


def test_the_benchmark_of_the_documentation_is_a_plan():
    root = Path(__file__).parents[2]
    _, driving = re.findall(r"```yaml\n(.*?)```", (root / "docs/how-to/benchmarks.md").read_text(), re.DOTALL)
    plan = Plan(yaml.safe_load((root / "config/config.yaml").read_text()) | yaml.safe_load(driving))
    options = "--num-clips 64 --samples 5 --steps 12 --windows 3"
    assert plan.driving.rollout_words({"drives": "driving_heldout"}) == options
