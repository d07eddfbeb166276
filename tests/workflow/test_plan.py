"""What a configuration asks for, and the one line that a mistake in it gives."""

import copy
import os
import re
from pathlib import Path

import pytest
import yaml

from eval import baselines as eval_baselines
from trainer.models import TASKS, build
from workflow import checks
from workflow.closing import closing_words
from workflow.driving import MODELS as MODELS_OF_DRIVING
from workflow.names import index_path
from workflow.people import MODELS as MODELS_OF_PEOPLE
from workflow.plan import Plan
from workflow.settings import BASELINES
from workflow.trackers import JOINT_MODELS

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("data.dataset=tiny", "data.num_frames=6", "training.num_epochs=null", "training.num_steps=4")
"""What makes the stage lbm fit the few clips of config/tiny.yaml."""


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config/tiny.yaml").read_text())


def put(config, dotted, value):
    """The configuration with one value set; None removes the key."""
    changed = copy.deepcopy(config)
    *path, last = dotted.split(".")
    inner = changed
    for key in path:
        inner = inner[key]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return changed


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("datasets.tiny.num_clip", 3, "unknown key 'datasets.tiny.num_clip', did you mean 'num_clips'?"),
        ("datasets.tiny.num_clips", 0, "datasets.tiny.num_clips"),
        ("datasets.tiny.source", "rendr", "datasets.tiny.source='rendr': did you mean 'render'?"),
        ("datasets.tiny.overrides", {"resolutoin": 64}, "datasets.tiny.overrides: unknown key 'resolutoin', did you"),
        ("datasets.tiny.overrides", {"resolution": "big"}, "datasets.tiny.overrides: resolution=big: expected int"),
        ("datasets.tiny.tracks", {"num_track": 9}, "datasets.tiny.tracks: unknown key 'num_track', did you mean"),
        ("datasets.tiny.overrides", {"num_tracks": 9}, "datasets.tiny.overrides: unknown key 'num_tracks'"),
        ("datasets.tiny.recipe", "movi_g", "datasets.tiny.recipe='movi_g': did you mean"),
        ("datasets.tiny.assets", "gso", "datasets.tiny.assets='gso'"),
        ("datasets.tiny_heldout", {"source": "render", "first_seed": 2, "num_clips": 4, "clips_per_shard": 2},
         "benchmarks.tiny_heldout scores on scenes that stages.lbm trains on: tiny_heldout and tiny share seeds 2:3"),
        ("datasets.tapvid_davis.path", None, "missing key 'datasets.tapvid_davis.path'"),
        ("datasets.a/b", {"source": "tapvid", "path": "x"}, "'a/b' is no name here"),
        ("datasets.set", {"source": "lbm_folder", "path": "x", "member": "y"}, "unknown key 'datasets.set.member'"),
        ("datasets.set", {"source": "point_odyssey", "path": "x", "url": "y"}, "unknown key 'datasets.set.url'"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "validation.dataset=tapvid_davs"],
         "stages.lbm: validation.dataset=tapvid_davs is not under datasets: (null turns validation off), did you mean"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "validation.dataset=tiny"],
         "validation of stages.lbm scores on scenes that stages.lbm trains on: tiny and tiny share seeds 0:3"),
        ("stages.lbn", {}, "did you mean 'lbm'?"),
        ("stages.lbm.overrides", ["data.dataset=tinny"], "data.dataset=tinny is not under datasets:, did you mean"),
        ("stages.lbm.overrides", ["data.num_frame=6"], "unknown key 'data.num_frame', did you mean 'data.num_frames'?"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "model.name=lbn"],
         "stage lbm trains models with name=\"lbm\", this one has model.name=\"lbn\""),
        ("stages.lbm.overrides", ["paths.run_root=x"], "'paths.run_root=x' is the graph's to set; remove it"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "init_from=blade"], "init_from=blade is not under stages:"),
        ("benchmarks.tiny_heldout.dataset", "tiny_helout", "no data set 'tiny_helout', did you mean 'tiny_heldout'?"),
        ("benchmarks.tiny_heldout.trackers", ["static", "lucas_kanada"],
         "benchmarks.tiny_heldout.trackers: 'lucas_kanada' is no baseline and no stage, did you mean 'lucas_kanade'?"),
        ("benchmarks.tiny_heldout.predictions", {"lbm-untrained": "{mode}.npz"},
         "benchmarks.tiny_heldout.predictions.lbm-untrained: this is the name of a tracker that runs here; rename it"),
        ("benchmarks.tiny_heldout.predictions", {"mine": "a/mine.npz"},
         "one file for the modes first and strided; write {mode} in its path, for example a/mine.{mode}.npz"),
        ("benchmarks.tiny_heldout.predictions", {"mine": "mine.pkl"}, "benchmarks.tiny_heldout.predictions.mine: "),
        ("stages.lucas_kanade", {}, "stages.lucas_kanade: this is the name of a row that needs no training"),
        ("benchmarks.lbm", {"dataset": "tiny"}, "'lbm' names a benchmark and a stage"),
        ("datasets.tiny", {"source": "render", "num_clips": 1_000_001, "clips_per_shard": 1},
         "1000001 shards, and a shard is a job; with clips_per_shard=101 they are 10000"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "validation.dataset=null", "data.num_frames=24",
                                  "training.num_epochs=null", "training.num_steps=4"],
         "stages.lbm: data.num_frames=24 of clips of 6 frames (tiny); train with data.num_frames=6 or make longer"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "validation.dataset=null", "data.num_frames=6",
                                  "training.accumulation_steps=2"],
         "an epoch of 3 clips (tiny) has no whole batch of 16 (batch_size 4 x accumulation_steps 2 x 2 processes)"),
        ("stages.cotracker3_offline.overrides", ["data.dataset=tiny", "data=cotracker3_small", "data.num_frames=6",
          "data.min_frames=4", "model=cotracker3_offline_small", "validation.dataset=null", "init_from=lbm"],
         "stages.cotracker3_offline: init_from=lbm gives weights of lbm, this one is cotracker3"),
        ("stages.cotracker3_offline.overrides", ["data=cotracker3_small", "data.dataset=tiny", "data.num_frames=6",
          "data.min_frames=4", "model=cotracker3_offline_small", "validation.dataset=null",
          "init_from=cotracker3_online"],
         "stages: cotracker3_offline <- cotracker3_online <- cotracker3_offline: each waits for the other"),
        ("stages.lbm.overrides", ["data.dataset=tiny", "data.num_frames=6", "validation.dataset=null",
          "training.num_epochs=null", "training.num_steps=4", "init_from=lbm"],
         "stages: lbm <- lbm: each waits for the other"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_it(config, dotted, value, message):
    with pytest.raises(ValueError) as error:
        Plan(put(config, dotted, value))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_deepspeed_is_asked_for_and_its_op_is_built_where_a_stage_has_several_processes(config, monkeypatch):
    """It decides no weights; a process alone shares nothing."""
    words = [*config["stages"]["lbm"]["overrides"], "training.strategy=deepspeed_zero2"]
    asked, op = put(config, "stages.lbm.overrides", words), "data/deepspeed_op/op.json"
    alone = put(asked, "stages.lbm.processes", 1)
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"stages\.lbm: .* not installed; pip install 'frameline\[deepspeed\]'"):
        Plan(asked)
    assert Plan(alone).deepspeed_stages == Plan(config).deepspeed_stages == []
    monkeypatch.setattr(checks, "find_spec", lambda name: name)
    plan, without = Plan(asked), Plan(config)
    assert plan.deepspeed_stages == ["lbm"] and [step.rule for step in plan.steps() if op in step.outputs]
    assert not [step for each in (without, Plan(alone)) for step in each.steps() if op in step.outputs]
    assert plan.facts("train_stage", {"stage": "lbm"}) == without.facts("train_stage", {"stage": "lbm"})


@pytest.mark.parametrize("name", ["config", "paper", "tiny"])
def test_each_configuration_in_the_repository_is_a_plan(name):
    plan = Plan(yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()))
    outputs = [output for step in plan.steps() for output in step.outputs]
    assert len(outputs) == len(set(outputs))
    assert all(plan.facts(step.rule, step.wildcards) is not None for step in plan.steps())


def test_the_default_tests_on_objects_and_lights_that_it_never_trained_on():
    plan = Plan(yaml.safe_load((ROOT / "config/config.yaml").read_text()))
    for benchmark in plan.benchmarks.values():
        dataset = plan.datasets[benchmark.dataset]
        assert not dataset.is_rendered or dataset.split == "test"
    for recipe in plan.recipes.values():
        assert plan.datasets[recipe["data"]["dataset"]].split == "train"


def test_the_graph_and_the_evaluation_know_the_same_baselines():
    assert tuple(eval_baselines.BASELINES) == BASELINES


def test_the_graph_knows_which_models_track_queries_together():
    others = {*MODELS_OF_PEOPLE, *MODELS_OF_DRIVING}
    trackers = TASKS.keys() - others
    assert {name for name in trackers if build(name).is_joint} == set(JOINT_MODELS)
    assert others <= TASKS.keys()


def test_rows_are_baselines_stages_with_their_untrained_weights_and_predictions_from_elsewhere(config):
    rows = Plan(config).trackers.rows("tiny_heldout")
    assert rows[:4] == ["static", "lucas_kanade", "lbm-untrained", "lbm"]
    assert len(rows) == 2 + 2 * len([stage for stage in config["stages"] if not stage.startswith("blade")])
    config = put(config, "benchmarks.tapvid_davis.trackers", ["lbm", "lucas_kanade"])
    config = put(config, "benchmarks.tiny_heldout.predictions", {"mine": "given/mine.{mode}.npz"})
    plan = Plan(config)
    assert plan.trackers.rows("tapvid_davis") == ["lucas_kanade", "lbm-untrained", "lbm"]
    assert plan.trackers.rows("tiny_heldout") == [*rows, "mine"]
    assert "results/tiny_heldout/mine.strided.256.json" in plan.files_of_benchmark("tiny_heldout", "json")
    assert plan.benchmarks["tiny_heldout"].path_of("mine", "strided") == "given/mine.strided.npz"
    assert {step.rule for step in plan.steps() if "mine" in step.wildcards.values()} == {"adopt", "score"}


def test_another_resolution_is_in_the_names_of_files_and_has_no_rows_from_elsewhere(config):
    config = put(config, "benchmarks.tiny_heldout.predictions", {"mine": "given/mine.{mode}.npz"})
    plan = Plan(put(config, "benchmarks.tiny_heldout.resolutions", [256, 512]))
    files = plan.files_of_benchmark("tiny_heldout", "json")
    assert {"results/tiny_heldout/lbm.first.256.json", "results/tiny_heldout/lbm.first.512.json"} <= set(files)
    assert (
        "results/tiny_heldout/mine.first.256.json" in files and "results/tiny_heldout/mine.first.512.json" not in files
    )
    made = {output for step in plan.steps() for output in step.outputs}
    assert set(files) <= made
    steps = [step for step in plan.steps() if "results/tiny_heldout/lbm.first.512.predictions.npz" in step.outputs]
    assert [plan.facts(step.rule, step.wildcards)["resolution"] for step in steps] == ["512"]


def test_shards_cover_all_seeds_once(config):
    plan = Plan(put(put(config, "datasets.tiny.num_clips", 11), "datasets.tiny.clips_per_shard", 4))
    dataset = plan.datasets["tiny"]
    assert dataset.shards == ["000000", "000001", "000002"]
    assert [dataset.seeds(shard) for shard in dataset.shards] == ["0:4", "4:8", "8:11"]


def test_more_clips_leave_the_facts_of_full_shards_alone(config):
    few, many = (
        Plan(put(put(config, "datasets.tiny.clips_per_shard", 2), "datasets.tiny.num_clips", n)) for n in (4, 6)
    )
    for shard in few.datasets["tiny"].shards:
        names = {"dataset": "tiny", "shard": shard}
        assert few.facts("render_shard", names) == many.facts("render_shard", names)
        assert few.facts("pack", names) == many.facts("pack", names)
    assert few.facts("index", {"dataset": "tiny"}) != many.facts("index", {"dataset": "tiny"})


def test_a_recipe_is_one_fact_and_logging_and_loader_processes_are_none(config):
    facts = [
        Plan(put(config, "stages.lbm.overrides", [*SMALL, *words])).facts("train_stage", {"stage": "lbm"})
        for words in ([], ["logging.log_every=7"], ["data.num_workers=3", "data.on_error=skip"], ["data.flip=false"])
    ]
    assert facts[0] == facts[1] == facts[2] != facts[3]


def test_validation_is_no_fact_of_the_weights_and_its_data_set_comes_first(config):
    words = [*SMALL, "validation.dataset=tiny_heldout", "validation.best_by=average_jaccard"]
    plain, validated = (
        Plan(put(config, "stages.lbm.overrides", each)) for each in (config["stages"]["lbm"]["overrides"], words)
    )
    assert validated.validation_index("lbm") == ["data/shards/tiny_heldout/index.json"]
    assert plain.validation_index("lbm") == []
    without = Plan(put(config, "stages.lbm.overrides", [*SMALL, "validation.dataset=null"]))
    assert validated.facts("train_stage", {"stage": "lbm"}) == without.facts("train_stage", {"stage": "lbm"})


def test_the_next_command_follows_from_what_is_there(config, tmp_path):
    plan = Plan(config, tmp_path)
    assert closing_words(plan) == "next: snakemake train"
    for path in ("results/lbm/weights.safetensors", "results/lbm/curves.png"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    assert closing_words(plan).splitlines() == [
        "lbm: weights in results/lbm/weights.safetensors, curves in results/lbm/curves.png",
        "next: snakemake evaluate",
    ]


def test_one_system_alone_ends_with_its_own_table_and_page(tmp_path):
    plan = Plan(yaml.safe_load((ROOT / "config/config.yaml").read_text()), tmp_path)
    made = [
        f"results/{stage}/{file}" for stage in plan.driving.stages for file in ("weights.safetensors", "curves.png")
    ]
    for number, path in enumerate([*made, "results/driving_heldout/table.md", "results/vista.html"]):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
        os.utime(tmp_path / path, (number, number))
    lines = closing_words(plan).splitlines()
    assert lines[-2:] == ["table in results/driving_heldout/table.md", "report in results/vista.html"]
    (tmp_path / "results/vista.html").unlink()
    assert closing_words(plan).splitlines()[-1] == "next: snakemake report"
    os.utime(tmp_path / made[0])
    assert closing_words(plan).splitlines()[-1] == "next: snakemake evaluate"


def test_a_data_set_that_is_not_there_is_downloaded_and_left_out_of_the_report(config, tmp_path):
    plan = Plan(config, tmp_path)
    assert list(plan.downloads()) == ["data/downloads/tapvid_davis.pkl"]
    assert [b.name for b in plan.available_benchmarks] == ["people_tiny_heldout", "tiny_heldout"]
    assert "tapvid_davis was not scored" in plan.notes()[0]
    file = tmp_path / "data/downloads/tapvid_davis.pkl"
    file.parent.mkdir(parents=True)
    file.write_text("put here by hand")
    plan = Plan(config, tmp_path)
    assert not plan.downloads()
    assert not plan.notes()
    assert plan.is_available("tapvid_davis")
    assert index_path("tapvid_davis") == "data/shards/tapvid_davis/index.json"


@pytest.fixture
def with_videos(config):
    """Videos under datasets:, and a stage that LBM labels them for."""
    videos = {"source": "videos", "path": "my_videos", "height": 64, "clip_length": 24, "codec": "jpeg95"}
    words = ["init_from=null", "pseudo_labels.teachers=[lbm,mine.npz]", "validation.dataset=null"]
    words += ["data.num_frames=24", "data.min_frames=12"]
    config = put(config, "datasets.videos", videos)
    return put(config, "stages.cotracker3_offline_real", {"processes": 2, "overrides": words})


def test_videos_are_packed_as_their_data_set_says(with_videos):
    plan, names = Plan(with_videos), {"dataset": "videos", "shard": "000000"}
    assert plan.pack_source(**names) == plan.pack_input(**names) == "my_videos"
    assert plan.pack_words("videos") == "--height 64 --window 24"
    assert plan.facts("pack", names).items() >= {"layout": "videos", "options": "--height 64 --window 24"}.items()
    other = Plan(put(with_videos, "datasets.videos.height", None))
    assert other.pack_words("videos") == "--window 24"
    assert other.facts("pack", names) != plan.facts("pack", names)
    assert "options" not in plan.facts("pack", {"dataset": "tiny", "shard": "000000"})


def test_labels_of_people_are_packed_with_their_body_and_wait_for_it(config):
    people = {"source": "human_data", "path": "labels/pdhuman_train.npz", "body": "smplx", "images": "my images"}
    config["bodies"] |= {"smplx": {"source": "smplx", "path": "SMPLX_NEUTRAL.npz"}}
    plan = Plan(put(config, "datasets.pdhuman", people | {"truncate_shape": True}))
    body = "data/bodies/smplx.npz"
    assert plan.body_files("pdhuman") == [body] and plan.body_files("tiny") == []
    assert plan.pack_words("pdhuman") == f"--images 'my images' --body {body} --truncate-shape"
    assert plan.facts("pack", {"dataset": "pdhuman", "shard": "000000"})["options"] == plan.pack_words("pdhuman")
    with pytest.raises(ValueError, match=r"missing key 'datasets\.pdhuman\.body'"):
        Plan(put(config, "datasets.pdhuman", {"source": "bedlam_cc", "path": "renders"}))
    with pytest.raises(ValueError, match=r"unknown key 'datasets\.tapvid_davis\.body'"):
        Plan(put(config, "datasets.tapvid_davis.body", "smplx"))


def test_driving_is_packed_as_its_data_set_says(config):
    scenes = {"source": "nuscenes", "path": "nuscenes", "height": 320, "rate": 12, "scenes": "my scenes.txt"}
    names = ["turn_right", "turn_left", "stop", "straight"]
    labels = {"source": "vista_list", "path": "nuScenes.json", "images": "nuscenes", "commands": names}
    videos = {"source": "opendv", "path": "opendv", "clip_length": 250}
    sets = config["datasets"] | {"nuscenes": scenes, "vista": labels, "opendv": videos}
    plan = Plan(config | {"datasets": sets})
    assert plan.pack_words("nuscenes") == "--height 320 --rate 12 --scenes 'my scenes.txt'"
    assert plan.pack_words("vista") == "--images nuscenes --commands turn_right,turn_left,stop,straight"
    assert plan.pack_words("opendv") == "--window 250"
    assert plan.facts("pack", {"dataset": "opendv", "shard": "000000"})["layout"] == "opendv"
    for key, value, message in (
        ("vista.commands", None, "missing key 'datasets.vista.commands'"),
        ("vista.commands", ["left", "right"], "datasets.vista.commands"),
        ("opendv.tolerance", 0.1, "unknown key 'datasets.opendv.tolerance'"),
        ("nuscenes.rate", 0, "datasets.nuscenes.rate"),
        ("nuscenes.scene", "x", "unknown key 'datasets.nuscenes.scene', did you mean 'scenes'?"),
    ):
        with pytest.raises(ValueError) as error:
            Plan(put(config | {"datasets": sets}, f"datasets.{key}", value))
        assert message in str(error.value)


def test_every_data_set_of_a_mixture_is_an_input(config):
    other = {"source": "render", "num_clips": 4, "clips_per_shard": 2, "first_seed": 900}
    other["overrides"] = config["datasets"]["tiny"]["overrides"]
    words = [*config["stages"]["lbm"]["overrides"], "data.mixture={other:0.25,tiny:0.75}"]
    mixed = put(put(config, "datasets.other", other), "stages.lbm.overrides", words)
    plan = Plan(mixed)
    assert plan.datasets_of_stage("lbm") == ["other", "tiny"] and Plan(config).datasets_of_stage("lbm") == ["tiny"]
    assert plan.edges()["stages"]["lbm"] == ["other", "tiny", None]
    assert "mixture.other=0.25 mixture.tiny=0.75" in plan.recipe_words("lbm", "data")
    assert plan.facts("train_stage", {"stage": "lbm"}) != Plan(config).facts("train_stage", {"stage": "lbm"})
    with pytest.raises(ValueError, match=r"stages\.lbm: data\.mixture: othr is not under datasets:, did you mean"):
        Plan(put(mixed, "stages.lbm.overrides", [*words, "data.mixture=null", "data.mixture={othr:0.5,tiny:0.5}"]))
    heldout = config["datasets"]["tiny_heldout"]
    same_scenes = {key: heldout[key] for key in ("split", "first_seed") if key in heldout}
    with pytest.raises(ValueError, match=r"scores on scenes that stages\.lbm trains on: tiny_heldout and other share"):
        Plan(put(mixed, "datasets.other", other | same_scenes))


def test_teachers_are_edges_of_the_graph(with_videos, config):
    plan, stage = Plan(with_videos), "cotracker3_offline_real"
    assert plan.teacher_files(stage) == ["results/lbm/weights.safetensors", "mine.npz"]
    assert plan.teacher_files("lbm") == []
    assert "pseudo_labels.teachers" in plan.recipe_words(stage)
    for words, message in (
        ("[lbn]", f"stages.{stage}: teacher lbn is no other stage under stages:, did you mean 'lbm'?"),
        (f"[lbm,{stage}]", f"stages.{stage}: teacher {stage} is no other stage under stages:"),
    ):
        changed = put(with_videos, f"stages.{stage}.overrides", [f"pseudo_labels.teachers={words}", "init_from=null"])
        with pytest.raises(ValueError) as error:
            Plan(put(changed, "datasets.tapvid_davis", config["datasets"]["tapvid_davis"]))
        assert message in str(error.value)
    assert Plan(with_videos).facts("train_stage", {"stage": "lbm"}) == Plan(config).facts(
        "train_stage", {"stage": "lbm"}
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("heigth", 64, "unknown key 'datasets.videos.heigth', did you mean 'height'?"),
        ("clip_length", 1, "datasets.videos.clip_length"),
        ("url", "x", "unknown key 'datasets.videos.url'"),
        ("path", None, "missing key 'datasets.videos.path'"),
    ],
)
def test_mistakes_in_a_data_set_of_videos(with_videos, key, value, message):
    with pytest.raises(ValueError) as error:
        Plan(put(with_videos, f"datasets.videos.{key}", value))
    assert message in str(error.value)


def test_the_benchmarks_of_the_documentation_are_a_plan(config, tmp_path):
    text = (ROOT / "docs/how-to/benchmarks.md").read_text()
    block, _ = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    added = yaml.safe_load(block)
    plan = Plan({**config, **{key: config[key] | values for key, values in added.items()}}, tmp_path)
    assert added["benchmarks"].keys() <= plan.benchmarks.keys()
    words = {path: plan.fetch_words(dataset) for path, dataset in plan.downloads().items()}
    zipped = "https://storage.googleapis.com/dm-tapnet/robotap/robotap.zip"
    assert words["data/downloads/robotap.json"] == f"workflow.archive --url={zipped} --folder=data/downloads/robotap"
    assert words["data/downloads/tapvid_rgb_stacking.pkl"].startswith("workflow.fetch --url=")
    assert words["data/downloads/tapvid_kinetics"] == "workflow.fetch"  # says that it has to be put there
    names = {"dataset": "robotap", "shard": "000000"}
    assert plan.pack_input(**names) == "data/downloads/robotap.json"
    assert plan.pack_source(**names) == "data/downloads/robotap"


def test_a_root_of_badja_adds_its_data_set_and_benchmark(config, tmp_path):
    (tmp_path / "animals").mkdir()
    plan = Plan(config | {"badja_root": "animals"}, tmp_path)
    assert plan.pack_input("badja", "000000") == "animals"
    assert plan.facts("pack", {"dataset": "badja", "shard": "000000"})["layout"] == "badja"
    assert plan.files_of_benchmark("badja", "json")[0] == "results/badja/static.first.256.json"
    assert "badja" in [benchmark.name for benchmark in plan.available_benchmarks]
    assert "badja" not in Plan(config | {"badja_root": None}).benchmarks
    twice = put(config, "datasets.badja", {"source": "badja", "path": "x"}) | {"badja_root": "animals"}
    with pytest.raises(ValueError, match=r"datasets\.badja and badja_root both say where BADJA is; remove one"):
        Plan(twice)
