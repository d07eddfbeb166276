"""The z-buffer against a slow loop over pixels and triangles, and against depths in closed form."""

import numpy as np
import pytest

from shards.people.body import pose_body
from shards.people.raster import NEAR_M, draw, parts_seen, vertex_normals
from shards.people.visibility import joints_seen
from tests.shards.people_clips import BODY, turns

FOCAL, SIZE = 60.0, (40, 56)
CENTRE = np.array([26.3, 21.7])
FACING = np.array([[0, 2, 1]])
"""Of a triangle whose corners go clockwise in the picture from 0 over 1 to 2: seen from outside."""


def from_picture(pixels, depth_m):
    """Points in camera axes that are seen at these pixels (..., 2) and depths (...)."""
    return np.concatenate([(pixels - CENTRE) * depth_m[..., None] / FOCAL, depth_m[..., None]], -1)


def plain_draw(vertices, faces, *, is_closed):
    """Pixel by pixel, face by face: depth by the ray's intersection with the triangle's plane."""
    height, width = SIZE
    depth, face = np.full(SIZE, np.inf), np.full(SIZE, -1)
    for row in range(height):
        for column in range(width):
            ray = np.array([(column + 0.5 - CENTRE[0]) / FOCAL, (row + 0.5 - CENTRE[1]) / FOCAL, 1])
            for number, (a, b, c) in enumerate(vertices[faces]):
                if min(a[2], b[2], c[2]) <= NEAR_M:
                    continue
                # The signs of the three volumes: the ray passes all edges on one side.
                volumes = [np.linalg.det([ray, p, q]) for p, q in ((a, b), (b, c), (c, a))]
                is_inside = max(volumes) <= 0 if is_closed else (max(volumes) <= 0 or min(volumes) >= 0)
                normal = np.cross(b - a, c - a)
                if not is_inside or not any(volumes):
                    continue
                z = (normal @ a) / (normal @ ray)
                if z < depth[row, column]:
                    depth[row, column], face[row, column] = z, number
    return depth, face


@pytest.mark.parametrize("is_closed", [False, True])
def test_random_triangles_are_drawn_as_by_a_plain_loop(is_closed):
    rng = np.random.default_rng(3)
    pixels = rng.uniform(-10, 60, (20, 1, 2)) + rng.normal(0, 20, (20, 3, 2))
    vertices = from_picture(pixels, rng.uniform(0.5, 4, (20, 3))).reshape(-1, 3)
    faces = np.arange(60).reshape(20, 3)
    drawn = draw(vertices, faces, FOCAL, CENTRE, SIZE, is_closed=is_closed)
    depth, face = plain_draw(vertices, faces, is_closed=is_closed)
    assert (face >= 0).mean() > 0.2 and len(np.unique(face)) > 5
    np.testing.assert_array_equal(drawn.face, face)
    np.testing.assert_allclose(drawn.depth_m, depth, rtol=1e-6)


def test_a_body_is_drawn_as_by_a_plain_loop_over_its_faces_in_the_other_order():
    """The order of faces decides ties only, and depths never."""
    shape, rotations = np.array([[0.5, -1]]), turns(np.random.default_rng(1), 1, 22)
    vertices = pose_body(BODY, shape, rotations, np.array([[0.1, 0, 2.0]])).vertices_m[0]
    forward = draw(vertices, BODY.faces, FOCAL, CENTRE, SIZE)
    backward = draw(vertices, BODY.faces[::-1], FOCAL, CENTRE, SIZE)
    np.testing.assert_array_equal(forward.depth_m, backward.depth_m)
    same = forward.face == np.where(backward.mask, len(BODY.faces) - 1 - backward.face, -1)
    assert same.mean() > 0.99


def test_a_plane_has_its_depth_at_every_pixel():
    """z = 2 + 0.3 x - 0.2 y seen along a ray (u, v, 1): z = 2 / (1 - 0.3 u + 0.2 v)."""
    corners = np.array([[-6.0, -6], [6, -6], [6, 6], [-6, 6]])
    vertices = np.column_stack([corners, 2 + 0.15 * corners[:, 0] - 0.1 * corners[:, 1]])
    drawn = draw(vertices, np.array([[0, 2, 1], [0, 3, 2]]), FOCAL, CENTRE, SIZE)
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    u, v = (x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL
    assert drawn.mask.all()
    np.testing.assert_allclose(drawn.depth_m, 2 / (1 - 0.15 * u + 0.1 * v), rtol=1e-6)


def test_weights_are_those_of_the_point_in_space():
    """Not of the picture: weighted corners give the very point that the pixel's ray meets."""
    vertices = from_picture(np.array([[2.0, 3], [50, 8], [20, 38]]), np.array([0.6, 3.0, 1.2]))
    drawn = draw(vertices, FACING, FOCAL, CENTRE, SIZE)
    rows, columns = np.nonzero(drawn.mask)
    assert len(rows) > 300
    points = drawn.weights[drawn.mask] @ vertices[FACING[0]]
    np.testing.assert_allclose(points[:, 2], drawn.depth_m[drawn.mask], rtol=1e-5)
    pixels = FOCAL * points[:, :2] / points[:, 2:] + CENTRE
    np.testing.assert_allclose(pixels, np.column_stack([columns, rows]) + 0.5, atol=1e-4)
    assert not drawn.weights[~drawn.mask].any() and np.isinf(drawn.depth_m[~drawn.mask]).all()


def sphere(num_rings=24, num_sides=48, radius=0.5, centre=(0.1, -0.05, 2.0)):
    """A sphere of triangles, counter-clockwise seen from outside."""
    polar = np.linspace(0, np.pi, num_rings + 1)[:, None]
    around = np.arange(num_sides) * 2 * np.pi / num_sides
    points = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around),
                       np.cos(polar) + 0 * around], -1).reshape(-1, 3)  # fmt: skip
    ring, side = np.meshgrid(np.arange(num_rings), np.arange(num_sides), indexing="ij")
    a, b = ring * num_sides + side, ring * num_sides + (side + 1) % num_sides
    faces = np.concatenate([np.stack([a, a + num_sides, b], -1), np.stack([b, a + num_sides, b + num_sides], -1)])
    return radius * points + centre, faces.reshape(-1, 3)


def test_a_sphere_has_the_depth_of_a_sphere():
    """Its triangles lie inside of it by at most radius (1 - cos) of half an edge's angle."""
    vertices, faces = sphere()
    drawn = draw(vertices, faces, FOCAL, CENTRE, SIZE)
    x, y = np.meshgrid(np.arange(SIZE[1]) + 0.5, np.arange(SIZE[0]) + 0.5)
    rays = np.stack([(x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL, np.ones_like(x)], -1)
    centre, radius = np.array([0.1, -0.05, 2.0]), 0.5
    half, square = rays @ centre, (rays**2).sum(-1)
    inside = half**2 - square * (centre @ centre - radius**2)
    expected = (half - np.sqrt(np.maximum(inside, 0))) / square
    well_inside = inside > 0.05  # at the rim a small step sideways is a large one in depth
    assert well_inside.sum() > 400 and drawn.mask[well_inside].all() and not drawn.mask[inside < 0].any()
    difference = drawn.depth_m[well_inside] - expected[well_inside]
    assert difference.min() > -1e-6 and difference.max() < 0.01
    finer = draw(*sphere(96, 192), FOCAL, CENTRE, SIZE).depth_m[well_inside] - expected[well_inside]
    assert finer.max() < difference.max() / 8  # 4 times finer: 16 times nearer


def test_leaving_out_faces_that_look_away_changes_no_closed_mesh():
    rng = np.random.default_rng(5)
    meshes = [sphere()]
    for seed in range(3):
        shape, rotations = rng.normal(size=(1, 2)), turns(np.random.default_rng(seed), 1, 22, bound=2.0)
        meshes.append((pose_body(BODY, shape, rotations, np.array([[0, 0, 1.6]])).vertices_m[0], BODY.faces))
    for vertices, faces in meshes:
        culled = draw(vertices, faces, FOCAL, CENTRE, SIZE)
        whole = draw(vertices, faces, FOCAL, CENTRE, SIZE, is_closed=False)
        # A pixel whose centre is on an outline, to the last bit, may be of either side.
        assert (culled.face != whole.face).sum() <= 1 and culled.mask.sum() > 150


def test_of_equal_depths_the_face_with_the_lowest_number_is_seen():
    vertices = from_picture(np.array([[2.0, 3], [50, 8], [20, 38]]), np.array([1.0, 1.5, 1.2]))
    for count in (2, 5):
        drawn = draw(vertices, np.repeat(FACING, count, 0), FOCAL, CENTRE, SIZE)
        assert set(np.unique(drawn.face)) == {-1, 0}


def test_faces_that_share_an_edge_leave_no_gap():
    """Two halves of a square whose diagonal goes through pixel centres."""
    pixels = np.array([[8.5, 8.5], [32.5, 8.5], [32.5, 32.5], [8.5, 32.5]])
    vertices = from_picture(pixels, np.ones(4))
    drawn = draw(vertices, np.array([[0, 2, 1], [0, 3, 2]]), FOCAL, CENTRE, SIZE)
    assert drawn.mask[9:32, 9:32].all() and drawn.mask.sum() <= 25 * 25
    assert set(np.unique(drawn.face)) == {-1, 0, 1}


def test_what_is_behind_the_camera_or_beside_the_picture_is_not_drawn():
    front = from_picture(np.array([[2.0, 3], [50, 8], [20, 38]]), np.ones(3))
    through = front * [[1], [1], [-1]]  # one corner behind the camera
    beside = front + np.array([5, 0, 0])
    for vertices in (through, -front, front * 0.9 * NEAR_M, beside):
        for is_closed in (False, True):
            assert not draw(vertices, FACING, FOCAL, CENTRE, SIZE, is_closed=is_closed).mask.any()
    several = np.concatenate([through, front, -front])
    drawn = draw(several, np.concatenate([FACING, FACING + 3, FACING + 6]), FOCAL, CENTRE, SIZE)
    assert set(np.unique(drawn.face)) == {-1, 1}


def test_a_face_without_an_area_is_not_drawn():
    line = from_picture(np.array([[2.5, 3.5], [12.5, 13.5], [22.5, 23.5]]), np.ones(3))
    for is_closed in (False, True):
        assert not draw(line, FACING, FOCAL, CENTRE, SIZE, is_closed=is_closed).mask.any()


def test_numbers_that_are_not_finite_are_refused():
    vertices = from_picture(np.array([[2.0, 3], [50, 8], [20, 38]]), np.ones(3))
    for mesh, focal, centre in (
        (np.where(vertices == vertices[0, 0], np.nan, vertices), FOCAL, CENTRE),
        (vertices, np.inf, CENTRE),
        (vertices, FOCAL, np.array([np.nan, 0])),
    ):
        with pytest.raises(ValueError, match="a mesh or camera to draw is NaN or infinite somewhere"):
            draw(mesh, FACING, focal, centre, SIZE)


def test_parts_are_those_of_the_faces_that_are_seen():
    vertices, faces = sphere()
    parts = (1 + (vertices[faces].mean(1)[:, 0] > 0.1)).astype(np.uint8)  # left and right half
    drawn = draw(vertices, faces, FOCAL, CENTRE, SIZE)
    seen = parts_seen(drawn, parts)
    columns = np.arange(SIZE[1]) + 0.5
    middle = FOCAL * 0.1 / 1.5 + CENTRE[0]
    assert seen.dtype == np.uint8 and not seen[~drawn.mask].any()
    assert (seen[:, columns < middle - 2] != 2).all() and (seen[:, columns > middle + 2] != 1).all()
    assert (seen == 1).sum() > 100 < (seen == 2).sum()


def test_normals_of_a_sphere_point_outwards_along_its_radii():
    vertices, faces = sphere()
    poles = slice(48, -48)  # a pole's vertices lie on one another, and each has a face alone
    outwards = (vertices - [0.1, -0.05, 2.0]) / 0.5
    np.testing.assert_allclose(vertex_normals(vertices, faces)[poles], outwards[poles], atol=0.03)


def test_a_hand_behind_the_trunk_is_hidden_and_one_before_it_is_seen():
    """Also where the picture ends, and behind the camera."""
    rotations = np.tile(np.eye(3), (1, 22, 1, 1))
    posed = pose_body(BODY, np.zeros((1, 2)), rotations, np.array([[0, 0, 2.0]]))
    joints = posed.joints_m[0]
    drawn = draw(posed.vertices_m[0], BODY.faces, FOCAL, CENTRE, SIZE)
    spine, wrist = BODY.joint("spine2"), BODY.joint("left_wrist")
    for away, is_seen in ((0.5, False), (-0.5, True)):
        moved = joints.copy()
        moved[wrist] = joints[spine] * (2 + away) / 2  # on the same ray
        pixels = FOCAL * moved[:, :2] / moved[:, 2:] + CENTRE
        seen = joints_seen(BODY, drawn, pixels, moved)
        assert seen[wrist] == is_seen and seen[spine]
    outside = pixels.copy()
    outside[spine] = (SIZE[1], 5)
    behind = moved.copy()
    behind[spine, 2] = -1
    assert not joints_seen(BODY, drawn, outside, moved)[spine]
    assert not joints_seen(BODY, drawn, pixels, behind)[spine]
