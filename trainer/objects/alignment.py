"""Truth and tracks side by side, and matched one to one: what both metrics are counted from.

Legend: G true boxes, D tracked boxes of one image.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from trainer.objects.annotations import Annotations, Boxes
from trainer.objects.boxes import overlaps

TOLERANCE = np.finfo(float).eps
NO_BOXES = Boxes(boxes=np.zeros((0, 4)), track_ids=np.zeros(0, np.int64), labels=np.zeros(0, np.int64))


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The true and the tracked boxes of one image, and their overlap (G, D): intersection over union."""

    truth: Boxes
    found: Boxes
    overlap: np.ndarray


def pair_up(annotations: Annotations, tracks: dict[int, Boxes]) -> dict[int, list[Pair]]:
    """Pairs of each video's images in their order, by video id.

    Only images that have true boxes are counted (TAO is not annotated in all). Raises ValueError where none has.
    """
    if not annotations.truth:
        raise ValueError(f"{annotations.path}: no annotations in it, so there is nothing to score against")
    videos = {}
    for video in annotations.videos:
        pairs = []
        for image in video.images:
            if image.id in annotations.truth:
                truth, found = annotations.truth[image.id], tracks.get(image.id, NO_BOXES)
                pairs.append(Pair(truth=truth, found=found, overlap=overlaps(truth.boxes, found.boxes)))
        if pairs:
            videos[video.id] = pairs
    return videos


def number_from_zero(ids: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """The same ids as numbers 0..K-1 in the order of their values, and K."""
    known, numbers = np.unique(np.concatenate([*ids, np.zeros(0, np.int64)]), return_inverse=True)
    return np.split(numbers, np.cumsum([len(part) for part in ids])[:-1]), len(known)


class Alignment:
    """How well true and tracked tracks of one video fit as wholes, among chosen true boxes (and what is near them).

    Of the tracked boxes all those take part whose track is near a true box somewhere in the video.
    """

    def __init__(self, pairs: list[Pair], is_true: list[np.ndarray], is_near: list[np.ndarray]):
        near = [pair.found.track_ids[mask] for pair, mask in zip(pairs, is_near, strict=True)]
        near_ids = np.unique(np.concatenate(near))
        self.true_rows = [np.flatnonzero(mask) for mask in is_true]
        self.found_columns = [np.flatnonzero(np.isin(pair.found.track_ids, near_ids)) for pair in pairs]
        self.overlap = [
            pair.overlap[np.ix_(rows, columns)]
            for pair, rows, columns in zip(pairs, self.true_rows, self.found_columns, strict=True)
        ]
        self.true_ids, num_truths = number_from_zero(
            [pair.truth.track_ids[rows] for pair, rows in zip(pairs, self.true_rows, strict=True)]
        )
        self.found_ids, num_founds = number_from_zero(
            [pair.found.track_ids[columns] for pair, columns in zip(pairs, self.found_columns, strict=True)]
        )
        self.num_true = np.bincount(np.concatenate(self.true_ids), minlength=num_truths)
        self.num_found = np.bincount(np.concatenate(self.found_ids), minlength=num_founds)
        together = np.zeros((num_truths, num_founds))
        for overlap, rows, columns in zip(self.overlap, self.true_ids, self.found_ids, strict=True):
            share = overlap.sum(0) + overlap.sum(1, keepdims=True) - overlap
            share = np.divide(overlap, share, out=np.zeros_like(overlap), where=share > TOLERANCE)
            together[rows[:, None], columns] += share
        self.score = together / (self.num_true[:, None] + self.num_found - together)

    def match(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The best one-to-one match in an image: places in `true_rows` and `found_columns`, and overlaps."""
        score = self.score[self.true_ids[number][:, None], self.found_ids[number]]
        first, second = linear_sum_assignment(-score * self.overlap[number])
        return first, second, self.overlap[number][first, second]

    def sum_jaccard(self, matches: np.ndarray) -> np.ndarray:
        """Sum over matches of how well their two tracks agree: TP / (TP + FP + FN) of the pair of tracks.

        matches: (A, true tracks, tracked tracks) counts -> (A,).
        """
        either = self.num_true[:, None] + self.num_found - matches
        return (matches * matches / np.maximum(1, either)).sum((1, 2))
