"""Dry runs of the real graph: what a change makes stale, and which mistakes stop it before anything runs.

All products are put there as small files and entered into Snakemake's books by `--touch`: the graph, its parameters
and its book-keeping are the real ones, and nothing is rendered or trained.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.workflow.copies import COPIED, copy_repository, environment_of
from workflow.plan import Plan

AFTER_SCORE = {"score", "table", "report_page"}
AFTER_TRAINING = {"train_stage", "curves", "predict", *AFTER_SCORE}


@dataclass
class Graph:
    """A copy of the repository in which Snakemake runs."""

    root: Path

    def snakemake(self, *words: str) -> subprocess.CompletedProcess:
        """Run Snakemake on the tiny configuration, in the copy, with the copy's code."""
        return subprocess.run(
            [sys.executable, "-m", "snakemake", *words],
            cwd=self.root,
            env=environment_of(self.root),
            capture_output=True,
            text=True,
            timeout=300,
        )

    def plan(self, *words: str) -> dict[str, int]:
        """How many jobs of each rule a dry run of everything would run."""
        result = self.snakemake("-n", "all", "evaluate", "--configfile", "config/tiny.yaml", *words)
        assert result.returncode == 0, result.stdout + result.stderr
        if "Nothing to be done" in result.stdout + result.stderr:
            return {}
        table = re.search(r"Job stats:\n.*\n-.*\n((?:\w+ +\d+\n)+)", result.stdout + result.stderr).group(1)
        counts = {rule: int(count) for rule, count in (line.split() for line in table.splitlines())}
        return {rule: count for rule, count in counts.items() if rule not in ("all", "evaluate", "total")}

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace one text in a file of the copy."""
        path = self.root / name
        text = path.read_text()
        assert text.count(old) == 1, (name, old)
        path.write_text(text.replace(old, new))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A copy in which everything is made."""
    root = copy_repository(tmp_path_factory.mktemp("graph") / "made")
    plan = Plan(yaml.safe_load((root / "config/tiny.yaml").read_text()))
    for output in (root / output for step in plan.steps() for output in step.outputs):
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text("made\n")
    touched = Graph(root).snakemake(
        "--touch", "--forceall", "all", "evaluate", "--configfile", "config/tiny.yaml", "--quiet"
    )
    assert touched.returncode == 0, touched.stderr
    return root


@pytest.fixture
def graph(made: Path) -> Iterator[Graph]:
    """The made graph; what a test edits is put back."""
    files = [path for name in COPIED for path in [made / name, *(made / name).rglob("*")] if path.is_file()]
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
    yield Graph(made)
    for path, (content, time_ns) in before.items():
        if path.stat().st_mtime_ns != time_ns:
            path.write_bytes(content)
            os.utime(path, ns=(time_ns, time_ns))


def test_nothing_to_do_after_everything_was_made(graph):
    assert graph.plan() == {}


def test_a_touch_a_comment_and_a_docstring_make_nothing_stale(graph):
    (graph.root / "eval/tapvid.py").touch()
    with (graph.root / "eval/tapvid.py").open("a") as file:
        file.write("\n# a comment\n")
    graph.edit("trainer/optim.py", "The optimiser and its learning rate as", "The optimiser, and")
    assert graph.plan() == {}


def test_an_edited_threshold_scores_again_and_nothing_else(graph):
    graph.edit("eval/tapvid.py", "THRESHOLDS = (1, 2, 4, 8, 16)", "THRESHOLDS = (1, 2, 4, 8, 17)")
    plan = graph.plan()
    assert set(plan) == AFTER_SCORE | {"blade_page"}  # both pages are of one code
    assert plan["score"] == 24  # (two baselines; of three stages untrained and trained) x (three benchmarks and modes)


def test_an_edit_of_lucas_kanade_tracks_again_and_trains_nothing(graph):
    graph.edit("eval/lucas_kanade.py", "MAX_ERROR_PX = 2.0", "MAX_ERROR_PX = 1.0")
    plan = graph.plan()
    assert set(plan) == {"baseline", *AFTER_SCORE}
    assert plan["baseline"] == 6  # both baselines; three benchmarks and modes


def test_other_metrics_score_again_and_predict_nothing(graph):
    graph.edit("config/tiny.yaml", "    metrics: [redetection, survival, accuracy]\n", "    metrics: [survival]\n")
    plan = graph.plan()
    assert set(plan) == AFTER_SCORE
    assert plan["score"] == 16  # of one benchmark with two modes


def test_queries_one_by_one_ask_again_only_who_tracks_them_together(graph):
    dataset = "    dataset: tapvid_davis\n"
    graph.edit("config/tiny.yaml", dataset, f"{dataset}    single_point: true\n")
    plan = graph.plan()
    assert set(plan) == {"predict", *AFTER_SCORE}
    assert plan["predict"] == 4  # the two stages of CoTracker3, untrained and trained
    commands = graph.snakemake("-n", "-p", "all", "evaluate", "--configfile", "config/tiny.yaml").stdout
    commands = [line for line in commands.splitlines() if "trainer.predict --weights" in line]
    assert len(commands) == 4
    assert all(" --single-point " in line and "/cotracker3_" in line for line in commands)


def test_predictions_from_elsewhere_are_adopted_scored_and_put_into_the_table(graph):
    given = graph.root / "mine.npz"
    given.write_text("predictions")
    dataset = "    dataset: tapvid_davis\n"
    graph.edit("config/tiny.yaml", dataset, f"{dataset}    predictions: {{mine: mine.npz}}\n")
    try:
        # The page's picture of the graph has one rule more.
        wanted = ("adopt", "score", "table", "report_page", "rulegraph")
        assert graph.plan() == dict.fromkeys(wanted, 1)
    finally:
        given.unlink()
    result = graph.snakemake("-n", "evaluate", "--configfile", "config/tiny.yaml")
    assert result.returncode != 0
    told = "benchmarks.tapvid_davis.predictions.mine: there is no file mine.npz; answer the queries of"
    assert told in result.stdout + result.stderr


def test_a_changed_learning_rate_trains_that_stage_and_what_follows(graph):
    graph.edit("config/tiny.yaml", "- model=lbm_small", "- model=lbm_small\n      - optimizer.learning_rate=4.0e-4")
    plan = graph.plan()
    assert set(plan) == AFTER_TRAINING
    assert (plan["train_stage"], plan["predict"]) == (1, 6)  # untrained, trained; three benchmarks and modes


def test_an_edit_of_a_model_trains_its_own_stages_and_no_other(graph):
    graph.edit("trainer/models/cotracker3/update_former.py", "MLP_RATIO = 4", "MLP_RATIO = 3")
    plan = graph.plan()
    assert set(plan) == AFTER_TRAINING
    assert (plan["train_stage"], plan["predict"]) == (2, 12)


def test_a_stage_that_starts_from_another_is_trained_after_it(graph):
    graph.edit("config/tiny.yaml", "data.min_frames=4", "data.min_frames=5")
    assert graph.plan()["train_stage"] == 2
    graph.edit("config/tiny.yaml", "- init_from=cotracker3_offline", "- init_from=null")
    assert graph.plan()["train_stage"] == 2
    graph.edit("config/tiny.yaml", "data.min_frames=5", "data.min_frames=4")
    assert graph.plan()["train_stage"] == 1


def test_a_changed_optimizer_trains_all_stages_that_it_is_part_of(graph):
    graph.edit("config/optimizer/adamw.yaml", "learning_rate: 5.0e-4", "learning_rate: 4.0e-4")
    plan = graph.plan()
    assert set(plan) == AFTER_TRAINING
    assert plan["train_stage"] == 1  # the others have adamw_onecycle


def test_how_often_a_line_is_logged_trains_nothing(graph):
    graph.edit("config/tiny.yaml", "logging.log_every=1", "logging.log_every=3")
    assert graph.plan() == {}


def test_two_more_seeds_render_one_shard_and_what_follows(graph):
    graph.edit("config/tiny.yaml", "num_clips: 3", "num_clips: 5")
    plan = graph.plan()
    # Shard 1 was half full: its new clip is rendered, the old one is kept; shard 2 is new.
    assert plan["render_shard"] == 2
    assert plan["pack"] == 2
    assert plan["index"] == 1
    assert plan["annotate_shard"] == 2
    assert plan["dataset_page"] == 1  # of the data set that grew
    assert set(plan) == {"render_shard", "annotate_shard", "pack", "index", "dataset_page", *AFTER_TRAINING}


def test_an_edited_statistic_makes_the_pages_of_rendered_data_sets_and_nothing_else(graph):
    graph.edit("eval/motion.py", "return 1.0 - visible.mean(axis=0)", "return 1 - visible.mean(axis=0)")
    assert graph.plan() == {"dataset_page": 2}
    result = graph.snakemake("-n", "report", "--configfile", "config/tiny.yaml")
    assert {"results/data/tiny.html", "results/data/tiny_heldout.html"} <= set(
        re.findall(r"[\w/]+\.html", result.stdout)
    )
    assert "tapvid_davis.html" not in result.stdout


def test_a_template_makes_its_own_page_anew(graph):
    graph.edit("eval/templates/dataset.html", "<h2>Warnings</h2>", "<h2>Look here</h2>")
    assert graph.plan() == {"dataset_page": 2}
    graph.edit("eval/templates/report.html", "<h2>By video</h2>", "<h2>Videos</h2>")
    assert graph.plan() == {"dataset_page": 2, "report_page": 1, "blade_page": 1}


def test_an_edit_of_the_annotator_annotates_and_renders_nothing(graph):
    graph.edit("generation/geometry.py", "import numpy as np", "import numpy as np\n\nUNUSED = 1")
    assert graph.plan() == {}
    graph.edit("generation/annotate.py", "DEPTH_TOLERANCE = 0.99", "DEPTH_TOLERANCE = 0.98")
    plan = graph.plan()
    assert plan["annotate_shard"] == plan["pack"] == 3
    assert "render_shard" not in plan


def test_another_number_of_tracks_annotates_and_renders_nothing(graph):
    graph.edit("config/tiny.yaml", "num_tracks: 256", "num_tracks: 300")
    plan = graph.plan()
    assert plan["annotate_shard"] == 3
    assert "render_shard" not in plan


def test_forced_packing_renders_and_annotates_nothing(graph):
    plan = graph.plan("--forcerun", "pack")
    assert plan["pack"] == 4  # three shards of rendered clips, one of DAVIS
    assert not {"render_shard", "annotate_shard"} & set(plan)


def test_a_deleted_shard_is_packed_alone(graph):
    shard = graph.root / "data/shards/tiny/shard-000001.tar"
    shard.rename(shard.with_suffix(".away"))
    try:
        plan = graph.plan()
        assert plan["pack"] == 1
        assert not {"render_shard", "annotate_shard"} & set(plan)
    finally:
        shard.with_suffix(".away").rename(shard)


def test_the_environment_renders_everything_anew(graph):
    with (graph.root / "workflow/envs/render.txt").open("a") as file:
        file.write("# another version\n")
    plan = graph.plan()
    assert plan["render_environment"] == plan["render_assets"] == 1
    assert plan["render_shard"] == 3


def test_a_mistake_in_the_configuration_is_one_clear_line(graph):
    graph.edit("config/tiny.yaml", "num_clips: 3", "num_clip: 3")
    result = graph.snakemake("-n", "all", "--configfile", "config/tiny.yaml")
    assert result.returncode != 0
    error = [line for line in (result.stdout + result.stderr).splitlines() if "Using workflow specific" not in line]
    assert len(error) == 1
    assert error[0].endswith("tiny.yaml: unknown key 'datasets.tiny.num_clip', did you mean 'num_clips'?")


def test_a_target_that_does_not_exist_is_named(graph):
    result = graph.snakemake("-n", "results/lbn/weights.safetensors", "--configfile", "config/tiny.yaml")
    assert result.returncode != 0
    assert "results/lbn/weights.safetensors" in result.stdout + result.stderr


def test_a_file_put_there_by_hand_is_an_input_and_never_overwritten(graph):
    """Without our provenance beside it the file is a person's."""
    pickle = graph.root / "data/downloads/tapvid_davis.pkl"
    assert "fetch_tapvid_davis" not in graph.plan()
    result = graph.snakemake("-n", "--list-rules", "--configfile", "config/tiny.yaml")
    assert "fetch_" not in result.stdout
    pickle.rename(pickle.with_suffix(".away"))
    try:
        result = graph.snakemake("-n", "--list-rules", "--configfile", "config/tiny.yaml")
        assert "fetch_tapvid_davis" in result.stdout
    finally:
        pickle.with_suffix(".away").rename(pickle)


def test_lost_books_are_seen_by_verify(graph, tmp_path):
    """Without .snakemake, Snakemake takes any file for what it should be; the sidecars (none here) say otherwise."""
    books = graph.root / ".snakemake"
    books.rename(tmp_path / "books")
    try:
        assert graph.plan() == {}
        result = graph.snakemake("verify", "--configfile", "config/tiny.yaml")
        assert result.returncode != 0
        assert "results/lbm/weights.safetensors: has no provenance" in result.stdout
    finally:
        shutil.rmtree(books)
        (tmp_path / "books").rename(books)


def test_the_guides_scale_is_planned_by_shards(graph):
    result = graph.snakemake("-n", "train", "--quiet", "rules", "--configfile", "config/paper.yaml")
    assert result.returncode == 0, result.stderr
    counts = dict(line.split() for line in re.findall(r"^\w+ +\d+$", result.stdout + result.stderr, re.M))
    assert counts["render_shard"] == str(86 + 188)  # 11,000 clips, 128 a shard; 6,000 of 120 frames, 32 a shard
    assert counts["train_stage"] == "3"


def test_badja_is_packed_tracked_scored_and_tabled_by_one_command(graph):
    (graph.root / "animals").mkdir()
    words = ("-n", "badja", "--quiet", "rules", "--configfile", "config/tiny.yaml")
    result = graph.snakemake(*words, "--config", "badja_root=animals")
    assert result.returncode == 0, result.stderr
    counts = dict(line.split() for line in re.findall(r"^\w+ +\d+$", result.stdout + result.stderr, re.M))
    plan = Plan(yaml.safe_load((graph.root / "config/tiny.yaml").read_text()))
    num_trackers = len(plan.trackers.rows("tiny_heldout"))
    assert counts["score"] == str(num_trackers)
    assert (counts["pack"], counts["index"], counts["table"]) == ("1", "1", "1")
    assert not {"train_stage", "render_shard"} & set(counts)
    refused = graph.snakemake(*words)
    assert refused.returncode != 0
    assert "snakemake badja --config badja_root=FOLDER" in refused.stdout + refused.stderr
