"""metrics.jsonl -> curves."""

import json

import numpy as np
import pytest
from PIL import Image

from eval.curves import choose_panels, read_training_log, render_curves_svg, write_curves_png


@pytest.fixture
def metrics_path(tmp_path):
    path = tmp_path / "lbm" / "metrics.jsonl"
    path.parent.mkdir()
    lines = [{"event": "start", "seed": 1}]
    for step in range(1, 41):
        line = {"step": step, "loss": 10.0 / step, "point_loss": 9.0 / step, "flag": True, "name": "text"}
        lines.append(line | {"learning_rate": 1e-4, "grad_norm": 1.0, "seconds": 2.0 * step})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_log_is_its_numbers_by_step(metrics_path):
    log = read_training_log(metrics_path)
    assert log.name == "lbm"
    assert log.loss_names == ["point_loss"]
    np.testing.assert_allclose(log.series["loss"], 10.0 / np.arange(1, 41))
    assert [panel.title for panel in choose_panels(log)] == [
        "loss",
        "terms of the loss",
        "learning rate",
        "gradient norm",
    ]


def test_validations_are_a_panel_of_their_own_in_percent(metrics_path):
    plain = read_training_log(metrics_path)
    with metrics_path.open("a") as stream:
        for step, score in ((20, 0.25), (40, None), (40, 0.5)):  # the last one of a step counts
            row = {"event": "validation", "step": step, "delta_avg": score, "occlusion_accuracy": None, "seconds": 9.0}
            stream.write(json.dumps(row) + "\n")
    log = read_training_log(metrics_path)
    assert log.series.keys() == plain.series.keys()
    np.testing.assert_array_equal(log.series["loss"], plain.series["loss"])
    assert log.validation.steps.tolist() == [20, 40]
    assert log.validation.series["delta_avg"].tolist() == [25.0, 50.0]
    (panel,) = [panel for panel in choose_panels(log) if panel.is_validation]
    assert panel.names == ("delta_avg",), "a score that no row defines is left out"
    assert "validation (x100)" in dict(render_curves_svg(log))


def test_a_resumed_step_counts_once_and_a_cut_last_line_not_at_all(metrics_path):
    with metrics_path.open("a") as stream:
        stream.write(json.dumps({"step": 40, "loss": 123.0}) + "\n")
        stream.write('{"step": 41, "lo')
    log = read_training_log(metrics_path)
    assert log.steps[-1] == 40 and len(log.steps) == 40
    assert log.series["loss"][-1] == 123.0
    assert np.isnan(log.series["point_loss"][-1])


def test_a_broken_line_and_an_empty_log_are_refused(metrics_path):
    content = metrics_path.read_text()
    metrics_path.write_text("{broken\n" + content)
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 1 is not json"):
        read_training_log(metrics_path)
    metrics_path.write_text('{"event": "start"}\n')
    with pytest.raises(ValueError, match="no training step"):
        read_training_log(metrics_path)


def test_png_and_svg_are_reproducible(metrics_path, tmp_path):
    first = write_curves_png([metrics_path, metrics_path], tmp_path / "a.png")
    second = write_curves_png([metrics_path, metrics_path], tmp_path / "b.png")
    assert first.read_bytes() == second.read_bytes()
    assert Image.open(first).width > 1000
    log = read_training_log(metrics_path)
    panels = render_curves_svg(log)
    assert panels == render_curves_svg(log)
    for title, svg in panels:
        assert svg.startswith("<svg ") and f'aria-label="lbm: {title}"' in svg
        assert "://" not in svg and "<style" not in svg and "currentColor" in svg


def test_long_and_nan_logs_can_be_drawn(tmp_path):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": step, "loss": float("nan") if step % 7 == 0 else 1.0} for step in range(5000)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (_, svg), *_ = render_curves_svg(read_training_log(path))
    assert len(svg) < 100_000
