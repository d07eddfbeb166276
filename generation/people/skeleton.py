"""Parts and weights of bodies with the 22 joints of `shards.people.skeleton`."""

import numpy as np

from shards.people.skeleton import JOINTS as JOINTS  # for the modules that make bodies
from shards.people.skeleton import PARENTS as PARENTS

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
