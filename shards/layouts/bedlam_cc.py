"""BEDLAM-CC as Unreal renders it: one body and a new camera in every frame.

<root>/png/seq_000001/seq_000001_0000.png (or seq_000001_FinalImage_0000.png) and
<root>/info/seq_000001/camera_smplx.npz. Facts are those of NVlabs/blade (docs/DATASETS.md, blade/datasets/): cam_pose
(F, 6) is x, y, z in centimetres and yaw, pitch, roll in degrees in Unreal's axes (x forward, y right, z up), yaw with
half a circle too much; focal_length (F,) is in millimetres for a sensor 36 mm wide; the body of image i has number
i + 1 in smplx_poses (F + 1, 165), smplx_global_ori and smplx_trans. Legend: F cameras, T frames.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shards.clip import Clip
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import naming, read_frames
from shards.layouts.people_images import intrinsics_of_focal
from shards.npzfile import load_npz
from shards.people.body import Body
from shards.people.labels import TURN, Reading, fit_shape, person_clip, require_model, rotation_matrices

LABELS = "camera_smplx.npz"
ARRAYS = {
    "cam_pose": (6,), "focal_length": (), "smplx_poses": (165,), "smplx_global_ori": (3,), "smplx_trans": (3,),
}  # fmt: skip
"""Members of every frame, and how their shapes end."""
FRAME = re.compile(r"seq_\d+_(?:FinalImage_)?(\d+)\.png")
SENSOR_MM = 36.0
BODY_AFTER_IMAGE = 1
NUM_POSES = 66
FROM_UNREAL = np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], np.float64)
"""Unreal's axes (x forward, y right, z up) to ours (x right, y down, z forward)."""
HALF_CIRCLE = np.diag([-1.0, 1.0, -1.0])
"""The camera's half circle about y."""
SMPL_TO_WORLD = np.array([[0, 0, 1], [0, -1, 0], [1, 0, 0]], np.float64)
"""SMPL's axes to the world's: upside down, then a quarter circle to the left."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Cameras:
    """World to camera: v' = rotation (T, 3, 3) v + offset (T, 3), metres."""

    rotation: np.ndarray
    offset_m: np.ndarray


def read_bedlam_cc(path: Path, reading: Reading, choice: Choice = WHOLE) -> Iterator[Clip]:
    """BEDLAM-CC renders: <root>/png/seq_*/ and info/seq_*/camera_smplx.npz; a clip a sequence; needs --body.

    `choice` chooses among the images that are there. Raises ValueError for a body file that is not SMPL-X's, for a
    sequence without labels or images, and for labels that `Person` refuses.
    """
    with naming(path):
        require_model(reading.body, "smplx")
    folders = sorted(path.glob("png/seq_*"))
    if not folders:
        raise ValueError(f"{path}: no png/seq_* in it; give the folder that holds png and info")
    for folder in folders:
        images = _list_images(folder)
        labels = path / "info" / folder.name / LABELS
        content = load_npz(labels, [*ARRAYS, "smplx_betas"])
        with naming(labels):
            ranges = choice.ranges(len(images))
        for chosen in ranges:
            numbers = list(images)[chosen.start : chosen.stop]
            with naming(labels):
                video = read_frames([images[number] for number in numbers])
                clip = _make_clip(choice.name(folder.name, chosen), video, content, numbers, reading)
            yield clip


def _list_images(folder: Path) -> dict[int, Path]:
    """Images of a sequence by their numbers, in order; there may be gaps."""
    matches = {path: FRAME.fullmatch(path.name) for path in folder.iterdir()}
    images = sorted((int(match[1]), path) for path, match in matches.items() if match)
    if not images:
        raise ValueError(f"{folder}: there is no image, such as {folder.name}_0000.png, in it")
    return dict(images)


def _make_clip(key: str, video: np.ndarray, content: dict, numbers: list[int], reading: Reading) -> Clip:
    height, width = video.shape[1:3]
    arrays = {name: _frames(content, name, numbers) for name in ARRAYS}
    focal_px = arrays["focal_length"] / SENSOR_MM * width
    betas = np.asarray(content["smplx_betas"], np.float64).reshape(1, -1)
    shape = fit_shape(betas, reading.body.num_shapes, truncate=reading.truncate_shape).repeat(len(numbers), 0)
    recipe = {"source": "bedlam_cc", "body": reading.body.name, "body_digest": reading.body.digest}
    return person_clip(
        key,
        video,
        reading.body,
        _place(reading.body, shape, arrays, _cameras_of(arrays["cam_pose"])),
        np.stack([intrinsics_of_focal(focal_px[t, None], height, width) for t in range(len(numbers))]),
        {"recipe": recipe, "frames": numbers},
    )


def _frames(content: dict, name: str, numbers: list[int]) -> np.ndarray:
    """A member's rows of these images, float64; ValueError where it is too short, or NaN."""
    array, shift = np.asarray(content[name], np.float64), 0 if name in ("cam_pose", "focal_length") else 1
    if array.shape[1:] != ARRAYS[name] or len(array) <= numbers[-1] + shift * BODY_AFTER_IMAGE:
        expected = f"({numbers[-1] + 1 + shift * BODY_AFTER_IMAGE} or more, {str(ARRAYS[name])[1:]}"
        raise ValueError(f"{name} has shape {array.shape}, expected {expected} for image {numbers[-1]}")
    chosen = array[np.array(numbers) + shift * BODY_AFTER_IMAGE]
    if not np.isfinite(chosen).all():
        raise ValueError(f"{name} is NaN or infinite at image {numbers[int(np.argwhere(~np.isfinite(chosen))[0][0])]}")
    return chosen


def _cameras_of(cam_pose: np.ndarray) -> _Cameras:
    """Cameras of cam_pose (T, 6)."""
    yaw, pitch, roll = np.radians(cam_pose[:, 3:] - [180, 0, 0]).T
    zero = np.zeros_like(yaw)
    about = [np.stack(axis, -1) for axis in ((zero, zero, yaw), (zero, pitch, zero), (roll, zero, zero))]
    turned = rotation_matrices(about[0]) @ rotation_matrices(about[1]) @ rotation_matrices(about[2])  # in Unreal's axes
    rotation = HALF_CIRCLE @ (FROM_UNREAL @ turned @ FROM_UNREAL.T).transpose(0, 2, 1)
    place_m = cam_pose[:, :3] / 100 @ FROM_UNREAL.T
    return _Cameras(rotation=rotation, offset_m=-np.einsum("tij,tj->ti", rotation, place_m))


def _place(body: Body, shape: np.ndarray, arrays: dict[str, np.ndarray], cameras: _Cameras) -> tuple:
    """Shape, rotations and pelvis as `pose_body` takes them: the labels say where the body is in the world.

    The body turns about its pelvis j: v' = C (G (v - j) + j + t) + offset, with C the camera's rotation after SMPL's
    axes became the world's, G smplx_global_ori and t smplx_trans.
    """
    rest = (body.joints_m[0] + shape @ body.joint_directions[:, 0]) @ TURN  # (T, 3) in SMPL's axes
    to_camera = cameras.rotation @ SMPL_TO_WORLD  # (T, 3, 3)
    pelvis = np.einsum("tij,tj->ti", to_camera, rest + arrays["smplx_trans"]) + cameras.offset_m
    first = to_camera @ rotation_matrices(arrays["smplx_global_ori"]) @ TURN
    pose = arrays["smplx_poses"][:, 3:NUM_POSES].reshape(len(shape), -1, 3)[:, : body.num_joints - 1]
    others = TURN @ rotation_matrices(pose) @ TURN
    return shape, np.concatenate([first[:, None], others], 1), pelvis
