"""BADJA: joints of animals in real videos, annotated in some of the frames (Biggs et al., Creatures great and SMAL).

Shape legend: T frames, N joints.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.layouts.files import naming
from shards.layouts.tapvid import iterate_videos, make_tapvid_clip

FILE = "badja.pkl"


def read_badja(path: Path) -> Iterator[Clip]:
    """BADJA: a pickle like TAP-Vid's with `labelled`, or the folder that holds it as badja.pkl.

    Per video as in `read_tapvid`, and labelled (N, T) bool: in a labelled frame all joints are, and a joint is occluded
    where it is not labelled. A file may give segmentation_area (T,), the animal's pixels in each frame. A clip's
    metadata gets `labels`: the labelled `frames`, and the `segmentation_area` of these.
    """
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{file}: not there; give the folder that holds {FILE}")
    for key, video in iterate_videos(file):
        with naming(file, f"video {key!r}"):
            clip = make_tapvid_clip(key, video, {"source": "badja", "labels": _labels_of(video)})
        yield clip


def _labels_of(video: dict[str, Any]) -> dict[str, list]:
    occluded, labelled = (np.asarray(video[name], bool) for name in ("occluded", "labelled"))  # (N, T)
    if labelled.shape != occluded.shape:
        raise ValueError(f"labelled has shape {labelled.shape}, occluded has {occluded.shape}")
    frames = np.flatnonzero(labelled.any(axis=0))
    if not len(frames) or not labelled[:, frames].all():
        raise ValueError("labelled: expected some frames in which every joint is labelled, and none in the others")
    if not occluded[~labelled].all():
        raise ValueError("a joint is visible in a frame without labels; occluded has to be true there")
    labels: dict[str, list] = {"frames": frames.tolist()}
    if "segmentation_area" in video:
        area = np.asarray(video["segmentation_area"], float)
        if area.shape != labelled.shape[1:] or not (area[frames] > 0).all():
            expected = f"({labelled.shape[1]},), positive where labelled"
            raise ValueError(f"segmentation_area {area.shape}: expected {expected}")
        labels["segmentation_area"] = area[frames].tolist()
    return labels
