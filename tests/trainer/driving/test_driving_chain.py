"""From weights to a table by the commands of the graph: what prediction writes, scoring reads."""

import json

from eval.__main__ import main as evaluate
from tests.trainer.driving.worlds import write_world
from trainer.predict_drives import main as predict


def test_an_untrained_world_is_rolled_out_scored_and_drawn(drives, tmp_path):
    write_world(drives, tmp_path / "w.safetensors", "data.driving.frame_step=2")
    truth = ["--truth", str(drives.index)]
    words = ["--weights", str(tmp_path / "w.safetensors"), "--device", "cpu", "--steps", "2", "--samples", "2"]
    assert predict([*words, *truth, "--num-clips", "3", "--out", str(tmp_path / "r.npz")]) == 0
    sizes = ["--num-frames", "4", "--height", "8", "--width", "16", "--frame-step", "2", "--num-clips", "3"]
    assert evaluate(["drives-copy", *truth, *sizes, "--out", str(tmp_path / "c.npz")]) == 0
    for name in ("r", "c"):
        rollouts = ["--rollouts", str(tmp_path / f"{name}.npz")]
        assert evaluate(["drives-score", *rollouts, *truth, "--out", str(tmp_path / f"{name}.json")]) == 0
    score = json.loads((tmp_path / "r.json").read_text())
    assert score["mean"]["over_copy"] < 0  # it has learned nothing
    assert 0 < score["mean"]["reward_true"] <= 1
    assert score["mean"]["psnr_copy"] == json.loads((tmp_path / "c.json").read_text())["mean"]["psnr_none"]
    scores = [str(tmp_path / f"{name}.json") for name in ("c", "r")]
    assert evaluate(["drives-table", *scores, "--out", str(tmp_path / "table.md")]) == 0
    assert "## drives: 4 frames of 8x16, 2 frames of the clip apart, 1 given" in (tmp_path / "table.md").read_text()
    assert "r all: the same over all rollouts" in (tmp_path / "table.md").read_text(), "of samples, two of each clip"
    sheet = ["--out", str(tmp_path / "s.png"), "--film", str(tmp_path / "s.mp4")]
    assert evaluate(["drives-sheet", "--rollouts", str(tmp_path / "r.npz"), *truth, *sheet]) == 0
