"""Tracks of a scene whose truth is known in closed form."""

import dataclasses

import numpy as np
import pytest

from generation.annotate import annotate, annotate_densely, flow, follow, project, sample_queries
from generation.config import TrackConfig
from tests.generation.analytic import HALF, make_passes


def few(num_tracks: int, stride: int) -> TrackConfig:
    return TrackConfig(num_tracks=num_tracks, sampling_stride=stride)


@pytest.fixture(scope="module")
def passes():
    return make_passes()


@pytest.fixture(scope="module")
def annotation(passes):
    return annotate(passes, few(400, 2), np.random.default_rng(0))


def test_shapes_types_and_the_exact_number(annotation, passes):
    assert annotation.tracks.shape == (6, 400, 2)
    assert annotation.tracks.dtype == np.float32
    assert np.isfinite(annotation.tracks).all()
    assert annotation.visible.shape == (6, 400)
    assert annotation.query_frame.dtype == annotation.object_id.dtype == np.int32
    assert set(annotation.object_id) == {0, 1}
    # More than the picture has on its grid: pixels come again rather than too few tracks.
    assert annotate(passes, few(30000, 4), np.random.default_rng(0)).tracks.shape[1] == 30000


def test_a_query_lies_on_its_pixel_s_centre_and_is_seen(annotation):
    number = np.arange(400)
    at_query = annotation.tracks[annotation.query_frame, number]
    np.testing.assert_allclose(at_query - np.floor(at_query), 0.5, atol=1e-4)
    assert annotation.visible[annotation.query_frame, number].mean() > 0.97


def test_object_points_move_with_the_cube(annotation, passes):
    """The same surface point by hand: in the cube's axes at the query, rigidly carried to every frame."""
    for number in np.flatnonzero(annotation.object_id)[:40]:
        t = annotation.query_frame[number]
        corners = passes.boxes[0]  # (T, 8, 3)
        axes = np.stack([corners[:, i] - corners[:, 0] for i in (4, 2, 1)], -1) / (2 * HALF)  # (T, 3, 3)
        local = axes[t].T @ (annotation.world_m[t, number] - corners[t].mean(0))
        assert np.abs(local).max() == pytest.approx(HALF, abs=1e-5)  # on the surface
        np.testing.assert_allclose(annotation.world_m[:, number], axes @ local + corners.mean(1), atol=1e-5)


def test_background_points_stay_in_the_world(annotation):
    wall = annotation.world_m[:, annotation.object_id == 0]
    np.testing.assert_allclose(wall, wall[:1].repeat(6, 0))
    np.testing.assert_allclose(wall[..., 1], 6.0, atol=1e-5)


def test_visible_agrees_with_casting_a_ray_to_the_point(annotation, passes):
    """Seen by geometry: inside the frame and no nearer surface along the ray, but for samples next to a silhouette."""
    pixels, distance, is_behind = project(passes, annotation.world_m)
    inside = (pixels >= 0).all(-1) & (pixels < 48).all(-1)
    column, row = np.clip(np.floor(pixels).astype(int), 0, 47).transpose(2, 0, 1)
    frame = np.arange(6)[:, None]
    seen = inside & ~is_behind & (passes.depth_m[frame, row, column] > 0.97 * distance)
    padded = np.pad(passes.segmentation, ((0, 0), (2, 2), (2, 2)), mode="edge")
    patches = np.stack([padded[frame, row + i, column + j] for i in range(5) for j in range(5)])
    is_flat = (patches == patches[0]).all(0)
    assert is_flat.mean() > 0.5
    agreement = (annotation.visible == seen)[is_flat]
    assert agreement.mean() > 0.995
    assert 0.02 < (~seen).mean() < 0.6  # there is something to see and something hidden


def test_the_cube_hides_the_wall(passes):
    annotation = annotate(passes, few(400, 1), np.random.default_rng(1))
    wall = annotation.object_id == 0
    pixels = np.clip(np.floor(annotation.tracks).astype(int), 0, 47)
    frame = np.arange(6)[:, None]
    inner = np.ones((6, 400), bool)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows, columns = np.clip(pixels[..., 1] + down, 0, 47), np.clip(pixels[..., 0] + right, 0, 47)
            inner &= passes.segmentation[frame, rows, columns] == 1
    covered = inner & wall
    assert covered.sum() > 10
    assert not annotation.visible[covered].any()


def test_a_face_that_turns_away_is_hidden():
    passes = make_passes(8, turn=0.35, drift=0.0, step=0.0)
    annotation = annotate(passes, few(300, 1), np.random.default_rng(0))
    on_cube = np.flatnonzero(annotation.object_id)
    turned = 0
    for number in on_cube:
        t = annotation.query_frame[number]
        corners = passes.boxes[0]
        axes = np.stack([corners[:, i] - corners[:, 0] for i in (4, 2, 1)], -1) / (2 * HALF)
        local = axes[t].T @ (annotation.world_m[t, number] - corners[t].mean(0))
        face = np.abs(local).argmax()
        if np.sort(np.abs(local))[1] > 0.8:  # next to an edge the normals are rough, and only depth is asked
            continue
        normal = axes[:, :, face] * np.sign(local[face])
        away = ((annotation.world_m[:, number] - passes.camera_positions) * normal).sum(-1) > 0.1
        turned += away.sum()
        assert not annotation.visible[away, number].any()
    assert turned > 50


def test_quota_small_segments_take_their_share_first():
    ids = np.zeros((4, 40, 40), np.uint8)
    ids[:, :8, :10] = 1  # 320 pixels: a tenth is 32
    ids[:, 20:, 20:] = 2
    t, row, column = sample_queries(ids, few(300, 1), np.random.default_rng(0))
    counts = np.bincount(ids[t, row, column])
    assert counts.tolist() == [134, 32, 134]
    again = sample_queries(ids, few(300, 1), np.random.default_rng(0))
    np.testing.assert_array_equal(np.stack(again), np.stack([t, row, column]))


def test_points_beside_and_behind_the_camera_stay_numbers(passes):
    moved = dataclasses.replace(passes, camera_positions=passes.camera_positions + np.array([0, 40, 0]))
    annotation = annotate(moved, few(100, 2), np.random.default_rng(0))
    assert np.isfinite(annotation.tracks).all()
    world = follow(passes, *(np.zeros(1, int),) * 3, np.zeros(1, np.int32))
    pixels, _, is_behind = project(moved, world)
    assert is_behind.all()
    assert np.isfinite(pixels).all()


def test_codes_of_16_bits_give_the_same_tracks(passes):
    codes = dataclasses.replace(
        passes,
        coordinates=np.rint(passes.coordinates * 65535).astype(np.uint16),
        normals=np.rint((passes.normals + 1) / 2 * 65535).astype(np.uint16),
    )
    plain, stored = (annotate(each, few(300, 1), np.random.default_rng(3)) for each in (passes, codes))
    np.testing.assert_allclose(stored.tracks, plain.tracks, atol=0.005)
    assert (stored.visible == plain.visible).mean() > 0.999


def test_dense_tracks_are_those_of_single_points(passes):
    tracks, visible = annotate_densely(passes, -2)
    assert tracks.shape == (6, 48, 48, 2)
    row, column = np.mgrid[:48, :48]
    np.testing.assert_allclose(tracks[4], np.stack([column, row], -1) + 0.5, atol=1e-3)
    sparse = annotate(passes, few(500, 1), np.random.default_rng(0))
    own = np.flatnonzero(sparse.query_frame == 4)
    assert len(own) > 40
    x, y = np.floor(sparse.tracks[4, own]).astype(int).T
    np.testing.assert_allclose(tracks[:, y, x], sparse.tracks[:, own], atol=1e-4)
    np.testing.assert_array_equal(visible[:, y, x], sparse.visible[:, own])
    with pytest.raises(ValueError, match="dense frame 6: the clip has 6 frames"):
        annotate_densely(passes, 6)


def test_flow_is_the_dense_tracks_displacement(passes):
    forward, backward = flow(passes, 1), -flow(passes, -1)
    row, column = np.mgrid[:48, :48]
    centre = np.stack([column, row], -1) + 0.5
    tracks, _ = annotate_densely(passes, 2)
    np.testing.assert_allclose(forward[2], tracks[3] - centre, atol=1e-3)
    np.testing.assert_allclose(backward[2], centre - tracks[1], atol=1e-3)
    assert np.abs(forward[2]).max() > 0.5
    assert not forward[-1].any()
    assert not backward[0].any()


@pytest.mark.parametrize("num_tracks", [1, 2, 7])
def test_any_number_of_points_and_one_frame(num_tracks):
    annotation = annotate(make_passes(1, 17), few(num_tracks, 4), np.random.default_rng(0))
    assert annotation.tracks.shape == (1, num_tracks, 2)
    assert annotation.visible.all()
