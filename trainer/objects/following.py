"""One video through the object tracker: frames and detections in, TAO-style rows and drawn frames out."""

import zlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from trainer.objects.boxes import to_xywh
from trainer.objects.detections import NO_DETECTIONS, Detections
from trainer.objects.object_tracker import ObjectTracker, PointTracker, TrackedBox
from trainer.objects.settings import ObjectSettings

DECIMALS = 3
"""Of positions in files: thousandths of a pixel."""


def follow(
    frames: Iterable[np.ndarray], detections: Callable[[int], Detections], tracker: ObjectTracker
) -> Iterator[tuple[np.ndarray, list[TrackedBox]]]:
    """Yield each frame (H, W, 3) uint8 with its tracked boxes; `detections` gives those of a frame by its number."""
    for number, frame in enumerate(frames):
        yield frame, tracker.step(frame, detections(number))


def new_tracker(points: PointTracker, settings: ObjectSettings, video_name: str) -> ObjectTracker:
    """A tracker for one video; its points are drawn from the settings' seed and the video's name."""
    return ObjectTracker(points, settings, seed=zlib.crc32(video_name.encode()))


def as_rows(found: list[TrackedBox], *, image_id: int, video_id: int) -> list[dict]:
    """Tracked boxes of an image as TAO-style json objects; bbox is [x, y, width, height] in source pixels."""
    return [
        {
            "video_id": video_id,
            "image_id": image_id,
            "bbox": np.round(to_xywh(item.box[None])[0], DECIMALS).tolist(),
            "score": item.score,
            "category_id": item.label,
            "track_id": item.track_id,
        }
        for item in found
    ]


def look_up(detections: dict[int, Detections]) -> Callable[[int], Detections]:
    """Detections by key; none where a key is not there."""
    return lambda key: detections.get(key, NO_DETECTIONS)
