"""Sidecars of provenance: written when a command ends well, and what `verify` reads from them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from workflow.plan import Plan
from workflow.provenance import check_inputs, code_commit, main, record, sha256_of, sidecar_path, visible_gpus
from workflow.verify import find_mismatches

ROOT = Path(__file__).resolve().parents[2]


def run(*command, inputs=(), outputs=("out.txt",), facts=("source=abc",), options=()):
    words = ["--made", "score", *facts, "--inputs", *inputs, "--outputs", *outputs, *options]
    return main([*words, "--", *command])


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to work in; `run` takes signals over, and they are given back."""
    monkeypatch.chdir(tmp_path)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield tmp_path
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_sidecar_names_inputs_outputs_settings_and_command(here):
    (here / "in.txt").write_text("in")
    assert run("cp", "in.txt", "out.txt", inputs=["in.txt"]) == 0
    sidecar = json.loads(sidecar_path("out.txt").read_text())
    assert sidecar["rule"] == "score"
    assert sidecar["facts"] == {"source": "abc"}
    assert sidecar["inputs"] == {"in.txt": sha256_of(here / "in.txt")}
    assert sidecar["output_sha256"] == sha256_of(here / "out.txt")
    assert sidecar["command"] == "cp in.txt out.txt"


def test_a_sidecar_says_what_the_job_took_and_on_what(here):
    code = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    # A grandchild's time counts too, though it has ended long before the job does.
    assert run("sh", "-c", f"{sys.executable} -c '{code}'; sleep 0.2; echo > out.txt") == 0
    spent = json.loads(sidecar_path("out.txt").read_text())["spent"]
    assert spent["seconds"] > 0.45 and spent["cpu_seconds"] > 0.29
    assert spent["cores"] >= 1 and spent["cpu"] and spent["finished"].endswith("+00:00")


def test_the_commit_is_of_our_code_and_of_no_repository_around_it(here):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    (here / "code.py").write_text("1")
    for words in (["init", "-q"], ["add", "code.py"], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *words], check=True, cwd=here)
    commit = code_commit(here)
    assert len(commit) == 40
    (here / "new.txt").write_text("of no commit")
    assert code_commit(here) == commit
    (here / "code.py").write_text("2")
    assert code_commit(here) == f"{commit}+"
    (here / "copy").mkdir()
    assert code_commit(here / "copy") == ""


@pytest.mark.parametrize(
    ("chosen", "seen"), [(None, ["A", "B"]), ("1", ["B"]), ("", []), ("-1", []), ("GPU-7f,0", ["GPU-7f", "A"])]
)
def test_gpus_are_those_that_the_job_may_use(here, monkeypatch, chosen, seen):
    (here / "nvidia-smi").write_text("#!/bin/sh\necho A\necho B\n")
    (here / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}:{os.environ['PATH']}")
    environment = {"PATH": os.environ["PATH"]} | ({} if chosen is None else {"CUDA_VISIBLE_DEVICES": chosen})
    assert visible_gpus(environment) == seen


def test_a_failure_is_passed_on_and_leaves_no_sidecar(here):
    (here / "out.txt").write_text("old")
    sidecar_path("out.txt").write_text("{}")
    assert run("sh", "-c", "exit 7") == 7
    assert not sidecar_path("out.txt").exists()


def test_an_output_that_was_not_written_is_an_error(capsys):
    assert run("true") == 1
    assert "out.txt: the command ended well and did not write it" in capsys.readouterr().err


def test_what_a_command_prints_becomes_its_file_only_when_it_ends_well(here):
    assert run("echo", "hello", options=["--save", "out.txt"]) == 0
    assert (here / "out.txt").read_text() == "hello\n"
    assert run("sh", "-c", "echo half; exit 3", options=["--save", "out.txt"]) == 3
    assert (here / "out.txt").read_text() == "hello\n"
    assert sorted(path.name for path in here.iterdir()) == ["out.txt"]


def test_an_input_that_changed_since_it_was_made_stops_the_job_before_it_runs(here, capsys):
    (here / "in.txt").write_text("as it was given")
    assert run("cp", "in.txt", "middle.txt", inputs=["in.txt"], outputs=["middle.txt"]) == 0
    (here / "in.txt").write_text("a user's own file may change")
    assert run("cp", "in.txt", "other.txt", inputs=["in.txt"], outputs=["other.txt"]) == 0
    assert run("cp", "middle.txt", "out.txt", inputs=["middle.txt"]) == 0
    (here / "out.txt").unlink()
    (here / "middle.txt").write_text("as it was givem")
    capsys.readouterr()
    assert run("cp", "middle.txt", "out.txt", inputs=["in.txt", "middle.txt"]) == 2
    assert not (here / "out.txt").exists() and not sidecar_path("out.txt").exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: middle.txt: changed since it was made (sha256 ")
    assert line.endswith("`snakemake --force middle.txt`, or delete middle.txt.prov.json if the file is yours")


@pytest.mark.parametrize("content", ["{", "[]", '{"format": "frameline-provenance/9"}', "\xff"])
def test_a_damaged_sidecar_of_an_input_stops_the_job(here, capsys, content):
    (here / "in.txt").write_text("in")
    sidecar_path("in.txt").write_bytes(content.encode("latin-1"))
    assert run("cp", "in.txt", "out.txt", inputs=["in.txt"]) == 2
    assert "error: in.txt: its provenance is damaged (in.txt.prov.json)" in capsys.readouterr().err
    assert not (here / "out.txt").exists()


def test_a_file_without_a_sidecar_where_the_graph_writes_is_taken_and_named(here, capsys):
    (here / "results").mkdir()
    (here / "results/own.txt").write_text("the user's")
    assert run("cp", "results/own.txt", "out.txt", inputs=["results/own.txt"]) == 0
    assert capsys.readouterr().err.startswith("note: results/own.txt: taken as it is")


def test_what_is_recorded_is_what_was_there_before_the_command(here):
    (here / "in.txt").write_text("before")
    before = sha256_of(here / "in.txt")
    assert run("sh", "-c", "cp in.txt out.txt; echo after > in.txt", inputs=["in.txt"]) == 0
    assert json.loads(sidecar_path("out.txt").read_text())["inputs"] == {"in.txt": before}


def test_a_request_to_stop_reaches_the_command(here):
    words = ["-m", "workflow.provenance", "--made", "x", "--outputs", "o", "--", "sleep", "60"]
    process = subprocess.Popen([sys.executable, *words], env=os.environ | {"PYTHONPATH": str(ROOT)})
    time.sleep(1.0)
    process.terminate()
    assert process.wait(timeout=10) == 128 + signal.SIGTERM


def test_the_sha256_of_a_folder_sees_names_and_contents(here):
    (here / "a").mkdir()
    (here / "a/one").write_text("1")
    before = sha256_of(here / "a")
    (here / "a/one").rename(here / "a/two")
    assert sha256_of(here / "a") != before


CONFIG = """
datasets:
  davis: {source: tapvid, path: davis.pkl}
  clips: {source: render, num_clips: 4, clips_per_shard: 4}
stages:
  lbm: {overrides: [data.dataset=clips, validation.dataset=null]}
benchmarks:
  davis_scores: {dataset: davis}
"""


@pytest.fixture
def plan(here):
    """Everything there with true sidecars."""
    plan = Plan(yaml.safe_load(CONFIG))
    steps = [(step, plan.facts(step.rule, step.wildcards)) for step in plan.steps()]
    for step, facts in steps:
        for output in step.outputs:
            (here / output).parent.mkdir(parents=True, exist_ok=True)
            (here / output).write_text(output)
        names = ["data/shards/clips/index.json"] if step.rule == "train_stage" else []
        record(step.rule, check_inputs(names), step.outputs, facts)
    return plan


def test_what_is_as_it_was_made_has_no_mismatch(plan):
    assert list(find_mismatches(plan)) == []


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("results/lbm/metrics.jsonl", "edited", "metrics.jsonl: its content is not what the job wrote"),
        ("results/lbm/weights.safetensors.prov.json", None, "weights.safetensors: has no provenance"),
        ("data/assets/open.json.prov.json", "{", "open.json: its provenance is damaged"),
        ("results/lbm/recipe.yaml", None, "results/lbm/recipe.yaml: missing, though"),
        ("data/shards/clips/index.json", "other", "its input data/shards/clips/index.json has changed since"),
    ],
)
def test_every_kind_of_mismatch_is_named(plan, file, content, message):
    if content is None:
        Path(file).unlink()
    else:
        Path(file).write_text(content)
    assert any(message in line for line in find_mismatches(plan))


def test_a_changed_recipe_is_named_with_its_keys(plan, here):
    (here / "results/lbm/recipe.yaml").write_text(yaml.safe_dump(plan.recipes["lbm"]))
    record("train_stage", {}, ["results/lbm/recipe.yaml"], plan.facts("train_stage", {"stage": "lbm"}))
    config = yaml.safe_load(CONFIG)
    config["stages"]["lbm"]["overrides"].append("optimizer.learning_rate=1.0e-3")
    lines = [line for line in find_mismatches(Plan(config)) if "weights.safetensors" in line]
    assert len(lines) == 1
    assert "optimizer.learning_rate: 0.0005 -> 0.001" in lines[0]
