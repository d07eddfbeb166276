"""TETA, track-every-thing accuracy: localisation, association and classification apart (Li et al., ECCV 2022).

Written from the published definition with the conventions of its evaluation of TAO: boxes that overlap no true box of
a class are not counted, since not everything is annotated. PyPI has no package of it.

Legend: G true boxes, D tracked boxes of one image, A localisation thresholds.
"""

from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np

from trainer.objects.alignment import TOLERANCE, Alignment, Pair

LOCALISATION = np.arange(20) * 0.05
"""A: least overlaps of a match, 0..0.95."""
IS_CLASSIFIED = np.arange(20) >= 10
"""Classification is counted at thresholds from 0.5."""
CLUSTER_OVERLAP = 0.5
"""A tracked box belongs to a class's true box, and may be a false positive beside it, from this overlap."""


@dataclass(kw_only=True)
class _Counts:
    """What one class has, in one or more videos; arrays (A,). `association` is summed over matches."""

    located: np.ndarray = field(default_factory=lambda: np.zeros(20))
    missed: np.ndarray = field(default_factory=lambda: np.zeros(20))
    surplus: np.ndarray = field(default_factory=lambda: np.zeros(20))
    association: np.ndarray = field(default_factory=lambda: np.zeros(20))
    classified: np.ndarray = field(default_factory=lambda: np.zeros(20))
    misclassified: np.ndarray = field(default_factory=lambda: np.zeros(20))
    taken_for: np.ndarray = field(default_factory=lambda: np.zeros(20))
    """Matched boxes with this class's label on another class's object."""

    def scores(self) -> np.ndarray:
        """Accuracy of localisation, association and classification, (3,): means over thresholds."""
        everything = self.classified + self.misclassified + self.taken_for
        located = self.located / np.maximum(1, self.located + self.missed + self.surplus)
        association = self.association / np.maximum(1, self.located)
        classified = (self.classified / np.maximum(1, everything))[IS_CLASSIFIED]
        return np.array([located.mean(), association.mean(), classified.mean()])


def score_teta(videos: dict[int, list[Pair]]) -> dict[str, float]:
    """TETA, LocA, AssocA, ClsA in 0..1: means over the classes that have true boxes.

    Classes are the category ids of truth and tracks.
    """
    counts: dict[int, _Counts] = defaultdict(_Counts)
    classes = {int(label) for pairs in videos.values() for pair in pairs for label in pair.truth.labels}
    for pairs in videos.values():
        owners = _find_owners(pairs)
        for label in sorted({int(label) for pair in pairs for label in pair.truth.labels}):
            _count_class(pairs, label, owners, counts)
    scores = np.mean([counts[label].scores() for label in sorted(classes)], 0)
    return dict(zip(("TETA", "LocA", "AssocA", "ClsA"), [float(scores.mean()), *scores.tolist()], strict=True))


def _find_owners(pairs: list[Pair]) -> list[np.ndarray]:
    """Row of the true box that each tracked box (D,) of an image is given to, over all classes; -1 for none."""
    is_near = [(pair.overlap >= CLUSTER_OVERLAP).any(0) for pair in pairs]
    video = Alignment(pairs, [np.ones(len(pair.truth.labels), bool) for pair in pairs], is_near)
    owners = []
    for number, pair in enumerate(pairs):
        owner = np.full(len(pair.found.labels), -1)
        first, second, overlap = video.match(number)
        is_match = overlap >= CLUSTER_OVERLAP - TOLERANCE
        owner[video.found_columns[number][second[is_match]]] = video.true_rows[number][first[is_match]]
        owners.append(owner)
    return owners


def _count_class(pairs: list[Pair], label: int, owners: list[np.ndarray], counts: dict[int, _Counts]) -> None:
    """Add one class of one video to the counts of all classes."""
    is_true, is_near = [], []
    for pair, owner in zip(pairs, owners, strict=True):
        is_true.append(pair.truth.labels == label)
        is_others = (owner >= 0) & ~np.append(is_true[-1], True)[owner]
        is_near.append((pair.overlap[is_true[-1]] >= CLUSTER_OVERLAP).any(0) & ~is_others)
    video, mine = Alignment(pairs, is_true, is_near), counts[label]
    matches = np.zeros((len(LOCALISATION), *video.score.shape))
    for number, pair in enumerate(pairs):
        if not is_true[number].any():
            continue
        first, second, overlap = video.match(number)
        columns = video.found_columns[number][second]
        is_match = overlap >= LOCALISATION[:, None] - TOLERANCE  # (A, matches)
        is_right = pair.found.labels[columns] == label
        mine.located += is_match.sum(1)
        mine.missed += is_true[number].sum() - is_match.sum(1)
        mine.surplus += is_near[number].sum() - (is_match & is_near[number][columns]).sum(1)
        mine.classified += (is_match & is_right).sum(1)
        mine.misclassified += (is_match & ~is_right).sum(1)
        for column in np.flatnonzero(~is_right):
            counts[int(pair.found.labels[columns[column]])].taken_for += is_match[:, column]
        matches[:, video.true_ids[number][first], video.found_ids[number][second]] += is_match
    mine.association += video.sum_jaccard(matches)
