"""The mirror of metrics.jsonl: what it sends, and that nothing of it ends a training."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from tests.trainer.test_loop import ALONE, batches, make_run, make_state, recipe_with
from tests.trainer.test_training import REPOSITORY, TINY
from trainer.loop import train
from trainer.wandb_mirror import wandb_mirror

ASKED = ["logging.use_wandb=true", "logging.wandb_project=cotracker3", "logging.log_every=1"]


class Fake:
    """A package wandb that records, and fails where it is told to."""

    def __init__(self, fails: str = ""):
        self.fails, self.started, self.rows, self.id, self.dir = fails, [], [], "x", "folder/files"
        self.Settings, self.settings = lambda **settings: None, types.SimpleNamespace(mode="fake")

    def init(self, **settings):
        self.started.append(settings)
        if settings["mode"] in self.fails:
            raise RuntimeError(f"no {settings['mode']}\nand much more")
        return self

    def log(self, row, step):
        self.rows.append((step, row))
        if "log" in self.fails:
            raise RuntimeError("lost")

    def finish(self, exit_code):
        self.rows.append(("finish", exit_code))


def install(monkeypatch, package: Fake | None) -> None:
    """Make `import wandb` give this, or fail."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: package if name == "wandb" else find(name, *more)
    )
    monkeypatch.setitem(sys.modules, "wandb", package)


def mirrored(monkeypatch, tmp_path, fake: Fake):
    install(monkeypatch, fake)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    recipe, run = recipe_with(*ASKED), make_run(tmp_path)
    with wandb_mirror(recipe, run, ALONE) as mirror:
        train(recipe, run, ALONE, make_state(recipe), batches(0), mirror=mirror)
    return [json.loads(line) for line in run.metrics.read_text().splitlines()]


def test_the_mirror_gets_every_row_of_the_metrics(monkeypatch, tmp_path):
    fake = Fake()
    rows = mirrored(monkeypatch, tmp_path, fake)
    # But for `origin`: the run there has the recipe for its configuration.
    plain = [{key: value for key, value in row.items() if key != "origin"} for row in rows]
    assert fake.rows == [*((row["step"], row) for row in plain), ("finish", 0)]
    (started,) = fake.started
    assert (started["project"], started["name"], started["id"]) == ("cotracker3", "lbm", "toy")
    assert (started["mode"], started["resume"], started["dir"]) == ("online", "allow", tmp_path)


def test_a_service_that_cannot_be_reached_leaves_a_run_on_the_disk(monkeypatch, tmp_path, capsys):
    fake = Fake("online")
    rows = mirrored(monkeypatch, tmp_path, fake)
    assert [started["mode"] for started in fake.started] == ["online", "offline"] and len(fake.rows) == len(rows) + 1
    assert "warning: wandb: online is not possible (no online); its run is written" in capsys.readouterr().err


@pytest.mark.parametrize("fails", ["online offline", "log"])
def test_no_error_of_wandb_ends_a_training(monkeypatch, tmp_path, capsys, fails):
    rows = mirrored(monkeypatch, tmp_path, Fake(fails))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    told = capsys.readouterr().err
    assert "training goes on" in told and told.count("stopped (lost)") == (fails == "log")


def test_other_ranks_have_no_mirror(tmp_path, monkeypatch):
    install(monkeypatch, Fake())
    second = dataclasses.replace(ALONE, rank=1, world_size=2)
    with wandb_mirror(recipe_with(*ASKED), make_run(tmp_path), second) as mirror:
        assert mirror is None


def test_without_the_package_one_line_names_the_command(tmp_path, dataset, monkeypatch, capsys):
    from trainer.launch import main

    dataset(num_clips=4)
    install(monkeypatch, None)
    paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
    assert main([*TINY, *paths, "logging.use_wandb=true"]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("error: logging.use_wandb=true") and "pip install 'frameline[wandb]'" in line


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="the extra `wandb` is not installed")
def test_wandb_itself_writes_a_run_without_an_account_and_a_resumed_training_goes_on_in_it(tmp_path, dataset):
    dataset(num_clips=6)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    paths = [f"paths.shards_root={tmp_path / 'shards'}", f"paths.run_root={tmp_path / 'runs'}"]
    words = [*TINY, *paths, f"paths.output_dir={tmp_path / 'out'}", "training.num_steps=4", *ASKED]
    stop = "import sys\nfrom trainer.interruption import StopRequest\nfrom trainer.launch import main\n"
    stop += "StopRequest.is_agreed, StopRequest.requeue = lambda self: True, print\n"
    stop += "StopRequest.signal_name = 'SIGTERM'\nsys.exit(main(sys.argv[1:]))"
    for start, code in ((["-c", stop], 75), (["-m", "trainer.launch"], 0)):
        environment = kept | {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}
        done = subprocess.run([sys.executable, *start, *words], cwd=REPOSITORY, env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)  # fmt: skip
        assert done.returncode == code, done.stderr
        assert "warning: wandb: online is not possible" in done.stderr
    runs = sorted((tmp_path / "runs").rglob("run-*.wandb"))
    assert len(runs) == 2 and len({run.name for run in runs}) == 1, "two offline parts of one run"
    assert [row[0] for row in rows_of(runs[0])] == [1]
    assert [row[0] for row in rows_of(runs[1])] == [2, 3, 4]
    written = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert [row[1] for row in (*rows_of(runs[0]), *rows_of(runs[1]))] == [row["loss"] for row in written]


def rows_of(path: Path) -> list[tuple[int, float]]:
    """Step and loss of every row in a file of wandb's: 7 bytes, then a log of LevelDB's, here shorter than a block."""
    from wandb.proto import wandb_internal_pb2

    content, found, start = path.read_bytes(), [], 7
    assert len(content) < 32768, "records of several blocks are not read here"
    while start < len(content):
        length = int.from_bytes(content[start + 4 : start + 6], "little")  # after a checksum, before a type
        record = wandb_internal_pb2.Record()
        record.ParseFromString(content[start + 7 : start + 7 + length])
        start += 7 + length
        if record.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
            found.append((items["step"], items["loss"]))
    return found
