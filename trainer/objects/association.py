"""How well each detection fits each track, by the track's points, and who gets whom (LBM, section 4.5).

Legend: D detections, K tracks, N points of all tracks. Boxes are left, top, right, bottom in source pixels.
"""

from dataclasses import dataclass

import numpy as np

from trainer.objects.boxes import areas, centres, contain
from trainer.objects.detections import Detections
from trainer.objects.settings import COMPARED_SIZE, ObjectSettings

LARGEST_EXPONENT = 50.0
"""Of the growth of the distance gate: far beyond any frame, and far below what overflows."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The tracks that wait for a box: their last boxes (K, 4) and labels (K,), frames since then (K,), and points.

    points: (N, 2) where the points are now; owner: (N,) the row of the track that each one belongs to.
    """

    boxes: np.ndarray
    labels: np.ndarray
    frames_since: np.ndarray
    points: np.ndarray
    owner: np.ndarray


def count_points(boxes: np.ndarray, candidates: Candidates) -> np.ndarray:
    """How many points of each track are in each box, hidden ones too -> (D, K)."""
    is_owner = candidates.owner[:, None] == np.arange(len(candidates.boxes))  # (N, K)
    return contain(boxes, candidates.points).astype(np.int64) @ is_owner.astype(np.int64)


def match_matrix(
    detections: Detections, candidates: Candidates, size: tuple[int, int], settings: ObjectSettings
) -> np.ndarray:
    """The match of each detection with each track in a frame of `size` (height, width) -> (D, K) in 0..1.

    Points inside x clamped ratio of areas (track to box) x detection score x label factor; the mean of its softmaxes
    over detections and over tracks; x distance gate.
    """
    counts = count_points(detections.boxes, candidates)
    ratio = areas(candidates.boxes)[None] / areas(detections.boxes)[:, None]
    is_same = detections.labels[:, None] == candidates.labels[None]
    support = counts * np.clip(ratio, settings.min_area_ratio, 1) * detections.scores[:, None]
    support = support * np.where(is_same, 1.0, settings.other_label_factor)
    if not support.size:
        return support
    match = (softmax(support, 0) + softmax(support, 1)) / 2
    match = match * distance_gate(detections.boxes, candidates, size, settings)
    return np.where(counts >= settings.min_points_inside, match, 0.0)


def distance_gate(
    boxes: np.ndarray, candidates: Candidates, size: tuple[int, int], settings: ObjectSettings
) -> np.ndarray:
    """1 for boxes near the track's last one, less for those farther away -> (D, K).

    The distance of the centres, in pixels of a 512x384 frame, is free up to max_distance * exp(dt / (fps / 6)), dt the
    frames since the track had a box (1: in the frame before); beyond, the gate is exp(-excess / (100 / fps)).
    """
    scale = np.array([COMPARED_SIZE[1] / size[1], COMPARED_SIZE[0] / size[0]])
    between = (centres(boxes)[:, None] - centres(candidates.boxes)[None]) * scale  # (D, K, 2)
    growth = np.minimum(candidates.frames_since / (settings.frames_per_second / 6), LARGEST_EXPONENT)
    excess = np.hypot(*np.moveaxis(between, -1, 0)) - settings.max_distance * np.exp(growth)
    return np.exp(-np.clip(excess, 0, None) / (100 / settings.frames_per_second))


def assign(match: np.ndarray, match_score: float) -> list[tuple[int, int]]:
    """Pairs (detection, track): each detection in its order takes its best free track if above `match_score`."""
    pairs, match = [], match.copy()
    for detection in range(match.shape[0] if match.size else 0):
        track = int(match[detection].argmax())
        if match[detection, track] > match_score:
            pairs.append((detection, track))
            match[:, track] = -np.inf
    return pairs


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    """Softmax of `values` over one axis."""
    powers = np.exp(values - values.max(axis, keepdims=True))
    return powers / powers.sum(axis, keepdims=True)
