"""Frames with tracked boxes and their points drawn on them."""

import cv2
import numpy as np

from eval.drawing import identity_color
from trainer.objects.object_tracker import ObjectTracker, TrackedBox

SUBPIXEL_BITS = 4
OUTLINE = (20, 20, 24)


def draw_objects(frame: np.ndarray, found: list[TrackedBox], tracker: ObjectTracker) -> np.ndarray:
    """A copy of the frame (H, W, 3) uint8 with boxes, numbers and points; each track has its colour.

    Points are those followed into this frame that are still used: dots, or circles where hidden. Tracks that wait for
    a box show their points alone.
    """
    image = frame.copy()
    width = max(1, round(max(frame.shape[:2]) / 300))
    owners, positions = tracker.owners, tracker.positions
    for number, point, is_visible in zip(positions.ids.tolist(), positions.points, positions.visible, strict=True):
        if number in owners:
            color = identity_color(owners[number])
            cv2.circle(image, *_fixed(point, width + 0.5), color, -1 if is_visible else 1, cv2.LINE_AA, SUBPIXEL_BITS)
    for item in found:
        low, high = (_fixed(corner, 0)[0] for corner in item.box.reshape(2, 2))
        for color, thickness in ((OUTLINE, width + 2), (identity_color(item.track_id), width)):
            cv2.rectangle(image, low, high, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)
    for item in found:
        _write_number(image, item, width)
    return image


def _write_number(image: np.ndarray, item: TrackedBox, width: int) -> None:
    """Put the track's number on a plate at the box's top left corner, inside the frame."""
    scale = max(0.35, 0.3 * width)
    (text_width, text_height), below = cv2.getTextSize(str(item.track_id), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    height = text_height + below
    left = int(np.clip(item.box[0], 0, max(0, image.shape[1] - text_width - 4)))
    top = int(np.clip(item.box[1] - height, 0, max(0, image.shape[0] - height)))
    cv2.rectangle(image, (left, top), (left + text_width + 3, top + height), identity_color(item.track_id), -1)
    place = (left + 2, top + text_height + below // 2)
    cv2.putText(image, str(item.track_id), place, cv2.FONT_HERSHEY_SIMPLEX, scale, OUTLINE, 1, cv2.LINE_AA)


def _fixed(point: np.ndarray, radius: float) -> tuple[tuple[int, int], int]:
    """A raster position and a radius in OpenCV's sixteenths, which count from the centre of the top-left pixel."""
    x, y = np.rint((np.clip(point, -1e5, 1e5) - 0.5) * 2**SUBPIXEL_BITS).astype(int).tolist()
    return (x, y), round(radius * 2**SUBPIXEL_BITS)
