"""A miniature in SMPL-X's own format becomes a body that moves as that file says."""

import numpy as np
import pytest

from generation.people.skeleton import JOINTS, PARENTS
from generation.people.smplx import LICENCE, read_smplx
from shards.people.body import pose_body, read_body, write_body
from tests.shards.smpl_bodies import TURN, make_model

FURTHER = (15, 15, 15, *(20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38),
           *(21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53))  # fmt: skip
"""Parents of SMPL-X's joints after the first 22: jaw, eyes, and five fingers of three bones on each hand."""


def make_arrays(num_joints=55, num_shapes=12, seed=4):
    """The arrays of a model file: the small model's, joints by a regressor, fingers and jaw that weigh a little."""
    model, rng = make_model(), np.random.default_rng(seed)
    num_vertices = len(model.template)
    weights = np.concatenate([model.weights, rng.uniform(0, 0.01, (num_vertices, num_joints - 22))], 1)
    regressor = rng.dirichlet(np.full(num_vertices, 0.05), num_joints)
    parents = np.array([2**32 - 1, *PARENTS[1:], *FURTHER[: num_joints - 22]], np.uint32)
    return {
        "v_template": model.template,
        "shapedirs": rng.normal(0, 0.01, (num_vertices, 3, num_shapes)),
        "posedirs": rng.normal(0, 0.002, (num_vertices, 3, 9 * (num_joints - 1))),
        "J_regressor": regressor,
        "weights": weights / weights.sum(1, keepdims=True),
        "kintree_table": np.stack([parents, np.arange(num_joints, dtype=np.uint32)]),
        "f": model.toy.faces.astype(np.uint32),
    }


def write(folder, name="SMPLX_NEUTRAL.npz", **changes):
    """The file, with some arrays changed or left out (None)."""
    arrays = {key: array for key, array in (make_arrays() | changes).items() if array is not None}
    np.savez(folder / name, **arrays)
    return folder / name


def plain_forward(arrays, betas, rotations):
    """Vertices and joints of the file in its own axes, all joints one after the other: Loper et al. 2015."""
    shaped = arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ betas
    joints = arrays["J_regressor"] @ shaped
    posed = shaped + arrays["posedirs"] @ np.concatenate([(one - np.eye(3)).ravel() for one in rotations[1:]])
    chain, vertices = [], np.zeros_like(posed)
    for joint, rotation in enumerate(rotations):
        parent = arrays["kintree_table"][0, joint]
        local = np.eye(4)
        local[:3, :3], local[:3, 3] = rotation, joints[joint] - (joints[parent] if joint else 0)
        chain.append(chain[parent] @ local if joint else local)
        moved = (posed - joints[joint]) @ chain[joint][:3, :3].T + chain[joint][:3, 3]
        vertices += arrays["weights"][:, joint, None] * moved
    return vertices, np.stack([world[:3, 3] for world in chain])


def random_turns(num_joints, rng):
    """Rotations (J, 3, 3); those after the first 22 are none."""
    turns = np.tile(np.eye(3), (num_joints, 1, 1))
    for joint in range(22):
        axis, angle = rng.normal(size=3), rng.uniform(-1, 1)
        x, y, z = axis / np.linalg.norm(axis)
        cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        turns[joint] += np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turns


@pytest.mark.parametrize(("num_joints", "name"), [(55, "smplx-SMPLX_NEUTRAL"), (24, "smpl-SMPLX_NEUTRAL")])
def test_vertices_are_those_of_the_files_own_forward(tmp_path, num_joints, name):
    arrays, rng = make_arrays(num_joints), np.random.default_rng(7)
    body = read_smplx(write(tmp_path, **arrays), 10)
    assert (body.name, body.num_shapes, body.num_joints, body.joint_names) == (name, 10, 22, JOINTS)
    for _ in range(3):
        betas, rotations = rng.normal(size=10), random_turns(num_joints, rng)
        vertices, joints = plain_forward(arrays, betas, rotations)
        ours = TURN @ rotations[:22] @ TURN  # the same turns in our axes
        posed = pose_body(body, betas[None], ours[None])
        np.testing.assert_allclose(posed.vertices_m[0], (vertices - joints[0]) @ TURN, atol=1e-6, rtol=0)
        np.testing.assert_allclose(posed.joints_m[0], (joints[:22] - joints[0]) @ TURN, atol=1e-6, rtol=0)


def test_joints_move_with_the_shape_as_the_regressor_says(tmp_path):
    arrays = make_arrays()
    body, betas = read_smplx(write(tmp_path), 12), np.random.default_rng(0).normal(size=12)
    joints = arrays["J_regressor"][:22] @ (arrays["v_template"] + arrays["shapedirs"] @ betas)
    np.testing.assert_allclose(body.joints_m + np.tensordot(betas, body.joint_directions, 1), joints @ TURN, atol=1e-6)


def test_weights_of_fingers_and_jaw_go_to_wrists_and_head(tmp_path):
    arrays, body = make_arrays(), read_smplx(write(tmp_path), 10)
    for joint, further in (("head", [22, 23, 24]), ("left_wrist", range(25, 40)), ("right_wrist", range(40, 55))):
        own = JOINTS.index(joint)
        expected = arrays["weights"][:, [own, *further]].sum(1)
        np.testing.assert_allclose(body.weights[:, own], expected, atol=1e-6)


def test_the_body_file_comes_back(tmp_path):
    body = read_smplx(write(tmp_path), 10)
    assert read_body(write_body(tmp_path / "body.npz", body)).digest == body.digest


def test_a_missing_file_and_a_pickle_name_the_page_of_the_licence(tmp_path):
    with pytest.raises(ValueError, match=rf"SMPLX_MALE\.npz: there is no such file; SMPL-X is licensed.*{LICENCE}"):
        read_smplx(tmp_path / "SMPLX_MALE.npz", 10)
    (tmp_path / "SMPLX_NEUTRAL.pkl").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(ValueError, match=rf"SMPLX_NEUTRAL\.pkl: a pickle is not read; take the npz from {LICENCE}"):
        read_smplx(tmp_path / "SMPLX_NEUTRAL.pkl", 10)


ARRAYS = make_arrays()
SWAPPED = ARRAYS["kintree_table"].copy()
SWAPPED[0, 5] = 1
REFUSALS = {
    "no weights": ({"weights": None}, "has no weights"),
    "objects": ({"J_regressor": np.array([{}])}, "J_regressor"),
    "text": ({"f": np.array([["a", "b", "c"]])}, "has f of type <U1, expected numbers"),
    "23 joints": ({"weights": ARRAYS["weights"][:, :23]}, "has 23 joints, expected 55 or 24"),
    "another tree": ({"kintree_table": SWAPPED}, "has another tree of joints than SMPL's"),
    "a row less": ({"weights": ARRAYS["weights"][1:]}, r"has weights of shape \(363, 55\), expected \(364, 55\)"),
    "flat corrections": ({"posedirs": ARRAYS["posedirs"].reshape(-1, 486)}, r"has posedirs of shape \(1092, 486\)"),
    "few shapes": ({"shapedirs": ARRAYS["shapedirs"][..., :9]}, r"shapedirs of shape \(364, 3, 9\), expected .*10\+"),
    "flat shapes": ({"shapedirs": ARRAYS["shapedirs"][:, 0]}, r"has shapedirs of shape \(364, 12\)"),
    "one row of weights": ({"weights": ARRAYS["weights"][0]}, r"has weights of shape \(55,\)"),
    "flat tree": ({"kintree_table": ARRAYS["kintree_table"][0]}, r"has kintree_table of shape \(55,\)"),
    "regressor": ({"J_regressor": ARRAYS["J_regressor"][:, :9]}, r"has J_regressor of shape \(55, 9\)"),
    "faces": ({"f": ARRAYS["f"][:, :2]}, r"faces is \(\d+, 2\)"),
    "NaN": ({"v_template": np.full_like(ARRAYS["v_template"], np.nan)}, "template_m is NaN"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", REFUSALS)
def test_arrays_that_are_not_those_of_a_model_are_named(mistake, tmp_path):
    change, message = REFUSALS[mistake]
    with pytest.raises(ValueError, match=message):
        read_smplx(write(tmp_path, **change), 10)


def test_a_pickle_inside_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    with pytest.raises(ValueError, match=r"SMPLX_NEUTRAL\.npz"):
        read_smplx(write(tmp_path, f=np.array([Trap()], object)), 10)
