"""TETA and OWTA on cases with known answers, and OWTA against TrackEval."""

import json

import numpy as np
import pytest

from trainer.objects.alignment import pair_up
from trainer.objects.annotations import read_annotations
from trainer.objects.owta import LOCALISATION, score_owta
from trainer.objects.score import score_tracks
from trainer.objects.teta import score_teta

LEFT, RIGHT = [0, 0, 100, 100], [500, 0, 100, 100]


def make_annotations(path, rows, *, num_images=4, num_videos=1):
    """Rows of image number, track id, box, category; images 0..num_images-1 are spread over the videos in turn."""
    content = {
        "videos": [{"id": number, "name": f"v{number}"} for number in range(num_videos)],
        "images": [
            {"id": t, "video_id": t % num_videos, "frame_index": t, "file_name": f"{t}.png"} for t in range(num_images)
        ],
        "annotations": as_rows(rows),
    }
    path.write_text(json.dumps(content))
    return path


def as_rows(rows):
    return [{"image_id": t, "track_id": track, "bbox": list(box), "category_id": c} for t, track, box, c in rows]


@pytest.fixture
def score(tmp_path):
    """Score tracks against truth, both as rows of image number, track id, box and category."""

    def run(truth, tracks, **options):
        annotations = make_annotations(tmp_path / "a.json", truth, **options)
        (tmp_path / "t.json").write_text(json.dumps([row | {"score": 1.0} for row in as_rows(tracks)]))
        return score_tracks(tmp_path / "t.json", annotations)

    return run


def rows(track, box, category, times=range(4)):
    return [(t, track, box, category) for t in times]


TRUTH = rows(1, LEFT, 1)


def check(score, teta, owta):
    """TETA as its three parts, OWTA as its recall and accuracy where they are the same at all thresholds."""
    np.testing.assert_allclose([score["LocA"], score["AssocA"], score["ClsA"]], teta)
    np.testing.assert_allclose(score["TETA"], np.mean(teta))
    np.testing.assert_allclose([score["DetRe"], score["AssA"]], owta)


def test_the_truth_itself(score):
    found = score(TRUTH, TRUTH)
    check(found, [1, 1, 1], [1, 1])
    assert found["OWTA"] == 1
    counts = {"num_videos": 1, "num_images": 4, "num_true_boxes": 4, "num_boxes": 4}
    assert {name: found[name] for name in counts} == counts


def test_nothing_was_found(score):
    check(score(TRUTH, []), [0, 0, 0], [0, 0])


def test_a_wrong_category_costs_classification_alone(score):
    check(score(TRUTH, rows(7, LEFT, 2)), [1, 1, 0], [1, 1])


def test_a_track_in_two_halves_costs_association_alone(score):
    found = score(TRUTH, rows(7, LEFT, 1, (0, 1)) + rows(8, LEFT, 1, (2, 3)))
    check(found, [1, 0.5, 1], [1, 0.5])  # 2 / (4 + 2 - 2)
    np.testing.assert_allclose(found["OWTA"], np.sqrt(0.5))


def test_half_of_the_frames(score):
    found = score(TRUTH, rows(7, LEFT, 1, (0, 2)))
    check(found, [0.5, 0.5, 1], [0.5, 0.5])


def test_two_objects_that_swap_once(score):
    truth = rows(1, LEFT, 1) + rows(2, RIGHT, 1)
    tracks = (
        rows(7, LEFT, 1, (0, 1, 2)) + rows(7, RIGHT, 1, (3,)) + rows(8, RIGHT, 1, (0, 1, 2)) + rows(8, LEFT, 1, (3,))
    )
    association = (3 * 3 / 5 + 1 * 1 / 7) / 4  # 3 / (4 + 4 - 3) and 1 / (4 + 4 - 1)
    check(score(truth, tracks), [1, association, 1], [1, association])


def test_overlap_is_held_against_each_threshold(score):
    narrow = [0, 0, 62, 100]
    check(score(TRUTH, rows(7, narrow, 1)), [13 / 20, 13 / 20, 3 / 10], [12 / 19, 12 / 19])


def test_a_second_box_on_an_object_is_surplus_and_one_elsewhere_is_not(score):
    check(score(TRUTH, rows(7, LEFT, 1) + rows(8, [0, 0, 100, 90], 1)), [0.5, 1, 1], [1, 1])
    check(score(TRUTH, rows(7, LEFT, 1) + rows(8, RIGHT, 1)), [1, 1, 1], [1, 1])


def test_a_box_on_another_classs_object_is_not_surplus(score):
    near = [0, 0, 100, 70]
    truth = rows(1, LEFT, 1) + rows(2, near, 2)
    check(score(truth, rows(7, LEFT, 1) + rows(8, near, 2)), [1, 1, 1], [1, 1])


def test_classes_are_averaged(score):
    truth = rows(1, LEFT, 1) + rows(2, RIGHT, 2)
    check(score(truth, rows(7, LEFT, 1)), [0.5, 0.5, 0.5], [0.5, 1])


def test_a_label_given_to_anothers_object_counts_against_its_own_class(score):
    truth = rows(1, LEFT, 1) + rows(2, RIGHT, 2)
    check(score(truth, rows(7, LEFT, 2) + rows(8, RIGHT, 2)), [1, 1, (0 + 0.5) / 2], [1, 1])


def test_images_without_truth_are_not_counted(score):
    truth, tracks = rows(1, LEFT, 1, (0, 1)), rows(7, LEFT, 1)
    check(score(truth, tracks), [1, 1, 1], [1, 1])


def test_equal_ids_in_two_videos_are_two_tracks(score):
    truth = [(t, 1 + t % 2, LEFT, 1) for t in range(4)]
    check(score(truth, rows(7, LEFT, 1), num_videos=2), [1, 1, 1], [1, 1])


def test_scoring_needs_truth(tmp_path, score):
    with pytest.raises(ValueError, match=r"a\.json: no annotations in it"):
        score([], TRUTH)


def random_rows(rng, num_tracks, num_images):
    found = []
    for track in range(1, num_tracks + 1):
        corner, step = rng.uniform(0, 60, 2), rng.normal(0, 4, 2)
        for t in range(num_images):
            if rng.random() < 0.8:
                box = [*(corner + t * step), *rng.uniform(30, 60, 2)]
                found.append((t, track, box, int(rng.integers(1, 4))))
    return found


def test_owta_equals_trackeval(tmp_path):
    hota = pytest.importorskip("trackeval.metrics", reason="pip install trackeval==1.3.0 to compare").HOTA()
    rng = np.random.default_rng(0)
    annotations = read_annotations(
        make_annotations(tmp_path / "a.json", random_rows(rng, 6, 12), num_images=12, num_videos=3)
    )
    tracks = read_annotations(
        make_annotations(tmp_path / "b.json", random_rows(rng, 9, 12), num_images=12, num_videos=3)
    )
    videos = pair_up(annotations, tracks.truth)
    results = {}
    for video, pairs in videos.items():
        true_ids = sorted({n for pair in pairs for n in pair.truth.track_ids.tolist()})
        found_ids = sorted({n for pair in pairs for n in pair.found.track_ids.tolist()})
        results[str(video)] = hota.eval_sequence(
            {
                "num_gt_ids": len(true_ids),
                "num_tracker_ids": len(found_ids),
                "num_gt_dets": sum(len(pair.truth.track_ids) for pair in pairs),
                "num_tracker_dets": sum(len(pair.found.track_ids) for pair in pairs),
                "gt_ids": [np.searchsorted(true_ids, pair.truth.track_ids) for pair in pairs],
                "tracker_ids": [np.searchsorted(found_ids, pair.found.track_ids) for pair in pairs],
                "similarity_scores": [pair.overlap for pair in pairs],
            }
        )
    wanted = hota.combine_sequences(results)
    found = score_owta(videos)
    assert 0.1 < found["OWTA"] < 0.9
    np.testing.assert_allclose(LOCALISATION, hota.array_labels)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name].mean(), rtol=1e-12)
    assert 0 < score_teta(videos)["TETA"] < 1
