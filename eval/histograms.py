"""Values -> histograms and a heat map as inline SVG, with the numbers that a reader wants to quote.

Legend: S samples, E edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator

from eval.svg import COLORS, INK, render_svg, style_axes

MAX_BINS = 40
MAX_WHOLE_BINS = 60
TAIL_QUANTILE = 0.99
"""A histogram ends here where the rest would stretch it to twice its width or more."""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """One chart of a page: inline SVG, and the sentence below it."""

    title: str
    svg: str
    text: str


def choose_edges(values: np.ndarray, is_whole: bool) -> np.ndarray:
    """Edges (E,) of the bins for values (S,), S > 0: from 0 where all are positive, and without a long thin tail.

    Whole numbers get a bin each, centred on it, or bins of several whole numbers where there are too many.
    """
    low, high = float(values.min()), float(values.max())
    tail = float(np.quantile(values, TAIL_QUANTILE))
    high = tail if 0 < 2 * tail < high else high
    low = min(low, 0.0)
    if is_whole:
        step = max(1, int(np.ceil((high - low + 1) / MAX_WHOLE_BINS)))
        return np.arange(np.floor(low), np.floor(high) + 1 + step, step) - 0.5
    # Rice's rule: few clips get few bins, or each bar would be one clip.
    num_bins = min(MAX_BINS, int(np.ceil(2 * len(values) ** (1 / 3))))
    return np.linspace(low, high if high > low else low + 1.0, num_bins + 1)


def bin_shares(values: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, float]:
    """Percent of the values (S,) in each bin (E - 1,) and beyond the last edge (which belongs to the last bin)."""
    counts, _ = np.histogram(values, edges)
    return 100 * counts / len(values), 100 * float((values > edges[-1]).mean())


def describe(values: np.ndarray, unit: str) -> str:
    """The median, the middle nine tenths and the largest of values (S,), S > 0, in one sentence."""
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
    unit = f" {unit}" if unit else ""
    return f"Median {show(median)}{unit}; 5 to 95 %: {show(low)} to {show(high)}; largest {show(values.max())}."


def show(value: float) -> str:
    """A number with three digits that count, without an exponent and trailing zeros."""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - int(np.floor(np.log10(abs(value)))))
    text = f"{value:,.{min(digits, 4)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def draw_histogram(
    values: np.ndarray, title: str, unit: str, what: str, *, is_whole: bool = False, relative_to: float = 0.0
) -> Chart | None:
    """A histogram of values (S,) with its median; None where there is no value to draw.

    `what` names the samples ("tracks"); with `relative_to` an axis above says the same in percent of that many units.
    """
    if not values.size:
        return None
    values = values.astype(np.float64)
    edges = choose_edges(values, is_whole)
    shares, beyond = bin_shares(values, edges)

    def draw(axes: Axes) -> None:
        axes.bar(edges[:-1], shares, np.diff(edges), align="edge", color=COLORS[0], linewidth=0)
        axes.axvline(float(np.median(values)), color=COLORS[1], linewidth=1.6)
        axes.set_xlim(edges[0], edges[-1])
        style_axes(axes, title, unit)
        axes.set_axisbelow(True)
        axes.set_ylabel(f"% of {what}", fontsize=9, color=INK)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if is_whole:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if relative_to:
            _add_percent_axis(axes, relative_to)

    text = f"{describe(values, unit)} {len(values):,} {what}"
    text += f", {show(beyond)} % of them beyond the right edge." if beyond else "."
    return Chart(title=title, svg=render_svg(draw, title), text=text)


def _add_percent_axis(axes: Axes, side: float) -> None:
    """Another axis on top, in percent of `side`."""
    axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=10, fontweight="bold", color=INK, pad=24)
    above = axes.secondary_xaxis("top", functions=(lambda x: 100 * x / side, lambda x: x * side / 100))
    above.set_xlabel("% of the frame's longer side", fontsize=8, color=INK, labelpad=2)
    above.tick_params(labelsize=7, colors=INK)
    above.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    above.spines["top"].set_color(INK)


def draw_heat_map(density: np.ndarray, title: str, aspect: float) -> Chart | None:
    """A heat map of counts (rows from the top, columns) over frames of height / width `aspect`; None for no count."""
    total = density.sum()
    if not total:
        return None
    uneven = density / density.mean()
    image = np.zeros((*density.shape, 4))
    image[..., :3] = to_rgb(COLORS[0])
    image[..., 3] = density / density.max()  # the page shines through: right in light and dark

    def draw(axes: Axes) -> None:
        axes.imshow(image, extent=(0, 100, 100, 0), aspect=aspect, interpolation="nearest")
        style_axes(axes, title, "% of width")
        axes.set_ylabel("% of height", fontsize=9, color=INK)
        axes.grid(False)

    text = (
        f"{int(total):,} visible positions on a grid of {density.shape[1]} x {density.shape[0]} cells; the fullest "
        f"cell has {show(uneven.max())} times the mean, the emptiest {show(uneven.min())} times."
    )
    return Chart(title=title, svg=render_svg(draw, title), text=text)
