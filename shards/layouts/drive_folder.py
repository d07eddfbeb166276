"""Drives that `python -m generation driving` rendered: frames and metadata, without tracks."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shards.clip import Clip
from shards.driving.drive import Drive
from shards.driving.motion import commands_of, goals_of
from shards.index import read_json
from shards.layouts.clip_folder import read_listed
from shards.layouts.driving_frames import drive_clip
from shards.layouts.files import in_order, naming
from shards.members import decode_rgb, stack_frames

CLIPS_FORMAT = "frameline-clips/1"


def read_drive_folders(path: Path) -> Iterator[Clip]:
    """Drives that `python -m generation driving` rendered: the list that its --done wrote, which is not annotated.

    Every file is held against the clip's manifest, and that against the list; ValueError names what is damaged.
    Commands and goals are made as nuScenes' are, from the poses; speed, yaw rate and steering are those of the motion.
    """
    rows = read_json(path, CLIPS_FORMAT).get("clips")
    with naming(path):
        rows = [(path.parent / row["path"], row["key"], row["manifest_sha256"]) for row in rows]
    for folder, key, sha256 in rows:
        with naming(folder):
            contents, metadata = read_listed(folder, sha256, ("frames/",))
            if "drive" not in metadata:
                raise ValueError(
                    "is no drive; annotate the list (python -m generation annotate), then pack as clip_folder"
                )
            frames = stack_frames([decode_rgb(contents[name]) for name in in_order(contents, "frames/")])
            told = {name: np.array(values, np.float64) for name, values in metadata.pop("drive").items()}
            intrinsics = np.array(metadata["camera"]["matrix"], np.float64)
            times_s, poses = told["times_s"], told["camera_to_world"]
            drive = Drive(
                **told,
                goal=goals_of(times_s, poses, intrinsics, frames.shape[1:3]),
                commands=commands_of(times_s, poses),
            )
            clip = drive_clip(key, frames, drive, metadata)
        yield clip
