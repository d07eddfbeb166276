"""The annotation's errors as a picture: histograms against the rendered passes, and where rendered ids disagree."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from generation.verify import (
    BOUNDS,
    AnnotatedClip,
    coordinate_errors,
    flow_errors,
    other_samples,
    query_depth_errors,
)

NUM_BINS = 60
LEAST_ERROR = 1e-7
HISTOGRAMS: tuple[tuple[str, str, str, Callable[[AnnotatedClip], np.ndarray]], ...] = (
    ("reprojection of rendered object coordinates", "pixels", "coordinates_px_p9999", coordinate_errors),
    ("displacement against Blender's forward flow", "pixels", "forward_flow_px", lambda clip: flow_errors(clip, 1)),
    ("displacement against Blender's backward flow", "pixels", "backward_flow_px", lambda clip: flow_errors(clip, -1)),
    ("depth at the query, relative", "", "query_depth", query_depth_errors),
)


def plot_errors(clips: list[AnnotatedClip], names: list[str], out: Path) -> None:
    """Write the picture: four histograms over all clips with their bounds, and one frame with its disagreeing samples.

    The frame is that with the most samples whose pixel shows another id; they lie on silhouettes.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 3, figsize=(15, 8.6), layout="constrained")
    for axis, (title, unit, bound, errors_of) in zip(axes.flat, HISTOGRAMS, strict=False):
        _plot_histogram(axis, title, unit, BOUNDS[bound], np.concatenate([errors_of(clip).ravel() for clip in clips]))
    most = max(range(len(clips)), key=lambda number: np.count_nonzero(~other_samples(clips[number]).agrees))
    _plot_disagreement(axes[1, 1], axes[1, 2], clips[most], names[most])
    temporary = out.with_name(f".{out.stem}.tmp{out.suffix}")
    figure.savefig(temporary, dpi=90)
    pyplot.close(figure)
    temporary.replace(out)


def _plot_histogram(axis, title: str, unit: str, bound: float, errors: np.ndarray) -> None:
    bins = np.geomspace(LEAST_ERROR, 10 * bound, NUM_BINS)
    axis.hist(errors.clip(LEAST_ERROR, bins[-1]), bins=bins, color="tab:blue")
    axis.axvline(bound, color="tab:red", label=f"bound {bound:g}")
    axis.set(xscale="log", yscale="log", xlabel=unit or "share", ylabel="samples")
    axis.set_title(f"{title}\n{errors.size:,} samples, largest {errors.max(initial=0):.2g}", fontsize=10)
    axis.legend()


def _plot_disagreement(whole, near, clip: AnnotatedClip, name: str) -> None:
    samples = other_samples(clip)
    counts = np.bincount(samples.t[~samples.agrees], minlength=len(clip.tracks))
    frame = int(counts.argmax())
    here = samples.t == frame
    ids = clip.passes.segmentation[frame]
    good, bad = (clip.tracks[frame, samples.number[here & mask]] for mask in (samples.agrees, ~samples.agrees))
    for axis in (whole, near):
        axis.imshow(ids, cmap="tab20", interpolation="nearest", extent=(0, ids.shape[1], ids.shape[0], 0), alpha=0.6)
        axis.plot(*good.T, ".", color="black", markersize=2)
        axis.plot(*bad.T, "o", color="red", markersize=5, markerfacecolor="none")
        axis.set(xlim=(0, ids.shape[1]), ylim=(ids.shape[0], 0), xticks=[], yticks=[])
    share = samples.agrees.mean() if samples.agrees.size else 1.0
    whole.set_title(f"{name}, frame {frame}: ids, visible tracks; red: another id\n{share:.1%} agree", fontsize=10)
    centre = np.median(bad, axis=0) if len(bad) else np.array(ids.shape[::-1]) / 2
    reach = max(8, ids.shape[0] // 8)
    near.set(xlim=(centre[0] - reach, centre[0] + reach), ylim=(centre[1] + reach, centre[1] - reach))
    near.set_title("the same, nearer: all red ones are next to a silhouette", fontsize=10)
