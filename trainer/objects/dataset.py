"""A whole data set through the object tracker, video by video; what is finished is kept and not done again."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from shards.files import remove, sha256_of, write_text
from trainer.objects.annotations import AnnotatedImage, AnnotatedVideo, Annotations
from trainer.objects.detections import Detections
from trainer.objects.following import as_rows, follow, look_up, new_tracker
from trainer.objects.object_tracker import PointTracker
from trainer.objects.settings import ObjectSettings

VERSION = 1
"""Of the rows of a finished video: raise it when a change of the code changes them."""


@dataclass(frozen=True, kw_only=True)
class DatasetRun:
    """What decides the tracks of a data set: `identity` is a digest of files and options beside the settings."""

    annotations: Annotations
    images_root: Path
    detections: dict[int, Detections]
    settings: ObjectSettings
    identity: str


def identify(files: list[Path], settings: ObjectSettings, *options: object) -> str:
    """Digest of the content of files, the settings and further options."""
    parts = [VERSION, [sha256_of(path) for path in files], asdict(settings), [str(option) for option in options]]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def track_dataset(run: DatasetRun, points: PointTracker, out: Path) -> int:
    """Track all videos and write TAO-style json with track ids unique over all of them; returns the number of boxes.

    Finished videos wait in the folder `<out>.parts` until all are done; the same command then goes on after them.
    Raises ValueError for images that are missing, damaged or of another size than annotated.
    """
    _check_images(run)
    parts = out.with_name(f"{out.name}.parts")
    bar = tqdm(total=sum(len(video.images) for video in run.annotations.videos), unit="frame", disable=None)
    for video in run.annotations.videos:
        bar.set_description(video.name)
        part = parts / f"{video.id}.json"
        if _read_part(part, run.identity) is None:
            rows = list(_track_video(run, video, points, bar.update))
            write_text(part, json.dumps({"identity": run.identity, "rows": rows}))
        else:
            bar.update(len(video.images))
    bar.close()
    rows = _join([_read_part(parts / f"{video.id}.json", run.identity) for video in run.annotations.videos])
    write_text(out, json.dumps(rows))
    remove(parts)
    return len(rows)


def read_image(image: AnnotatedImage, root: Path) -> np.ndarray:
    """An image (H, W, 3) uint8 RGB; ValueError where it cannot be read, or has not the size that is annotated."""
    path = root / image.file_name
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: not a picture that can be read")
    if image.size is not None and picture.shape[:2] != image.size:
        (height, width), (wanted_height, wanted_width) = picture.shape[:2], image.size
        raise ValueError(
            f"{path}: is {width}x{height}, annotated are boxes of {wanted_width}x{wanted_height}; use the images as "
            "published"
        )
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def _track_video(
    run: DatasetRun, video: AnnotatedVideo, points: PointTracker, advance: Callable[[], object]
) -> Iterator[dict]:
    detections = look_up(run.detections)
    frames = (read_image(image, run.images_root) for image in video.images)
    tracker = new_tracker(points, run.settings, video.name)
    tracked = follow(frames, lambda number: detections(video.images[number].id), tracker)
    for image, (_, found) in zip(video.images, tracked, strict=True):
        yield from as_rows(found, image_id=image.id, video_id=video.id)
        advance()


def _check_images(run: DatasetRun) -> None:
    paths = [run.images_root / image.file_name for video in run.annotations.videos for image in video.images]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ValueError(
            f"{missing[0]}: no such image ({len(missing)} of {len(paths)} are missing); is --images right?"
        )


def _read_part(path: Path, identity: str) -> list[dict] | None:
    """The rows of a finished video, or None where there is none of this run."""
    if not path.exists():
        return None
    part = json.loads(path.read_text())
    return part["rows"] if part["identity"] == identity else None


def _join(videos: list[list[dict]]) -> list[dict]:
    """Rows of all videos; track ids are counted on from video to video."""
    rows, past = [], 0
    for video in videos:
        rows += [row | {"track_id": row["track_id"] + past} for row in video]
        past += max((row["track_id"] for row in video), default=0)
    return rows
