"""Lucas-Kanade on videos whose every motion is known: sub-pixel translations, a bar in front, the image's edge."""

import numpy as np
import pytest

from eval.__main__ import main
from eval.baselines import predict_baseline
from eval.lucas_kanade import track_lucas_kanade
from eval.predictions import read_predictions
from eval.protocol import Truth
from eval.score import score_predictions
from tests.eval.conftest import pack_truth

SIZE, NUM_FRAMES = 256, 8
VELOCITY = np.array([2.3, -1.45])  # pixels a frame, (x, y)
BAR = slice(120, 150)  # columns of the bar that hides what is behind it


def moving_video(velocity=VELOCITY, num_frames=NUM_FRAMES, bar=None, growth=0.0) -> np.ndarray:
    """Waves in many directions, sampled at pixel centres, that move and grow as a whole: (T, H, W, 3)."""
    generator = np.random.default_rng(5)
    waves = generator.uniform(-0.35, 0.35, (40, 2))  # radians a pixel
    phases = generator.uniform(0, 2 * np.pi, 40)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    frames = []
    for frame in range(num_frames):
        x, y = (np.stack([columns, rows]) - frame * np.reshape(velocity, (2, 1, 1))) / (1 + growth * frame)
        value = sum(np.cos(wx * x + wy * y + phase) for (wx, wy), phase in zip(waves, phases, strict=True))
        picture = np.clip(128 + 14 * value, 0, 255).astype(np.uint8)
        if bar is not None:
            picture[:, bar] = 255 * (np.arange(SIZE) // 8 % 2)[:, None]
        frames.append(np.repeat(picture[..., None], 3, axis=2))
    return np.stack(frames)


def make_queries(frames, positions_xy) -> np.ndarray:
    return np.array([[t, y, x] for t, (x, y) in zip(frames, positions_xy, strict=True)], np.float64)


def true_tracks(queries, num_frames=NUM_FRAMES) -> np.ndarray:
    elapsed = np.arange(num_frames) - queries[:, :1]  # (N, T)
    return queries[:, None, [2, 1]] + elapsed[..., None] * VELOCITY


QUERIES = make_queries([0, 0, 4, 7, 2], [(60.5, 80.25), (128, 128), (100.7, 150.1), (180.2, 90.6), (200, 200)])


def test_sub_pixel_translation_is_followed_forward_and_backward():
    video = moving_video()
    tracks, occluded = track_lucas_kanade(QUERIES, NUM_FRAMES, lambda: video)
    assert tracks.shape == (5, NUM_FRAMES, 2) and tracks.dtype == np.float32 and occluded.dtype == bool
    # An error of half a pixel in the convention of coordinates would stay hidden here, as the motion is the same
    # everywhere; the next test holds it.
    np.testing.assert_allclose(tracks, true_tracks(QUERIES), atol=0.1)
    assert not occluded.any()
    for track, (t, y, x) in zip(tracks, QUERIES, strict=True):
        np.testing.assert_array_equal(track[int(t)], np.float32([x, y]))


def test_a_mirrored_video_has_mirrored_tracks():
    """In a picture that grows, half a pixel of convention tells left from right: there and mirrored it adds up."""
    video = moving_video((0, 0), growth=0.02)
    generator = np.random.default_rng(1)
    start = generator.uniform(30, 200, (50, 2))
    tracks, _ = track_lucas_kanade(make_queries([0] * 50, start), NUM_FRAMES, lambda: video)
    mirrored_start = start * [-1, 1] + [SIZE, 0]
    mirrored_video = np.ascontiguousarray(video[:, :, ::-1])
    mirrored, _ = track_lucas_kanade(make_queries([0] * 50, mirrored_start), NUM_FRAMES, lambda: mirrored_video)
    difference = np.abs(mirrored * [-1, 1] + [SIZE, 0] - tracks).max(axis=(1, 2))  # (N,)
    assert difference.max() < 0.01


def test_a_query_depends_on_no_other():
    video = moving_video(bar=BAR)
    together, hidden = track_lucas_kanade(QUERIES, NUM_FRAMES, lambda: video)
    order = np.array([3, 0, 4, 2, 1])
    permuted, hidden_permuted = track_lucas_kanade(QUERIES[order], NUM_FRAMES, lambda: video)
    np.testing.assert_array_equal(permuted, together[order])
    np.testing.assert_array_equal(hidden_permuted, hidden[order])
    for number, query in enumerate(QUERIES):
        alone, hidden_alone = track_lucas_kanade(query[None], NUM_FRAMES, lambda: video)
        np.testing.assert_array_equal(alone[0], together[number])
        np.testing.assert_array_equal(hidden_alone[0], hidden[number])


def test_what_leaves_the_image_or_goes_behind_a_bar_is_occluded():
    queries = make_queries([0, 0], [(250.2, 120.0), (60.0, 180.0)])
    tracks, occluded = track_lucas_kanade(queries, NUM_FRAMES, moving_video)
    inside = true_tracks(queries)[0, :, 0] <= SIZE
    assert inside.any() and not inside.all()
    np.testing.assert_array_equal(occluded[0], ~inside)
    assert (tracks >= 0).all() and (tracks <= SIZE).all()
    assert not occluded[1].any()

    fast = np.array([9.0, 0.0])
    queries = make_queries([0], [(100.0, 100.0)])
    _, occluded = track_lucas_kanade(queries, NUM_FRAMES, lambda: moving_video(fast, bar=BAR))
    assert not occluded[0, 0] and occluded[0].any()


def test_frames_that_the_annotations_do_not_know_are_refused():
    with pytest.raises(ValueError, match="8 frames were decoded, the annotations have 9"):
        track_lucas_kanade(QUERIES, 9, moving_video)


@pytest.fixture(scope="module")
def moving_truth(tmp_path_factory):
    start = np.array([[60.5, 80.25], [130.0, 128.0], [100.7, 150.1]])
    points = (start[:, None] + np.arange(NUM_FRAMES)[:, None] * VELOCITY) / SIZE
    video = {"video": moving_video(), "points": points.astype(np.float32), "occluded": np.zeros((3, NUM_FRAMES), bool)}
    return pack_truth(tmp_path_factory.mktemp("moving"), {"waves": video}, "waves")


@pytest.mark.parametrize("mode", ["first", "strided"])
def test_the_command_tracks_every_query_in_both_modes(moving_truth, tmp_path, capsys, mode):
    out = tmp_path / "p.npz"
    arguments = ["track", "--tracker", "lucas_kanade", "--truth", str(moving_truth), "--query-mode", mode]
    assert main([*arguments, "--out", str(out)]) == 0
    assert f"wrote {out}" in capsys.readouterr().out
    predictions = read_predictions(out)
    assert (predictions.tracker, predictions.query_mode) == ("lucas_kanade", mode)
    truth = Truth(moving_truth).video("waves", mode)
    assert len(truth.query_points) == {"first": 3, "strided": 6}[mode]
    score = score_predictions(out, moving_truth)
    assert score["mean"]["average_pts_within_thresh"] == score["mean"]["average_jaccard"] == 1.0
    static = score_predictions(predict_baseline("static", moving_truth, mode, tmp_path / "s.npz"), moving_truth)
    assert static["mean"]["average_pts_within_thresh"] < 0.7
    again = predict_baseline("lucas_kanade", moving_truth, mode, tmp_path / "again.npz")
    assert again.read_bytes() == out.read_bytes()
