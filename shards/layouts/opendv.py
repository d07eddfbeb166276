"""OpenDV-YouTube as users extract it: folders of numbered frames at any depth, one a video, without any label."""

import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shards.clip import Clip
from shards.driving.drive import Drive
from shards.driving.reading import DriveReading
from shards.layouts.choice import WHOLE, Choice, cut_metadata
from shards.layouts.driving_frames import drive_clip, read_clip_frames
from shards.layouts.files import IMAGE, clean_name, list_images, naming

LICENCE = "OpenDV-YouTube: that of each video"
LONGEST_KEY = 64


def read_opendv(path: Path, reading: DriveReading, choice: Choice = WHOLE) -> Iterator[Clip]:
    """OpenDV-YouTube: a folder of numbered frames, or one that holds such at any depth; a clip a folder; --rate.

    The drive of a clip has times alone, by `reading.rate_hz`: no action is known. An hour is 36,000 frames, so give a
    window. Raises ValueError for a path without frames, and for one that is missing, damaged or comes twice.
    """
    for folder in find_folders(path):
        files = list_images(folder)
        key = key_of(folder, path)
        times_s = np.arange(len(files)) / reading.rate_hz
        with naming(folder):
            ranges = choice.ranges(len(files))
        for frames in ranges:
            with naming(folder):
                video, _ = read_clip_frames(files[frames.start : frames.stop], choice.height)
                metadata = {
                    "recipe": {"source": "opendv", "frame_rate": reading.rate_hz},
                    "folder": folder.name,
                    "first_frame": files[frames.start].name,
                    "licence": LICENCE,
                }
                drive = Drive(times_s=times_s[frames.start : frames.stop])
                clip = drive_clip(choice.name(key, frames), video, drive, cut_metadata(metadata, frames, len(files)))
            yield clip


def find_folders(path: Path) -> list[Path]:
    """Folders with numbered frames at and below `path` in the order of their names; ValueError where there is none.

    Links to folders are followed, as videos lie on several disks; a folder that is reached twice counts once.
    """
    if not path.is_dir():
        raise ValueError(f"{path}: not there; give a folder of frames, or the folder that holds such folders")
    found, seen = [], set()
    for folder, inner, files in os.walk(path, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            inner.clear()
            continue
        seen.add(place)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if any(re.fullmatch(IMAGE, name) for name in files):
            found.append(Path(folder))
    if not found:
        raise ValueError(f"{path}: there is no folder with frames, such as 000000.jpg, in it")
    return sorted(found)


def key_of(folder: Path, path: Path) -> str:
    """The key of a folder at or below `path`; names that are long or have other characters end with their crc32."""
    parts = (folder.resolve().name,) if folder == path else folder.relative_to(path).parts
    name = "-".join(parts)
    key = clean_name(name)
    if key == name and len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 9]}-{zlib.crc32('/'.join(parts).encode()):08x}"
