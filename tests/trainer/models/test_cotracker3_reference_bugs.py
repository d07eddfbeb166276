"""Three faults of the published code that are not here; each test is named after one."""

import numpy as np
import pytest
import torch

from eval.tapvid import compute_tapvid_metrics
from tests.small_cotracker3 import ONLINE, make_model, make_points, make_video, track_whole
from trainer.models.cotracker3.predictor import Cotracker3Predictor


@pytest.mark.parametrize("num_frames", range(1, 10))
def test_a_whole_video_online_call_on_8_frames_or_fewer_is_tracked(num_frames):
    """There it has no window: every position is 0 and every visibility 0.5. Half a window is 4 frames here."""
    model, points = make_model(**ONLINE), make_points(3)
    found, _, uncertainty = track_whole(model, make_video(num_frames), points, [0, 0, 0])
    assert (found > 0.2).all() and np.abs(found - points).max() < 5
    assert (uncertainty != 0.5).all()
    longer = make_video(num_frames)[[*range(num_frames), *[num_frames - 1] * (8 - num_frames)]]  # its last frame again
    np.testing.assert_allclose(found, track_whole(model, longer, points, [0, 0, 0])[0][:num_frames], atol=1e-4)


def test_occlusion_accuracy_of_a_batch_is_that_of_each_video():
    """There each video's right cells are divided by the cells of all videos."""
    random = np.random.default_rng(0)
    num_videos, num_points, num_frames = 3, 4, 7
    shape = num_videos, num_points, num_frames
    query = np.concatenate([random.integers(0, 3, (*shape[:2], 1)), random.uniform(0, 256, (*shape[:2], 2))], -1)
    truth, predicted = random.random(shape) < 0.4, random.random(shape) < 0.4
    tracks = random.uniform(0, 256, (*shape, 2))
    together = compute_tapvid_metrics(query, truth, tracks, predicted, tracks, "first")["occlusion_accuracy"]
    after = np.arange(num_frames) > query[..., :1]
    expected = [(truth == predicted)[video][after[video]].mean() for video in range(num_videos)]
    np.testing.assert_allclose(together, expected)
    assert len(set(expected)) == num_videos


@pytest.mark.parametrize("kind", [{}, ONLINE])
def test_points_are_not_scaled_in_place(kind):
    """There reading the same points twice scales them twice."""
    model, video, points = make_model(**kind), make_video(9), make_points(3)
    frames = torch.from_numpy(video).permute(0, 3, 1, 2)[None].float()
    queries = torch.cat([torch.tensor([[0.0], [4], [8]]), torch.from_numpy(points)], 1)[None]
    before = frames.clone(), queries.clone()
    one, other = model.track(frames, queries), model.track(frames, queries)
    assert torch.equal(frames, before[0]) and torch.equal(queries, before[1])
    torch.testing.assert_close(one.points, other.points, rtol=0, atol=0)
    query_tyx = queries[0, :, [0, 2, 1]].numpy()
    kept, kept_video = query_tyx.copy(), video.copy()
    Cotracker3Predictor(model).track(video, query_tyx, is_backward=True)
    np.testing.assert_array_equal(query_tyx, kept)
    np.testing.assert_array_equal(video, kept_video)
