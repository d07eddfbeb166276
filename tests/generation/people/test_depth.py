"""Depth of a clip of people is what a clip's depth is everywhere: the distance to the camera's centre."""

import numpy as np
import pytest

from generation.people.config import PeopleConfig
from generation.people.scene import make_clip
from generation.people.toy import make_toy
from shards.people.body import pose_body
from shards.people.raster import draw

SIZE = 64


def look_into(person, frame: int) -> np.ndarray:
    """(H, W, 3) unit vectors in camera axes: where pixels look."""
    columns, rows = np.meshgrid(np.arange(SIZE) + 0.5, np.arange(SIZE) + 0.5)
    x = (columns - person.centre_px[frame, 0]) / person.focal_px[frame]
    y = (rows - person.centre_px[frame, 1]) / person.focal_px[frame]
    rays = np.stack([x, y, np.ones_like(x)], -1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


@pytest.fixture(scope="module", params=[1, 2], ids=["plain", "supersampled"])
def clip(request):
    config = PeopleConfig(resolution=SIZE, num_frames=6, max_tilt_degrees=0.0, supersample=request.param)
    return make_clip(config, make_toy(), 3, "people-000003")


def test_points_of_the_mask_lie_on_the_posed_body(clip):
    person, body = clip.person, make_toy()
    posed = pose_body(body, person.shape, person.rotations, person.pelvis_m)
    for frame in range(len(clip.video)):
        drawn = draw(posed.vertices_m[frame], body.faces, person.focal_px[frame], person.centre_px[frame], (SIZE, SIZE))
        seen = drawn.mask & (person.parts[frame] > 0)
        assert seen.sum() >= 0.99 * drawn.mask.sum() > 10
        corners = posed.vertices_m[frame][body.faces[drawn.face[seen]]]  # (n, 3, 3)
        points = (look_into(person, frame) * clip.depth_m[frame][..., None])[seen]
        surface = np.einsum("nc,ncx->nx", drawn.weights[seen], corners)
        distance = np.linalg.norm(points - surface, axis=1)
        assert np.percentile(distance, 99) < 1e-3
        # z would be wrong at the edges of so wide a view
        assert np.abs(clip.depth_m[frame][seen] - points[:, 2]).max() > 1e-2


def test_points_of_the_floor_lie_in_the_plane_under_the_feet(clip):
    person, body = clip.person, make_toy()
    posed = pose_body(body, person.shape, person.rotations, person.pelvis_m)
    num_floors = 0
    for frame in range(len(clip.video)):
        turn = person.rotations[frame, 0]  # without a tilt: the person's axes in those of the camera
        lowest = (posed.vertices_m[frame] @ turn)[:, 1].max()
        rays = look_into(person, frame)
        is_floor = (person.parts[frame] == 0) & (clip.depth_m[frame] * rays[..., 2] < 11.99)
        if is_floor.sum() < 20:
            continue
        num_floors += 1
        heights = (rays[is_floor] * clip.depth_m[frame][is_floor, None]) @ turn[:, 1]
        assert np.abs(heights - lowest).max() < 1e-3 * (1 + clip.depth_m[frame].max())
    assert num_floors >= 4
