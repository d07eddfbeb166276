"""Matplotlib's axes as inline SVG in the look of our pages: transparent, text in the colour of the page."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Tableau 10: legible on white and on near-black.
COLORS = ("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#b07aa1", "#76b7b2", "#9c755f", "#edc948")
# A colour nothing else uses: it is replaced by `currentColor`, so that text follows the page in light and dark.
INK = "#0a0b0d"
PANEL_INCHES = (4.6, 2.7)


def style_axes(axes: Axes, title: str, xlabel: str) -> None:
    """Title, label, ticks, grid and spines as all our charts have them."""
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
    axes.set_xlabel(xlabel, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, colors=INK, which="both")
    axes.grid(True, which="major", color=INK, alpha=0.15, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def render_svg(draw: Callable[[Axes], None], label: str) -> str:
    """Inline SVG of one pair of axes that `draw` fills; `label` says what it is (another one for each of a page)."""
    # A fixed salt for generated ids and no date: the same drawing gives the same bytes.
    with matplotlib.rc_context({"svg.hashsalt": label, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=PANEL_INCHES, layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.subplots()
        axes.patch.set_alpha(0)
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline_svg(stream.getvalue(), label)


def _inline_svg(svg: str, label: str) -> str:
    """Strip what only a stand-alone SVG file needs (and what would name an address), and let the page size it."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'<svg ([^>]*?)\s?(?:width|height)="[^"]*"', r"<svg \1", svg, count=1)
    svg = re.sub(r'(<svg [^>]*?)\s(?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = svg.replace(INK, "currentColor").replace("xlink:href", "href")
    # matplotlib lists every font of the family it might have used.
    svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    # Its style element would reach the whole page; the template says the same for drawings only.
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    safe = label.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{safe}" ', 1).strip()
