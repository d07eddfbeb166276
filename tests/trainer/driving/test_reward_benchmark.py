"""The benchmark of rewards: what a multiple of actions is, and that its table has a row for each."""

import numpy as np
import pytest

from benchmarks.driving_reward import FACTORS, exaggerate, main
from tests.trainer.driving.worlds import write_world


def test_amounts_are_multiplied_and_commands_and_goals_are_not():
    sample = {"values": np.arange(19, dtype=np.float32), "motion": np.ones((4, 2), np.float32), "fps": np.float32(5)}
    found = exaggerate(sample, 3.0)
    np.testing.assert_array_equal(found["values"], [0, *(3 * np.arange(1, 17)), 17, 18])
    assert found["motion"].dtype == np.float32 and (found["motion"] == 3).all() and found["fps"] == 5
    assert (sample["motion"] == 1).all()


def test_every_telling_has_a_row(drives, tmp_path, capsys):
    pytest.importorskip("diffusers", reason="Vista's network needs the extra `vista`")
    write_world(drives, tmp_path / "w.safetensors")
    words = ["--weights", str(tmp_path / "w.safetensors"), "--truth", str(drives.index), "--steps", "1"]
    assert main([*words, "--samples", "2"]) == 0
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()]
    assert [row[0].strip() for row in rows] == ["told", "---", "true", *map(str, FACTORS), "shuffled", "none"]
    rewards = {row[0].strip(): float(row[1].split()[0]) for row in rows[2:]}
    assert all(0 < reward <= 1 for reward in rewards.values()) and rewards["5.0"] != rewards["true"]
    assert float(rows[2][3]) > 0 and not rows[3][3].strip()  # of a multiple no truth is known
