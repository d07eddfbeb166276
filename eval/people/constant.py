"""The best that a constant can say: the row that every model has to beat, made without training.

T_z is the median of a training set, which no other constant beats in mean |error|; pose, shape and 2D joints are means
of it. Means of rotations are taken joint by joint in the space of matrices and brought back to the nearest rotation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eval.people.predictions import PREDICTED, PersonPrediction, write_predictions
from eval.people.truth import PeopleTruth
from shards.people.camera import Camera, project

CONSTANT = "constant"
"""The name of the row."""


def predict_constant(training: str | Path, index: str | Path, body: str | Path, out: str | Path) -> Path:
    """Write, for every frame of the truth `index`, the constant of a training set of the same body; returns `out`.

    Raises ValueError for sets of another body, and where both are the same set.
    """
    learned, truth = PeopleTruth(training, body), PeopleTruth(index, body)
    if learned.sha256 == truth.sha256:
        raise ValueError(f"{training}: this is the truth that would be scored; give the training set's index")
    constant = find_constant(learned)
    clips = (
        repeat(name, constant, len(person.focal_px), np.array(size[::-1], np.float32))
        for name, person, size in truth.people()
    )
    header = {"model": CONSTANT, "condition": PREDICTED, "body": truth.body.digest, "truth_sha256": truth.sha256}
    return write_predictions(out, clips=clips, **header)


def find_constant(learned: PeopleTruth) -> dict[str, np.ndarray]:
    """Median depth (1,), mean shape (S,), rotations (J, 3, 3) and joints (J, 2) as shares of the picture."""
    depth, shape, rotations, joints = [], [], [], []
    for _, person, (height, width) in learned.people():
        camera = Camera(focal_px=person.focal_px, centre_px=person.centre_px)
        depth.append(person.pelvis_m[:, 2])
        shape.append(person.shape)
        rotations.append(person.rotations)
        joints.append(project(camera, person.joints_m) / [width, height])  # NaN behind the camera
    return {
        "depth_m": np.median(np.concatenate(depth), keepdims=True).astype(np.float32),
        "shape": np.concatenate(shape).mean(0, dtype=np.float64).astype(np.float32),
        "rotations": nearest_rotation(np.concatenate(rotations).mean(0, dtype=np.float64)).astype(np.float32),
        # A joint just before the camera is seen anywhere: the median does not follow it.
        "joints": np.nanmedian(np.concatenate(joints), axis=0).astype(np.float32),
    }


def nearest_rotation(matrices: np.ndarray) -> np.ndarray:
    """The rotations (..., 3, 3) nearest to matrices (..., 3, 3), reflections excluded (Umeyama 1991)."""
    left, _, right = np.linalg.svd(matrices)
    left[..., 2] *= np.linalg.det(left @ right)[..., None]
    return left @ right


def repeat(name: str, constant: dict[str, np.ndarray], num_frames: int, size: np.ndarray) -> PersonPrediction:
    """The constant for every frame of a clip of pictures of `size` (2,) width and height."""
    joints = constant["joints"] * size  # (J, 2)
    return PersonPrediction(
        name=name,
        depth_m=np.repeat(constant["depth_m"], num_frames),
        shape=np.tile(constant["shape"], (num_frames, 1)),
        rotations=np.tile(constant["rotations"], (num_frames, 1, 1, 1)),
        joints_px=np.tile(joints, (num_frames, 1, 1)),
        joints_score=np.ones((num_frames, len(joints)), np.float32),
    )
