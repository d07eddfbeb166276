"""Errors of the solved camera by errors of what it is given: `python -m benchmarks.camera_solver --body FILE`.

Bodies with true meshes, at 0.6 to 5 m (evenly in 1/m), seen by a camera that zooms with the distance, in pictures of
64x64. What the solver is given is changed row by row: the depth by a factor, the joints' pixels by normal noise, and
some joints by 20 pixels. Means over the pictures; IoU is that of the true mesh seen by both cameras.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from eval.people.metrics import mask_iou
from eval.people.solver import solve_cameras
from shards.people.body import Body, pose_body, read_body
from shards.people.camera import Camera, project
from shards.people.person import Person
from shards.people.raster import draw

SIZE = 64
CASES = [(1.0, 0.0, 0), (1.0, 0.5, 0), (1.05, 0.0, 0), (1.05, 0.5, 0), (1.05, 1.5, 0), (0.9, 0.5, 0), (1.0, 0.5, 2)]
"""Factor of the depth, noise of the joints in pixels, joints that are 20 pixels off."""


def draw_people(body: Body, count: int, rng: np.random.Generator) -> Person:
    """Persons (one a frame) in normal shapes and poses, upright, turned anyhow, filling most of the picture."""
    angles = rng.normal(0, np.radians(20), (count, body.num_joints, 3))
    angles[:, 0] = np.stack([np.zeros(count), rng.uniform(0, 2 * np.pi, count), np.zeros(count)], -1)
    rotations = rotation_of(angles)
    shape = rng.normal(size=(count, body.num_shapes)).astype(np.float32)
    depth = 1 / rng.uniform(1 / 5, 1 / 0.6, count)
    focal = SIZE * 0.45 * depth * rng.uniform(0.8, 1.2, count)
    pelvis = np.stack([*rng.normal(0, 0.05, (2, count)), depth], -1).astype(np.float32)
    return Person(
        body=body.digest,
        focal_px=focal.astype(np.float32),
        centre_px=np.full((count, 2), SIZE / 2, np.float32),
        pelvis_m=pelvis,
        joints_m=pose_body(body, shape, rotations, pelvis).joints_m,
        shape=shape,
        rotations=rotations,
    )


def rotation_of(vectors: np.ndarray) -> np.ndarray:
    """Rotations (..., 3, 3) float32 about vectors (..., 3) by their length in radians (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    x, y, z = np.moveaxis(vectors / angle, -1, 0)
    cross = np.stack([0 * x, -z, y, z, 0 * x, -x, -y, x, 0 * x], -1).reshape(*x.shape, 3, 3)
    angle = angle[..., None]
    return (np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross).astype(np.float32)


def measure(body: Body, person: Person, case: tuple[float, float, int], *, is_robust: bool) -> tuple[float, ...]:
    """Mean error of f (%), of T_xy (mm), mean IoU, failures, and CPU milliseconds a picture, of one case."""
    factor, noise, num_wrong = case
    rng = np.random.default_rng(1)
    count, num_joints = person.joints_m.shape[:2]
    camera = Camera(focal_px=person.focal_px, centre_px=person.centre_px)
    pixels = project(camera, person.joints_m) + rng.normal(0, noise, (count, num_joints, 2))
    for row, wrong in zip(pixels, rng.permuted(np.tile(np.arange(num_joints), (count, 1)), axis=1), strict=True):
        directions = rng.normal(size=(num_wrong, 2))
        row[wrong[:num_wrong]] += 20 * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    start = time.process_time()
    solved = solve_cameras(
        person.joints_m - person.pelvis_m[:, None],
        person.pelvis_m[:, 2] * factor,
        np.nan_to_num(pixels),
        np.isfinite(pixels).all(-1).astype(float),
        np.full((count, 2), SIZE),
        is_robust=is_robust,
    )
    took = (time.process_time() - start) / count * 1000
    found = np.flatnonzero(solved.is_solved)
    true_meshes = pose_body(body, person.shape, person.rotations, person.pelvis_m).vertices_m
    meshes = true_meshes - person.pelvis_m[:, None] + np.nan_to_num(solved.pelvis_m)[:, None]
    ious = [
        mask_iou(see(body, meshes[i], solved.focal_px[i]), see(body, true_meshes[i], person.focal_px[i])) for i in found
    ]
    focal = np.abs(solved.focal_px / person.focal_px - 1)[found].mean() * 100
    place = np.linalg.norm((solved.pelvis_m - person.pelvis_m)[found, :2], axis=1).mean() * 1000
    return focal, place, float(np.mean(ious)), count - len(found), took


def see(body: Body, vertices_m: np.ndarray, focal_px: float) -> np.ndarray:
    """The mask of a mesh."""
    return draw(vertices_m, body.faces, float(focal_px), np.full(2, SIZE / 2), (SIZE, SIZE)).mask


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--body", type=Path, required=True, help="a body file (python -m generation body --help)")
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    body = read_body(options.body)
    person = draw_people(body, options.pictures, np.random.default_rng(0))
    print(f"{body.name}, {options.pictures} pictures of {SIZE}x{SIZE}, {body.num_joints} joints\n")
    print("| T_z | joints | wrong joints | solver | f error | T_xy | IoU | failures | CPU ms a picture |")
    print("|---|---|---:|---|---:|---:|---:|---:|---:|")
    for case in CASES:
        for is_robust in (True, False):
            focal, place, iou, failures, took = measure(body, person, case, is_robust=is_robust)
            given = f"x{case[0]:g} | {case[1]:g} px | {case[2]} | {'robust' if is_robust else 'least squares'}"
            print(f"| {given} | {focal:.1f} % | {place:.0f} mm | {iou:.3f} | {failures} | {took:.3f} |")


if __name__ == "__main__":
    main()
