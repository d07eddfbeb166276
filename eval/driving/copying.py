"""Rollouts of the baseline that needs no training: the last given frame stays. It is told nothing."""

from __future__ import annotations

from pathlib import Path

from eval.driving.metrics import copy_frames
from eval.driving.rollouts import NONE, RolloutsWriter
from eval.driving.truth import DriveTruth

COPY = "copy"
"""The name of the row."""


def write_copies(index: str | Path, out: str | Path, settings: dict[str, int], num_clips: int | None = None) -> Path:
    """Write the rollouts of copying for every clip of a truth, from frame 0; settings: SIZES of the rollouts' file.

    num_clips: the first so many only.
    """
    truth = DriveTruth(index)
    header = {"model": COPY, "weights_sha256": "", "dataset_digest": truth.sha256, "settings": settings}
    with RolloutsWriter(out, **header) as writer:
        for key in truth.keys[:num_clips]:
            true, _ = truth.window(key, *(settings[name] for name in ("num_frames", "frame_step", "height", "width")))
            writer.add(key, 0, NONE, copy_frames(true, settings["num_given"]))
    return Path(out)
