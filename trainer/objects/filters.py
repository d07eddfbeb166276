"""Which detections of one frame are looked at: score, area, shape, and the removal of distractors.

Legend: D detections. Boxes are left, top, right, bottom in source pixels.
"""

import numpy as np

from trainer.objects.boxes import areas, clip_to_frame, overlaps
from trainer.objects.detections import Detections
from trainer.objects.settings import COMPARED_SIZE, ObjectSettings


def choose(detections: Detections, size: tuple[int, int], settings: ObjectSettings) -> Detections:
    """The detections that the tracker looks at in a frame of `size` (height, width), highest score first."""
    detections = detections.take(np.argsort(-detections.scores, kind="stable"))
    detections = detections.take(
        (detections.scores > settings.object_score) & have_good_shape(detections.boxes, size, settings)
    )
    return detections.take(~are_distractors(detections.boxes, detections.scores, settings))


def have_good_shape(boxes: np.ndarray, size: tuple[int, int], settings: ObjectSettings) -> np.ndarray:
    """Whether boxes (D, 4) have the least area and at most the aspect ratio in the frame -> (D,) bool.

    Both are measured on the part inside the frame of `size` (height, width), and the area after its resize to 512x384.
    """
    inside = clip_to_frame(boxes, size)
    compared_area = areas(inside) * (COMPARED_SIZE[0] / size[0]) * (COMPARED_SIZE[1] / size[1])
    sides = np.sort(inside[:, 2:] - inside[:, :2], 1)  # (D, 2) shorter, longer
    return (
        (compared_area > 0) & (compared_area >= settings.min_area) & (sides[:, 1] <= settings.max_aspect * sides[:, 0])
    )


def are_distractors(boxes: np.ndarray, scores: np.ndarray, settings: ObjectSettings) -> np.ndarray:
    """Whether boxes (D, 4), highest score first, are weak and overlap an earlier one of any category -> (D,) bool.

    An earlier box counts whether or not it is dropped itself.
    """
    earlier = np.tril(overlaps(boxes, boxes) > settings.distractor_overlap, k=-1).any(1)
    return (scores < settings.distractor_score) & earlier
