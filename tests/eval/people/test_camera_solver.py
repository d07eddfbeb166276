"""The camera solver: exact on exact input, the least of all reprojections, and failures that are named."""

import numpy as np
import pytest

from eval.people import solver
from eval.people.solver import solve_cameras
from shards.people.body import pose_body
from shards.people.camera import Camera, project
from tests.eval.people.persons import SIZE, joints_px, make_person

B = 12


@pytest.fixture(scope="module")
def exact(body):
    """Everything that the solver is given, and the person behind it."""
    person = make_person(body, B, seed=3)
    given = {
        "joints_m": person.joints_m - person.pelvis_m[:, None],
        "depth_m": person.pelvis_m[:, 2],
        "joints_px": joints_px(person),
        "weights": np.ones((B, body.num_joints)),
        "size": np.full((B, 2), SIZE),
    }
    return person, given


def test_exact_input_gives_the_exact_camera(exact):
    person, given = exact
    for is_robust in (True, False):
        solved = solve_cameras(**given, is_robust=is_robust)
        assert solved.is_solved.all()
        np.testing.assert_allclose(solved.focal_px, person.focal_px, rtol=1e-5)
        np.testing.assert_allclose(solved.pelvis_m, person.pelvis_m, atol=1e-5)
        assert solved.error_px.max() < 1e-4


def reprojection(given, picture, focal, x, y):
    """The weighted squared error of one picture, joint by joint."""
    total = 0.0
    for joint, place, weight in zip(
        given["joints_m"][picture], given["joints_px"][picture], given["weights"][picture], strict=True
    ):
        z = joint[2] + given["depth_m"][picture]
        seen = [focal * (joint[0] + x) / z + SIZE / 2, focal * (joint[1] + y) / z + SIZE / 2]
        total += weight * ((seen[0] - place[0]) ** 2 + (seen[1] - place[1]) ** 2)
    return total


def test_no_camera_nearby_reprojects_better(exact):
    rng = np.random.default_rng(0)
    _, given = exact
    given = given | {
        "joints_px": given["joints_px"] + rng.normal(0, 1, (B, 22, 2)),
        "weights": rng.uniform(0, 1, (B, 22)),
        "depth_m": given["depth_m"] * 1.1,
    }
    solved = solve_cameras(**given, is_robust=False)
    for picture in range(B):
        focal, (x, y) = solved.focal_px[picture], solved.pelvis_m[picture, :2]
        least = reprojection(given, picture, focal, x, y)
        for _ in range(30):
            df, dx, dy = rng.normal(0, 1e-3, 3)
            assert reprojection(given, picture, focal * (1 + df), x + dx, y + dy) > least


def test_a_wrong_depth_gives_a_focal_length_as_wrong(exact):
    """f follows T_z: the same picture from farther away has a longer lens."""
    person, given = exact
    solved = solve_cameras(**given | {"depth_m": given["depth_m"] * 1.05})
    np.testing.assert_allclose(solved.focal_px / person.focal_px, 1.05, atol=0.02)


def test_two_wrong_joints_move_a_robust_camera_less(exact):
    person, given = exact
    pixels = given["joints_px"] + np.random.default_rng(1).normal(0, 0.2, (B, 22, 2))
    pixels[:, [10, 21]] += 25
    errors = [
        np.abs(solve_cameras(**given | {"joints_px": pixels}, is_robust=is_robust).focal_px / person.focal_px - 1)
        for is_robust in (True, False)
    ]
    assert np.mean(errors[0]) < 0.03 < 0.1 < np.mean(errors[1])


def test_a_joint_behind_the_camera_or_without_a_score_says_nothing(exact, body):
    person, given = exact
    joints, pixels, weights = (given[name].copy() for name in ("joints_m", "joints_px", "weights"))
    joints[0, 5, 2] = -given["depth_m"][0] - 1  # behind the camera
    weights[1, 7], pixels[1, 7] = 0, 999
    solved = solve_cameras(**given | {"joints_m": joints, "joints_px": pixels, "weights": weights})
    np.testing.assert_allclose(solved.focal_px, person.focal_px, rtol=1e-5)


def test_failures_are_named_and_are_no_numbers(exact):
    _, given = exact
    joints, pixels, weights = (given[name].copy() for name in ("joints_m", "joints_px", "weights"))
    weights[0, 3:] = 0
    joints[1] = joints[1, :1]
    pixels[2] = SIZE - pixels[2]  # upside down: no lens does that
    pixels[3] = SIZE / 2 + 100 * (pixels[3] - SIZE / 2)
    solved = solve_cameras(**given | {"joints_m": joints, "joints_px": pixels, "weights": weights})
    expected = [solver.TOO_FEW, solver.ONE_POINT, solver.OUT_OF_BOUNDS, solver.OUT_OF_BOUNDS]
    assert solved.reason[:4].tolist() == expected
    assert np.isnan(solved.focal_px[:4]).all() and np.isnan(solved.pelvis_m[:4]).all()
    assert solved.is_solved[4:].all() and np.isfinite(solved.pelvis_m[4:]).all()
    with pytest.raises(ValueError, match="depth_m for the camera is NaN or infinite in picture 5"):
        solve_cameras(**given | {"depth_m": np.where(np.arange(B) == 5, np.nan, given["depth_m"])})


def test_steps_of_very_wrong_input_settle_too(body):
    person = make_person(body, 400, seed=8)
    rng = np.random.default_rng(8)
    joints = person.joints_m - person.pelvis_m[:, None] + rng.normal(0, 0.1, person.joints_m.shape)
    pixels = joints_px(person) + rng.normal(0, 1, (400, 22, 2))
    solved = solve_cameras(joints, person.pelvis_m[:, 2], pixels, np.ones((400, 22)), np.full((400, 2), SIZE))
    assert solver.NOT_CONVERGED not in solved.reason


def test_steps_that_go_on_are_a_failure(exact, monkeypatch):
    _, given = exact
    monkeypatch.setattr(solver, "MOST_STEPS", 2)
    pixels = given["joints_px"] + np.random.default_rng(2).normal(0, 3, (B, 22, 2))
    solved = solve_cameras(**given | {"joints_px": pixels})
    assert solver.NOT_CONVERGED in solved.reason


def test_the_solved_camera_sees_the_posed_body_where_it_was(exact, body):
    person, given = exact
    solved = solve_cameras(**given)
    posed = pose_body(body, person.shape, person.rotations, solved.pelvis_m)
    seen = project(Camera(focal_px=solved.focal_px, centre_px=person.centre_px), posed.joints_m)
    np.testing.assert_allclose(seen, given["joints_px"], atol=1e-3)
