"""Tracks against annotations: TETA and OWTA in one table."""

from pathlib import Path

from trainer.objects.alignment import pair_up
from trainer.objects.annotations import read_annotations, read_tracks
from trainer.objects.owta import score_owta
from trainer.objects.teta import score_teta


def score_tracks(tracks: Path, annotations: Path) -> dict[str, float | int]:
    """Score a TAO-style json of tracks; values in 0..1, and the numbers of videos, images and boxes they are from.

    Raises ValueError for files that do not fit each other.
    """
    truth = read_annotations(annotations)
    found = read_tracks(tracks, truth)
    videos = pair_up(truth, found)
    owta = score_owta(videos)
    pairs = [pair for video in videos.values() for pair in video]
    return {
        **score_teta(videos),
        **owta,
        "num_videos": len(videos),
        "num_images": len(pairs),
        "num_true_boxes": sum(len(pair.truth.labels) for pair in pairs),
        "num_boxes": sum(len(pair.found.labels) for pair in pairs),
    }
