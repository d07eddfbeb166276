"""The benchmark of LBM runs on a tiny model and says what it promises; what it stands in for the reference fits."""

import json
import sys

import pytest
from torch import nn

from benchmarks import lbm_measure, lbm_reference, lbm_speed
from trainer.models.lbm.config import LbmConfig
from trainer.models.lbm.model import Lbm

SMALL = {"input_size": [64, 96], "dim": 32, "backbone_width": 8, "memory_size": 2}


@pytest.fixture
def small(monkeypatch):
    """Tiny measurements, in this process."""
    sizes = {"TRAIN": ((2, 5),), "INFER": (5,), "MEMORY_POINTS": 40, "PROFILES": ((2, 5), (0, 5)), "SETTINGS": SMALL}
    for name, value in sizes.items():
        monkeypatch.setattr(lbm_speed, name, value)
    monkeypatch.setattr(
        lbm_speed,
        "run_process",
        lambda job: lbm_measure.MEASURES[job["what"]](job) | {"peak": lbm_measure.peak_bytes()},
    )


def rows_of(said: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in said.splitlines() if line[:1] == "|"]


def test_it_prints_its_tables(small, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lbm_speed", "--repeats", "1"])
    lbm_speed.main()
    rows = rows_of(capsys.readouterr().out)
    by_name = {(row[0], row[1]): row for row in rows}
    forward, backward, optimiser, whole = map(float, by_name["2 x 5", "ours"][2:6])
    assert forward + backward + optimiser == pytest.approx(whole, abs=0.03) and whole > 0
    assert float(by_name["5", "ours"][2]) > 0
    kept = {recompute: float(by_name["ours", recompute][3]) for recompute in lbm_speed.RECOMPUTE}
    assert kept["frame"] < kept["feed_forward"] < kept["none"]
    parts = {row[0] for row in rows if len(row) == 3}
    assert {"backbone", "deformable attention", "blocks (norms, feed-forward)", "memory"} <= parts


def test_a_measurement_is_a_process_of_its_own(tmp_path):
    job = {"what": "infer", "side": "reference", "settings": SMALL, "reference": str(tmp_path)}
    with pytest.raises(SystemExit) as stop:
        lbm_speed.run_process(job | {"points": 5, "threads": 1, "repeats": 1})
    assert stop.value.code == 2


def test_a_folder_without_the_reference_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="clone George-Zhuang/lbm"):
        lbm_reference.load(tmp_path, {})


def test_the_reference_can_hold_our_weights():
    parts = lbm_reference.resnet18()
    trunk = nn.ModuleDict(
        {
            "layer1": nn.Sequential(parts.conv1, parts.bn1, parts.relu, parts.maxpool, parts.layer1),
            "layer2": parts.layer2,
            "layer3": parts.layer3,
        }
    )
    ours = Lbm(LbmConfig()).backbone.state_dict()
    ours = {key: value.shape for key, value in ours.items() if key.startswith("layer")}
    assert {key: value.shape for key, value in trunk.state_dict().items()} == ours


def test_backward_counts_for_the_part_that_caused_it(small):
    job = {"what": "profile", "side": "ours", "settings": SMALL, "frames": 2, "points": 40}
    training = lbm_measure.measure_profile(job)
    assert training["cross-entropy"] > 0 and training["rest"] < 0.5 * sum(training.values())
    assert json.dumps(training)
