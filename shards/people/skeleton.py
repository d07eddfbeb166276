"""The 22 joints that all bodies here are posed by: names and order of SMPL-X's body joints (Pavlakos et al. 2019)."""

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
MIRRORED = tuple(JOINTS.index(n.replace("left", "?").replace("right", "left").replace("?", "right")) for n in JOINTS)
"""The joint on the other side of each."""
