"""The 22 joints that all bodies here are posed by: names and order of SMPL-X's body joints (Pavlakos et al. 2019)."""

import numpy as np

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
PARTS = JOINTS
"""A body part is what one joint moves most, as in the 24 parts of SMPL (which have two more, the hands)."""


def parts_of_faces(weights: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) uint8 from 1: the joint whose weights (V, J) over a face's vertices are the largest."""
    return (weights[faces].sum(1).argmax(1) + 1).astype(np.uint8)


def merge_bones(weights: np.ndarray, owners: np.ndarray, num_joints: int) -> np.ndarray:
    """(V, J) float32: weights (V, bones) of a larger skeleton given to the joints that each bone hangs on.

    Exact where bones that are no joints keep their rest pose, as a bone moves with what it hangs on then.
    """
    merged = np.zeros((len(weights), num_joints))
    np.add.at(merged.T, owners, weights.clip(0).T)  # an interpolated weight may be just below 0
    return (merged / merged.sum(1, keepdims=True)).astype(np.float32)
