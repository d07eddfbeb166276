"""OWTA, open-world tracking accuracy: how much of the truth is found, and how well it is joined, whatever the category.

OWTA = sqrt(detection recall x association accuracy), mean over localisation thresholds (Liu et al., CVPR 2022), with
HOTA's matching (Luiten et al., IJCV 2021). Written from the published definitions: TrackEval 1.3.0 of PyPI gives the
same values, and a test compares the two where it is installed, but it brings opencv-python along, which overwrites the
headless OpenCV of this project with one that needs a screen's libraries.
"""

import numpy as np

from trainer.objects.alignment import TOLERANCE, Alignment, Pair

LOCALISATION = np.arange(1, 20) * 0.05
"""A: least overlaps of a match, 0.05..0.95."""


def score_owta(videos: dict[int, list[Pair]]) -> dict[str, float]:
    """OWTA, DetRe and AssA over all videos, in 0..1, means over the localisation thresholds.

    Tracked boxes that match nothing cost nothing by themselves; they lengthen their track, which AssA sees.
    """
    matched, association, num_true = np.zeros(19), np.zeros(19), 0  # the first two (A,)
    for pairs in videos.values():
        everything = [np.ones(len(pair.truth.labels), bool) for pair in pairs]
        alignment = Alignment(pairs, everything, [np.ones(len(pair.found.labels), bool) for pair in pairs])
        matches = np.zeros((len(LOCALISATION), *alignment.score.shape))
        for number in range(len(pairs)):
            first, second, overlap = alignment.match(number)
            ids = alignment.true_ids[number][first], alignment.found_ids[number][second]
            matches[:, *ids] += overlap >= LOCALISATION[:, None] - TOLERANCE
        matched += matches.sum((1, 2))
        association += alignment.sum_jaccard(matches)
        num_true += sum(map(len, everything))
    recall, accuracy = matched / num_true, association / np.maximum(1, matched)
    return {
        "OWTA": float(np.sqrt(recall * accuracy).mean()),
        "DetRe": float(recall.mean()),
        "AssA": float(accuracy.mean()),
    }
