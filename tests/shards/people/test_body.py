"""The body file and its forward: by hand, against a plain loop, and what is refused."""

import dataclasses
import re

import numpy as np
import pytest

from shards.people.body import ARRAYS, FORMAT, Body, pose_body, read_body, write_body
from tests.shards.people_clips import BODY, turns
from tests.shards.smpl_bodies import as_body, make_model

NAMES = (*ARRAYS, "pose_directions")


def rest(num_bodies=1):
    """Mean shapes and no turns."""
    return np.zeros((num_bodies, 2)), np.tile(np.eye(3), (num_bodies, 22, 1, 1))


def about(axis, angle):
    """A turn about a coordinate axis (0, 1, 2), by hand."""
    cos, sin = np.cos(angle), np.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first], matrix[first, second] = cos, -sin
    matrix[second, first], matrix[second, second] = sin, cos
    return matrix


def random_states(num_bodies=4, num_shapes=2, seed=0):
    """Shapes, rotations and pelvis positions."""
    rng = np.random.default_rng(seed)
    shape, rotations = rng.normal(size=(num_bodies, num_shapes)), turns(rng, num_bodies, 22, bound=1.5)
    return shape, rotations, rng.normal(size=(num_bodies, 3))


def test_a_mean_body_at_rest_is_its_template():
    posed = pose_body(BODY, *rest())
    np.testing.assert_allclose(posed.vertices_m[0], BODY.template_m, atol=1e-6)
    np.testing.assert_allclose(posed.joints_m[0], BODY.joints_m, atol=1e-6)
    assert posed.vertices_m.dtype == posed.joints_m.dtype == np.float32


def test_the_pelvis_is_exactly_where_it_is_said_to_be():
    """Also of a body whose pelvis is far from the origin of its file."""
    far = dataclasses.replace(BODY, template_m=BODY.template_m + 5, joints_m=BODY.joints_m + np.float32(5))
    for body in (BODY, far):
        shape, rotations, pelvis = random_states()
        posed = pose_body(body, shape, rotations, pelvis)
        np.testing.assert_array_equal(posed.joints_m[:, 0], pelvis.astype(np.float32))
    near, other = (pose_body(body, *random_states()).vertices_m for body in (BODY, far))
    np.testing.assert_allclose(other, near, atol=2e-5)  # the origin of the file decides nothing


def test_the_first_rotation_turns_the_whole_body_about_the_pelvis():
    shape, rotations, pelvis = random_states()
    whole = turns(np.random.default_rng(9), 4, bound=3.0)
    before = pose_body(BODY, shape, rotations, pelvis)
    rotations = np.concatenate([(whole @ rotations[:, 0])[:, None], rotations[:, 1:]], 1)
    after = pose_body(BODY, shape, rotations, pelvis)
    for one, other in ((before.vertices_m, after.vertices_m), (before.joints_m, after.joints_m)):
        expected = np.einsum("bxy,bvy->bvx", whole, one - pelvis[:, None]) + pelvis[:, None]
        np.testing.assert_allclose(other, expected, atol=1e-5)


def test_an_elbow_bends_the_forearm_and_nothing_else():
    elbow, wrist, quarter = BODY.joint("left_elbow"), BODY.joint("left_wrist"), about(2, np.pi / 2)
    shape, rotations = rest()
    rotations[0, elbow] = quarter
    posed = pose_body(BODY, shape, rotations)
    place = BODY.joints_m[elbow]
    # By hand: (dx, dy) of the forearm become (-dy, dx).
    forearm = BODY.joints_m[wrist] - place
    np.testing.assert_allclose(posed.joints_m[0, wrist], place + forearm[[1, 0, 2]] * [-1, 1, 1], atol=1e-6)
    moved = np.isin(BODY.weights.argmax(1), [elbow, wrist])
    expected = (BODY.template_m[moved] - place) @ quarter.T + place
    np.testing.assert_allclose(posed.vertices_m[0, moved], expected, atol=1e-6)
    np.testing.assert_allclose(posed.vertices_m[0, ~moved], BODY.template_m[~moved], atol=1e-6)


def test_shape_coefficients_add_up():
    shape, rotations = rest(3)
    shape[:] = [(1, 0), (0, 1), (2, -0.5)]
    one, two, both = pose_body(BODY, shape, rotations).vertices_m - BODY.template_m
    np.testing.assert_allclose(both, 2 * one - 0.5 * two, atol=1e-6)
    np.testing.assert_allclose(one, 0.05 * BODY.template_m, atol=1e-6)  # of the toy: five per cent of the stature


def test_the_forward_is_that_of_the_paper_one_joint_after_the_other():
    """Weights of several joints and corrections by the pose, against 4x4 matrices in a loop, in float64."""
    model = make_model()
    body = as_body(model)
    shape, rotations, pelvis = random_states(num_shapes=4)
    posed = pose_body(body, shape, rotations, pelvis)
    for number in range(len(shape)):
        vertices, joints = plain_forward(body, shape[number], rotations[number].astype(float), pelvis[number])
        np.testing.assert_allclose(posed.vertices_m[number], vertices, atol=1e-5)
        np.testing.assert_allclose(posed.joints_m[number], joints, atol=1e-5)


def plain_forward(body, shape, rotations, pelvis):
    """Loper et al. 2015, equations 2 to 10, as they are written."""
    joints = body.joints_m + np.einsum("s,sjx->jx", shape, body.joint_directions)
    vertices = body.template_m + np.einsum("s,svx->vx", shape, body.shape_directions)
    vertices = vertices + np.einsum("k,kvx->vx", (rotations[1:] - np.eye(3)).ravel(), body.pose_directions)
    chain = []
    for joint, parent in enumerate(body.parents):
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = rotations[joint], joints[joint] - (joints[parent] if joint else 0)
        chain.append(chain[parent] @ local if joint else local)
    moved = np.zeros_like(vertices)
    for joint, world in enumerate(chain):
        back = np.eye(4)
        back[:3, 3] = -joints[joint]
        matrix = world @ back
        moved += body.weights[:, joint, None] * (vertices @ matrix[:3, :3].T + matrix[:3, 3])
    places = np.stack([world[:3, 3] for world in chain])
    return moved - places[0] + pelvis, places - places[0] + pelvis


def test_a_batch_is_its_bodies_one_by_one():
    shape, rotations, pelvis = random_states(5)
    batch = pose_body(BODY, shape, rotations, pelvis)
    for number in range(5):
        part = slice(number, number + 1)
        alone = pose_body(BODY, shape[part], rotations[part], pelvis[part])
        np.testing.assert_allclose(alone.vertices_m[0], batch.vertices_m[number], atol=1e-6)
        np.testing.assert_allclose(alone.joints_m[0], batch.joints_m[number], atol=1e-6)


def test_shapes_and_poses_of_another_body_are_refused():
    shape, rotations = rest()
    with pytest.raises(ValueError, match=r"body toy: shape is \(1, 10\), expected \(1, 2\)"):
        pose_body(BODY, np.zeros((1, 10)), rotations)
    with pytest.raises(ValueError, match=r"body toy: rotations is \(1, 24, 3, 3\), expected \(1, 22, 3, 3\)"):
        pose_body(BODY, shape, np.zeros((1, 24, 3, 3)))


def at(name, where, value):
    """A body whose array differs at one place."""
    array = getattr(BODY, name).copy()
    array[where] = value
    return {name: array}


REFUSALS = {
    "rows": ({"weights": BODY.weights[:-1]}, r"weights is \(363, 22\) float32, expected \(364, 22\)"),
    "type": ({"template_m": BODY.template_m.astype(float)}, r"template_m is \(364, 3\) float64, expected .* float32"),
    "axes": ({"shape_directions": BODY.shape_directions[..., :2]}, r"shape_directions is \(2, 364, 2\)"),
    "directions": ({"joint_directions": BODY.joint_directions[:1]}, r"joint_directions is \(1, 22, 3\)"),
    "NaN": (at("joints_m", (3, 1), np.nan), "joints_m is NaN or infinite somewhere"),
    "infinite": (at("template_m", (0, 0), np.inf), "template_m is NaN or infinite somewhere"),
    "no root": (at("parents", 0, 0), "parents must be -1 for joint 0"),
    "order": (at("parents", 3, 4), "parents must be -1 for joint 0, and for every other joint one that comes before"),
    "two roots": (at("parents", 3, -1), "parents must be -1 for joint 0, and for every other joint one that comes"),
    "sum": (at("weights", (0, 0), 0.5), "weights must be at least 0 and sum to 1 for every vertex"),
    "negative": (at("weights", (0, slice(0, 2)), (1.5, -0.5)), "weights must be at least 0 and sum to 1"),
    "far vertex": (at("faces", (0, 0), 364), r"faces name vertices outside 0\.\.363"),
    "vertex -1": (at("faces", (0, 0), -1), r"faces name vertices outside 0\.\.363"),
    "no part": (at("parts", 0, 0), "parts or joint_names do not fit the number of names"),
    "part 23": (at("parts", 0, 23), "parts or joint_names do not fit the number of names"),
    "joint names": ({"joint_names": BODY.joint_names[:-1]}, "parts or joint_names do not fit the number of names"),
    "corrections": ({"pose_directions": np.zeros((9, 364, 3), np.float32)},
                    r"pose_directions is \(9, 364, 3\) float32, expected \(189, 364, 3\) float32"),
    "corrections' NaN": ({"pose_directions": np.full((189, 364, 3), np.nan, np.float32)}, "pose_directions is NaN"),
    "corrections' type": ({"pose_directions": np.zeros((189, 364, 3))}, r"pose_directions is \(189, 364, 3\) float64"),
    "no faces": ({"faces": BODY.faces[:0], "parts": BODY.parts[:0]}, "faces has no entries"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSALS)
def test_mistakes_in_a_body_are_named(mistake):
    change, message = REFUSALS[mistake]
    with pytest.raises(ValueError, match=f"^body toy: {message}"):
        dataclasses.replace(BODY, **change)


def test_joints_are_found_by_name():
    assert BODY.joint("pelvis") == 0
    with pytest.raises(ValueError, match="body toy: no joint 'jaw'; it has pelvis, left_hip"):
        BODY.joint("jaw")


@pytest.mark.parametrize("body", [BODY, as_body(make_model())], ids=["toy", "with corrections"])
def test_a_body_file_comes_back_as_it_was(body, tmp_path):
    written = write_body(tmp_path / "bodies" / "one.npz", body)
    again = read_body(written)
    for name in NAMES:
        np.testing.assert_array_equal(getattr(again, name), getattr(body, name), err_msg=name)
    names = ("name", "joint_names", "part_names", "digest")
    assert [getattr(again, name) for name in names] == [getattr(body, name) for name in names]
    assert write_body(tmp_path / "two.npz", again).read_bytes() == written.read_bytes()


def test_a_digest_is_of_all_that_decides_vertices():
    digests = {BODY.digest, dataclasses.replace(BODY, name="other").digest, as_body(make_model()).digest}
    for name in ("template_m", "shape_directions", "joints_m", "joint_directions"):
        digests.add(dataclasses.replace(BODY, **{name: getattr(BODY, name) + np.float32(1e-6)}).digest)
    assert len(digests) == 7
    assert all(re.fullmatch("[0-9a-f]{16}", digest) for digest in digests)


def test_what_is_no_body_file_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match=r"none\.npz: there is no body file; make it again \(snakemake data"):
        read_body(tmp_path / "none.npz")
    path = write_body(tmp_path / "body.npz", BODY)
    content = path.read_bytes()
    assert content.count(FORMAT.encode()) == 1
    broken = {
        "another version": content.replace(FORMAT.encode(), b"frameline-body/9"),
        "text": b"no zip at all",
        "empty": b"",
        "cut": content[: len(content) // 2],
    }
    for name, wrong in broken.items():
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match=r"body\.npz: not a body file of this version \(.+\); make it again"):
            read_body(path)
            pytest.fail(name)


def test_arrays_that_are_missing_or_pickled_are_refused(tmp_path):
    path = write_body(tmp_path / "body.npz", BODY)
    with np.load(path) as archive:
        arrays = dict(archive)
    for change in ({"weights": None}, {"about": None}, {"faces": np.array([{}])}):
        kept = {name: array for name, array in (arrays | change).items() if array is not None}
        np.savez(path, **kept)
        with pytest.raises(ValueError, match=r"body\.npz: not a body file of this version"):
            read_body(path)


def test_damage_is_a_value_error_wherever_it_is(tmp_path):
    path = write_body(tmp_path / "body.npz", BODY)
    content, rng, num_refused = path.read_bytes(), np.random.default_rng(0), 0
    for place in rng.integers(0, len(content), 100).tolist():
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            assert isinstance(read_body(path), Body)
        except ValueError:
            num_refused += 1
    assert num_refused > 90, "of 100: a zip has a checksum for each of its members"
