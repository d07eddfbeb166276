"""Statistics of tracks, pictures and scenes against slow loops and clips made by hand."""

import itertools
import math

import numpy as np
import pytest

from eval.frames import LUMA, brightness, constant_frames, digest_frames, repeated_frames, sample_grid
from eval.motion import (
    count_disappearances,
    count_visible_outside,
    frame_motion,
    hidden_share,
    longest_visible_run,
    position_density,
    thin,
    total_displacement,
)
from eval.scenes import count_names, mean_speed, mean_turn, read_scene, split_settings
from tests.eval.scenery import make_metadata

SIZE = (30, 50)  # (H, W)


@pytest.fixture(params=[(1, 4), (2, 7), (9, 40), (5, 0)])
def annotation(request):
    """Random tracks (T, N, 2), some outside the frame, and visibility (T, N) with points that are never seen."""
    rng = np.random.default_rng(request.param)
    tracks = rng.uniform(-5, 55, (*request.param, 2)).astype(np.float32)
    visible = rng.random(request.param) < np.linspace(0, 1, request.param[1])
    return tracks, visible


def runs_of(column):
    """Lengths of the runs of True in a list, the slow way."""
    return [len(run) for run in "".join("x" if value else " " for value in column).split()]


def test_motion_and_displacement_are_those_of_a_slow_loop(annotation):
    tracks, visible = annotation
    num_frames, num_points = visible.shape
    motion = [
        math.dist(tracks[t, n], tracks[t + 1, n])
        for t in range(num_frames - 1)
        for n in range(num_points)
        if visible[t, n] and visible[t + 1, n]
    ]
    np.testing.assert_allclose(frame_motion(tracks, visible), motion)
    displacement = []
    for n in range(num_points):
        seen = [t for t in range(num_frames) if visible[t, n]]
        if len(seen) > 1:
            displacement.append(math.dist(tracks[seen[0], n], tracks[seen[-1], n]))
    np.testing.assert_allclose(total_displacement(tracks, visible), displacement)


def test_occlusion_is_that_of_a_slow_loop(annotation):
    _, visible = annotation
    columns = visible.T.tolist()
    np.testing.assert_allclose(hidden_share(visible), [column.count(False) / len(column) for column in columns])
    lost = [sum(a and not b for a, b in itertools.pairwise(column)) for column in columns]
    assert count_disappearances(visible).tolist() == lost
    assert longest_visible_run(visible).tolist() == [max(runs_of(column), default=0) for column in columns]


def test_positions_are_counted_in_their_cell(annotation):
    tracks, visible = annotation
    height, width = SIZE
    counts, num_outside = np.zeros((5, 5)), 0
    for (x, y), is_seen in zip(tracks.reshape(-1, 2), visible.reshape(-1), strict=True):
        is_inside = 0 <= x <= width and 0 <= y <= height
        if is_seen and is_inside:
            counts[int(5 * y / height), int(5 * x / width)] += 1
        num_outside += is_seen and not is_inside
    np.testing.assert_array_equal(position_density(tracks, visible, SIZE, 5), counts)
    assert count_visible_outside(tracks, visible, SIZE) == num_outside


def test_a_point_by_hand():
    """Seen at 0 and 1, hidden at 2 and 3, seen at 4: it moves by 5 pixels once and ends 13 from where it began."""
    tracks = np.array([[0, 0], [3, 4], [90, 90], [90, 90], [5, 12]], np.float32)[:, None]
    visible = np.array([1, 1, 0, 0, 1], bool)[:, None]
    assert frame_motion(tracks, visible).tolist() == [5]
    assert total_displacement(tracks, visible).tolist() == [13]
    assert hidden_share(visible)[0] == pytest.approx(0.4)
    assert (count_disappearances(visible)[0], longest_visible_run(visible)[0]) == (1, 2)


@pytest.mark.parametrize(("count", "at_most"), [(0, 3), (3, 3), (4, 3), (100, 7), (101, 100)])
def test_thinned_values_are_some_of_all_evenly(count, at_most):
    values = np.arange(count)
    kept = thin(values, at_most)
    assert len(kept) == min(count, at_most)
    assert set(np.diff(kept)) <= {count // max(1, len(kept)), -(-count // max(1, len(kept)))}


@pytest.mark.parametrize("shape", [(4, 128, 128), (4, 97, 33), (2, 3, 500), (3, 2, 2)])
def test_a_grid_of_depth_is_bounded_and_in_every_frame(shape):
    maps = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    samples = sample_grid(maps, 512)
    assert len(samples) <= 512
    per_frame = np.bincount((samples // (shape[1] * shape[2])).astype(int), minlength=shape[0])
    assert per_frame.min() == per_frame.max() > 0


def test_pictures_that_are_dark_constant_or_repeated():
    video = np.random.default_rng(0).integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
    video[2] = (10, 20, 30)
    video[4] = video[3]
    video[5] = video[3]
    video[5, 0, 0, 0] ^= 1
    assert constant_frames(video) == [2]
    assert repeated_frames(video) == [4]
    slow = sum(float(value) * LUMA[channel] for pixel in video.reshape(-1, 3) for channel, value in enumerate(pixel))
    assert brightness(video) == pytest.approx(slow / (6 * 8 * 9) / 255)
    assert brightness(np.full((1, 2, 2, 3), 255, np.uint8)) == pytest.approx(1)
    assert digest_frames(video) == digest_frames(video.copy()[::1]) != digest_frames(video[::-1])
    assert digest_frames(np.zeros((1, 2, 8, 3), np.uint8)) != digest_frames(np.zeros((1, 4, 4, 3), np.uint8))


def test_a_camera_that_moves_and_turns():
    assert mean_speed(np.array([[0, 0, 0], [0, 0.5, 0], [0, 0.5, 1.5]]), 6) == pytest.approx(6)
    angles = np.radians([0, 10, 40]) / 2
    turning = np.stack([np.cos(angles), 0 * angles, 0 * angles, np.sin(angles)], -1) * [[1], [-1], [2]]
    assert mean_turn(turning, 6) == pytest.approx(20 * 6)
    assert mean_speed(np.zeros((1, 3)), 6) == mean_turn(turning[:1], 6) == 0


def test_a_scene_is_read_from_its_metadata():
    scene = read_scene(make_metadata(num_frames=4, visible_pixels=[[0, 4, 8, 0], [6, 6, 6, 6]]), (10, 20), "a")
    assert scene.assets == ("cup", "chair")
    assert scene.is_dynamic.tolist() == [False, True]
    np.testing.assert_allclose(scene.pixel_share, [3 / 200, 6 / 200])
    assert (scene.hdri, scene.camera, scene.attempt, scene.num_dropped) == ("yard", "linear", 0, 1)
    assert scene.camera_speed == pytest.approx(0.6)  # 0.1 m a frame, 6 frames a second
    assert scene.settings["numpy (version)"] == "1.0" and scene.settings["frame_rate"] == 6


def test_other_sources_have_no_scene_and_half_a_scene_is_refused():
    assert read_scene({"source": "tapvid"}, (10, 20), "a") is None
    metadata = make_metadata(num_frames=4)
    del metadata["scene"]["hdri"]
    with pytest.raises(ValueError, match=r"clip a: .*lacks 'hdri'"):
        read_scene(metadata, (10, 20), "a")


def test_names_and_settings_are_counted():
    assert count_names(["b", "a", "c", "b", "a"]) == [("a", 2), ("b", 2), ("c", 1)]
    common, different = split_settings([{"a": 1, "b": [2]}, {"a": 1, "b": [3]}, {"a": 1, "b": [2]}])
    assert common == {"a": 1} and different == {"b": [[2], [3]]}
