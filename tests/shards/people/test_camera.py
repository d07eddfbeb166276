"""The pinhole camera of people, and that of a crop."""

import numpy as np

from shards.people.camera import Camera, crop_camera, project


def test_projection_by_hand():
    camera = Camera(focal_px=np.array([100.0, 50.0]), centre_px=np.array([[32.0, 24.0], [10.0, 20.0]]))
    points = np.array([[[0, 0, 2], [0.5, -0.25, 2]], [[0, 0, 1], [1, 2, 4]]])
    expected = [[[32, 24], [57, 11.5]], [[10, 20], [22.5, 45]]]
    np.testing.assert_allclose(project(camera, points), expected)


def test_points_that_are_not_in_front_have_no_place():
    camera = Camera(focal_px=np.array([100.0]), centre_px=np.array([[32.0, 24.0]]))
    pixels = project(camera, np.array([[[1.0, 1, 0], [1, 1, -2], [1, 1, 2]]]))
    np.testing.assert_array_equal(np.isnan(pixels).all(-1), [[True, True, False]])


def test_a_crop_sees_what_the_whole_picture_sees():
    """A point's pixel in the crop is its place in the box, scaled as the box is."""
    rng = np.random.default_rng(0)
    camera = Camera(focal_px=rng.uniform(50, 500, 6), centre_px=rng.uniform(20, 40, (6, 2)))
    box = np.column_stack([rng.uniform(-20, 30, (6, 2)), rng.uniform(10, 90, 6)])
    points = rng.uniform([-1, -1, 1], [1, 1, 4], (6, 8, 3))
    in_box = (project(camera, points) - box[:, None, :2]) / box[:, None, 2:]  # of 1
    np.testing.assert_allclose(project(crop_camera(camera, box, 48), points), 48 * in_box, rtol=1e-12)


def test_a_crop_of_the_whole_picture_at_its_size_is_the_same_camera():
    camera = Camera(focal_px=np.array([80.0]), centre_px=np.array([[30.0, 34.0]]))
    same = crop_camera(camera, np.array([[0.0, 0, 64]]), 64)
    np.testing.assert_array_equal(same.focal_px, camera.focal_px)
    np.testing.assert_array_equal(same.centre_px, camera.centre_px)
