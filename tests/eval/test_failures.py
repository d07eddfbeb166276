"""The worst tracks: chosen against a slow loop, and drawn where they are."""

import io

import numpy as np
import pytest
from PIL import Image

from eval.drawing import GAP, TITLE_HEIGHT, identity_color
from eval.failures import LONG_SIDE, choose_frames, draw_failure, find_failures
from eval.predictions import VideoPrediction, read_predictions, write_predictions
from eval.protocol import Truth


@pytest.fixture(scope="module")
def truth(truth_path):
    return Truth(truth_path)


def predict(truth, folder, mode="first"):
    """The truth, but for points that jump away at frame 5: the last of `still` by 100 pixels, the first by 20."""
    videos = []
    for name in truth.names:
        video = truth.video(name, mode)
        tracks = video.target_points.copy()
        if name == "still":
            tracks[-1, 5:, 0] -= 100
            tracks[0, 5:, 1] += 20
        videos.append(
            VideoPrediction(
                name=name,
                query_points=video.query_points,
                tracks=tracks.astype(np.float32),
                occluded=video.occluded,
            )
        )
    path = write_predictions(
        folder / f"{mode}.npz", tracker="jumps", query_mode=mode, truth_sha256=truth.sha256, videos=videos
    )
    return read_predictions(path)


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_the_worst_tracks_are_those_of_a_slow_loop(truth, tmp_path, mode):
    predictions = predict(truth, tmp_path, mode)
    expected = []
    for name in truth.names:
        video, predicted = truth.video(name, mode), predictions.video(name)
        rows = []
        for query, (start, _, _) in enumerate(video.query_points):
            errors = [
                np.hypot(*(predicted.tracks[query, t] - video.target_points[query, t]))
                for t in range(video.num_frames)
                if not video.occluded[query, t] and (t > start if mode == "first" else t != start)
            ]
            if errors:
                delta = np.mean([[error < threshold for error in errors] for threshold in (1, 2, 4, 8, 16)])
                rows.append((delta, -np.mean(errors), name, query))
        expected += sorted(rows)[:2]
    found = find_failures(truth, predictions, 3)
    assert [(each.video, each.query) for each in found] == [row[2:] for row in sorted(expected)[:3]]
    np.testing.assert_allclose([each.delta for each in found], [row[0] for row in sorted(expected)[:3]])
    np.testing.assert_allclose([-each.mean_error for each in found], [row[1] for row in sorted(expected)[:3]])


def test_a_failure_is_drawn_at_the_truth_and_at_the_prediction(truth, tmp_path):
    predictions = predict(truth, tmp_path)
    worst, second = find_failures(truth, predictions, 2)
    assert (worst.video, worst.query, worst.lost_from) == ("still", 3, 5)
    assert (second.query, second.lost_from) == (0, 5)
    frames = choose_frames(worst)
    assert len(frames) == 4 and {0, 5, 9} <= set(frames)
    image = np.asarray(Image.open(io.BytesIO(draw_failure(truth, predictions, worst))).convert("RGB")).astype(int)
    left = frames.index(9) * (LONG_SIDE + GAP)
    target = truth.video("still", "first").target_points[3, 9] * LONG_SIDE / 256  # (x, y), the frame is half as high
    jumped = target - np.array([100 * LONG_SIDE / 256, 0])
    for (x, y), color in ((target, identity_color(0)), (jumped, identity_color(1))):
        row, column = round(y / 2) + TITLE_HEIGHT, left + round(x)
        near = image[row - 3 : row + 4, column - 3 : column + 4].reshape(-1, 3)
        assert np.abs(near - color).max(axis=1).min() < 60
