"""Reward against likeness, as a chart: is a model sure where it is right?"""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.axes import Axes

from eval.driving.rollouts import TOLD
from eval.svg import COLORS, INK, render_svg, style_axes

WORDS = {"true": "its own actions", "shuffled": "another clip's", "none": "nothing"}
"""What was told, in the legend."""


def chart_rewards(score: Mapping) -> str:
    """Inline SVG: a dot for each clip and telling at its reward and its PSNR; empty where the model has no rewards."""
    dots = {
        told: [
            (values[f"reward_{told}"], values[f"psnr_{told}"])
            for values in score["clips"].values()
            if values.get(f"reward_{told}") is not None
        ]
        for told in TOLD
    }
    title = f"{score['model']}: reward and PSNR, dB"
    return (
        render_svg(lambda axes: _draw(axes, dots, title), f"{title}, {score['benchmark']}")
        if any(dots.values())
        else ""
    )


def _draw(axes: Axes, dots: Mapping[str, list[tuple[float, float]]], title: str) -> None:
    for color, (told, places) in zip(COLORS, dots.items(), strict=False):
        if places:
            axes.scatter(*zip(*places, strict=True), s=14, color=color, alpha=0.8, linewidths=0, label=WORDS[told])
    style_axes(axes, title, "reward: samples of one clip agree the more, the further to the right")
    axes.xaxis.get_major_formatter().set_useOffset(False)
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, loc="best", title="told", title_fontsize=8)
    axes.get_legend().get_title().set_color(INK)
