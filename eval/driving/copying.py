"""Rollouts of the baseline that needs no training: the last given frame stays. It is told nothing."""

from __future__ import annotations

from pathlib import Path

from eval.driving.metrics import copy_frames
from eval.driving.rollouts import NONE, WINDOW, RolloutsWriter
from eval.driving.truth import DriveTruth

COPY = "copy"
"""The name of the row."""


def write_copies(
    index: str | Path, out: str | Path, settings: dict[str, int], num_clips: int | None = None, num_windows: int = 1
) -> Path:
    """Write the rollouts of copying for every clip of a truth; settings: SIZES of the rollouts' file.

    num_clips: the first so many only. num_windows: of each, the first at frame 0 (DriveTruth.starts).
    """
    truth = DriveTruth(index)
    header = {"model": COPY, "weights_sha256": "", "dataset_digest": truth.sha256, "settings": settings}
    with RolloutsWriter(out, **header) as writer:
        for key in truth.keys[:num_clips]:
            for first in truth.starts(key, settings["num_frames"], settings["frame_step"], num_windows):
                true, _ = truth.window(key, *(settings[name] for name in WINDOW), first)
                writer.add(key, first, NONE, copy_frames(true, settings["num_given"]))
    return Path(out)
