"""One picture of a clip: a frame, its depth and its ids, and the tracks drawn over three frames."""

from pathlib import Path

import numpy as np

from generation.annotate import annotate
from generation.config import TrackConfig
from generation.stored import read_depth, read_images, read_metadata, read_passes

NUM_DRAWN = 60
TRAIL = 4
"""Frames of the past that a track's line shows."""


def draw_clip(folder: Path, out: Path, config: TrackConfig) -> None:
    """Annotate a rendered clip and write the picture; raises ValueError when `folder` is no complete clip."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    metadata = read_metadata(folder)
    frames, ids = read_images(folder / "frames"), read_images(folder / "segmentations")
    depth_m = read_depth(folder, metadata)
    found = annotate(read_passes(folder), config, np.random.default_rng(metadata["seed"]))
    tracks, visible, object_id = found.tracks, found.visible, found.object_id
    middle = len(frames) // 2
    figure, axes = pyplot.subplots(2, 3, figsize=(12, 8.4), layout="constrained")
    axes[0, 0].imshow(frames[middle], interpolation="nearest")
    axes[0, 0].set_title(f"{folder.name}, frame {middle}")
    depth = axes[0, 1].imshow(depth_m[middle], cmap="viridis", interpolation="nearest")
    axes[0, 1].set_title("distance to the camera, metres")
    figure.colorbar(depth, ax=axes[0, 1], shrink=0.8)
    axes[0, 2].imshow(ids[middle], cmap="tab20", interpolation="nearest", vmin=0, vmax=19)
    axes[0, 2].set_title(f"{len(np.unique(ids)) - 1} objects over the clip")
    chosen = choose_tracks(visible, object_id)
    colours = matplotlib.colormaps["hsv"](np.linspace(0, 1, len(chosen), endpoint=False))
    for axis, frame in zip(axes[1], np.linspace(0, len(frames) - 1, 3).astype(int), strict=True):
        axis.imshow(frames[frame], interpolation="nearest", extent=(0, frames.shape[2], frames.shape[1], 0))
        first = max(0, frame - TRAIL)
        for number, colour in zip(chosen, colours, strict=True):
            line = np.where(visible[first : frame + 1, number, None], tracks[first : frame + 1, number], np.nan)
            axis.plot(*line.T, color=colour, linewidth=1)
            if visible[frame, number]:
                axis.plot(*tracks[frame, number], "o", color=colour, markersize=4, markeredgecolor="black")
        axis.set(xlim=(0, frames.shape[2]), ylim=(frames.shape[1], 0), title=f"tracks, frame {frame}")
    for axis in axes.flat:
        axis.set_axis_off()
    temporary = out.with_name(f".{out.stem}.tmp{out.suffix}")
    figure.savefig(temporary, dpi=100)
    pyplot.close(figure)
    temporary.replace(out)


def choose_tracks(visible: np.ndarray, object_id: np.ndarray) -> np.ndarray:
    """Indices of the tracks to draw: the longest seen, two of three of them on objects."""
    length = visible.sum(0)
    order = np.argsort(-length, kind="stable")
    on_object = [i for i in order if object_id[i] > 0]
    spread = np.random.default_rng(0).permutation(on_object[: max(1, len(on_object) // 2)])[: NUM_DRAWN * 2 // 3]
    ground = np.random.default_rng(1).permutation([i for i in order if object_id[i] == 0])[: NUM_DRAWN - len(spread)]
    return np.concatenate([spread, ground]).astype(int)
