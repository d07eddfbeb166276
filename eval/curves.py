"""metrics.jsonl of a training -> curves of losses, learning rate and speed, as PNG and as inline SVG."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from eval.svg import COLORS, INK, PANEL_INCHES, render_svg, style_axes
from shards.files import write_bytes

# Names that are not losses; every other number of a line is one.
OTHER_SERIES = {
    "learning_rate": "learning rate",
    "grad_norm": "gradient norm",
    "clips_per_second": "clips per second",
}
NOT_SERIES = {"step", "seconds", "epoch", "scale", "skipped_steps", "skipped_clips", "loss"}
VALIDATION_SERIES = ("delta_avg", "average_jaccard", "occlusion_accuracy")
MAX_DRAWN_POINTS = 600
PNG_COLUMNS = 3


@dataclass(frozen=True, kw_only=True)
class TrainingLog:
    """The numbers of one training by name, at increasing steps: steps (S,), series[name] (S,) with nan for a gap."""

    name: str
    steps: np.ndarray
    series: dict[str, np.ndarray]
    validation: TrainingLog | None = None
    """Scores in percent at the steps where the model was validated; None where it never was."""

    @property
    def loss_names(self) -> list[str]:
        return [name for name in self.series if name not in OTHER_SERIES and name not in NOT_SERIES]


@dataclass(frozen=True, kw_only=True)
class CurvePanel:
    """One pair of axes: a title and the lines in it."""

    title: str
    names: tuple[str, ...]
    is_logarithmic: bool
    is_validation: bool = False


def read_training_log(path: str | Path) -> TrainingLog:
    """Read a metrics.jsonl; a resumed step counts once (the last one), and a last line cut short is left out.

    Raises ValueError for a line in the middle that is not json and for a file without a single step.
    """
    path = Path(path)
    lines = path.read_text().splitlines()
    by_step: dict[int, dict] = {}
    validations: dict[int, dict] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            if number == len(lines):  # a training that was killed while it wrote
                break
            raise ValueError(f"{path}: line {number} is not json ({error})") from error
        if not isinstance(entry, dict) or "step" not in entry:
            continue
        if "event" not in entry:
            by_step[int(entry["step"])] = entry
        elif entry["event"] == "validation":
            scores = {score: _number(entry.get(score)) for score in VALIDATION_SERIES}
            validations[int(entry["step"])] = {score: 100 * value for score, value in scores.items()}
    if not by_step:
        raise ValueError(f"{path}: no training step in it; is the training still at its start?")
    name = path.parent.name or path.stem
    validation = _gather_rows(name, validations) if validations else None
    return dataclasses.replace(_gather_rows(name, by_step), validation=validation)


def _gather_rows(name: str, by_step: dict[int, dict]) -> TrainingLog:
    """A log from the rows of its steps."""
    steps = sorted(by_step)
    names = dict.fromkeys(key for step in steps for key, value in by_step[step].items() if _is_number(value))
    series = {
        key: np.array([float(_number(by_step[step].get(key))) for step in steps]) for key in names if key != "step"
    }
    return TrainingLog(name=name, steps=np.array(steps), series=series)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: object) -> float:
    return value if _is_number(value) and math.isfinite(value) else math.nan


def choose_panels(log: TrainingLog) -> list[CurvePanel]:
    """Return the panels that this log can fill: total loss, its terms, scores of validations, then rates."""
    panels = []
    if "loss" in log.series:
        panels.append(CurvePanel(title="loss", names=("loss",), is_logarithmic=_spans_decade(log, ["loss"])))
    if log.loss_names:
        is_logarithmic = _spans_decade(log, log.loss_names)
        panels.append(CurvePanel(title="terms of the loss", names=tuple(log.loss_names), is_logarithmic=is_logarithmic))
    if log.validation:
        scores = tuple(name for name in VALIDATION_SERIES if np.isfinite(log.validation.series[name]).any())
        if scores:
            panels.append(CurvePanel(title="validation (x100)", names=scores, is_logarithmic=False, is_validation=True))
    for name, title in OTHER_SERIES.items():
        if name in log.series:
            is_logarithmic = name == "grad_norm" and _spans_decade(log, [name])
            panels.append(CurvePanel(title=title, names=(name,), is_logarithmic=is_logarithmic))
    return panels


def _spans_decade(log: TrainingLog, names: Sequence[str]) -> bool:
    values = np.concatenate([log.series[name] for name in names])
    values = values[np.isfinite(values)]
    return values.size > 0 and values.min() > 0 and values.max() > 10 * values.min()


def _draw_panel(axes: Axes, log: TrainingLog, panel: CurvePanel) -> None:
    log = log.validation if panel.is_validation else log
    for index, name in enumerate(panel.names):
        color = COLORS[index % len(COLORS)]
        steps, values = _thin(log.steps, log.series[name])
        smooth = _smooth(values)
        label = name.replace("_", " ")
        is_noisy = len(values) >= 30 and name not in ("learning_rate",)
        axes.plot(steps, values, color=color, linewidth=0.9 if is_noisy else 1.7, alpha=0.35 if is_noisy else 1)
        axes.plot(steps, smooth if is_noisy else values, color=color, linewidth=1.7, label=label)
    _set_vertical_scale(axes, panel)
    style_axes(axes, panel.title, "step")
    if len(panel.names) > 1:
        axes.legend(
            fontsize=7.5, frameon=False, labelcolor=INK, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2)
        )


def _set_vertical_scale(axes: Axes, panel: CurvePanel) -> None:
    if panel.is_logarithmic:
        axes.set_yscale("log")
        # Plain numbers, and only at 1, 2 and 5: powers of ten are hard to compare over one or two decades.
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average neighbours so that at most MAX_DRAWN_POINTS are drawn."""
    if len(steps) <= MAX_DRAWN_POINTS:
        return steps, values
    groups = np.array_split(np.arange(len(steps)), MAX_DRAWN_POINTS)
    means = [_finite_mean(values[group]) for group in groups]
    return np.array([steps[group].mean() for group in groups]), np.array(means)


def _finite_mean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else math.nan


def _smooth(values: np.ndarray) -> np.ndarray:
    """Average over a window of a fifteenth of the curve, centred, narrower towards both ends."""
    half = max(1, len(values) // 30)
    return np.array([_finite_mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def write_curves_png(metrics_paths: Iterable[str | Path], out_path: str | Path) -> Path:
    """Draw the panels of each metrics.jsonl, three a row, and write them as one PNG."""
    logs = [read_training_log(path) for path in metrics_paths]
    cells = [[(log, panel) for panel in choose_panels(log)] for log in logs]
    rows = [row[start : start + PNG_COLUMNS] for row in cells for start in range(0, len(row), PNG_COLUMNS)]
    size = (PANEL_INCHES[0] * PNG_COLUMNS, (PANEL_INCHES[1] + 0.5) * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), PNG_COLUMNS, squeeze=False)
    for row, row_axes in zip(rows, grid, strict=True):
        for axes in row_axes[len(row) :]:
            axes.set_visible(False)
        for axes, (log, panel) in zip(row_axes, row, strict=False):
            _draw_panel(axes, log, panel)
        row_axes[0].set_ylabel(row[0][0].name, fontsize=10, color=INK)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return write_bytes(out_path, stream.getvalue())


def render_curves_svg(log: TrainingLog) -> list[tuple[str, str]]:
    """Return (title, inline svg) for each panel of one training: transparent, text in the colour of the page."""
    return [(panel.title, _panel_svg(log, panel)) for panel in choose_panels(log)]


def _panel_svg(log: TrainingLog, panel: CurvePanel) -> str:
    return render_svg(lambda axes: _draw_panel(axes, log, panel), f"{log.name}: {panel.title}")
