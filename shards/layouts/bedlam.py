"""BEDLAM's training labels: an npz, one row a person in an image, and the folder of the images.

Facts are those of pixelite1201/BEDLAM (data_processing/df_full_body.py, train/dataset/): a body in the axes of its
camera is SMPL-X of pose_cam (axis times angle; 3 numbers turn the whole body, 63 the other body joints), shape and
trans_cam, moved by the last column of cam_ext; cam_int is K; images of close-ups lie on their side. Legend: N rows.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from shards.clip import Clip
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import clean_name, naming
from shards.layouts.people_images import place_of_image, read_image
from shards.npzfile import load_npz
from shards.people.labels import Labels, Reading, person_clip, place_bodies, require_model

ARRAYS = {"imgname": (), "pose_cam": (-1,), "shape": (-1,), "trans_cam": (3,), "cam_ext": (4, 4), "cam_int": (3, 3)}
"""Members that are read, and how their shapes end after the rows."""
NUM_POSES = 66
"""Numbers of pose_cam for the whole body and the 21 other joints; hands, jaw and eyes follow."""


def read_bedlam(path: Path, reading: Reading, choice: Choice = WHOLE) -> Iterator[Clip]:
    """BEDLAM's training labels (*.npz with imgname, pose_cam, cam_int): a clip a person and image; needs --body.

    `choice` chooses rows. Raises ValueError for a body file that is not SMPL-X's, for missing arrays and images, and
    for labels that `Labels` and `Person` refuse.
    """
    if choice.window is not None:
        raise ValueError(f"{path}: --window {choice.window}: every image here is a clip of its own")
    with naming(path):
        require_model(reading.body, "smplx")
        content = load_npz(path, ARRAYS)
        names = [str(name) for name in content["imgname"]]
        labels, k = _labels_of(content, len(names)), _rows(content, "cam_int", len(names))
        (rows,) = choice.ranges(len(names))
    recipe = {"source": "bedlam", "body": reading.body.name, "body_digest": reading.body.digest}
    for row in rows:
        with naming(path, f"row {row}"):
            image = _upright(read_image(place_of_image(reading.images or path.parent, names[row])), k[row])
            clip = person_clip(
                f"{clean_name(path.stem)[:60]}-{row:07d}",
                image[None],
                reading.body,
                place_bodies(reading.body, labels.of_rows(slice(row, row + 1)), truncate=reading.truncate_shape),
                k[row, None],
                {"recipe": recipe, "image_path": names[row], "row": row},
            )
        yield clip


def _labels_of(content: dict[str, np.ndarray], num_rows: int) -> Labels:
    pose = _rows(content, "pose_cam", num_rows)
    if pose.shape[1] < NUM_POSES:
        raise ValueError(f"pose_cam has {pose.shape[1]} numbers a row, expected {NUM_POSES} or more")
    return Labels(
        betas=_rows(content, "shape", num_rows),
        global_orient=pose[:, :3],
        body_pose=pose[:, 3:NUM_POSES].reshape(num_rows, -1, 3),
        transl=_rows(content, "trans_cam", num_rows) + _rows(content, "cam_ext", num_rows)[:, :3, 3],
    )


def _rows(content: dict[str, np.ndarray], name: str, num_rows: int) -> np.ndarray:
    array = np.asarray(content[name], np.float64)
    try:
        return array.reshape(num_rows, *ARRAYS[name])
    except ValueError:
        raise ValueError(f"{name} has shape {array.shape}, which does not fit {num_rows} rows") from None


def _upright(image: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """An image (H, W, 3), turned clockwise where K, whose principal point is the middle, says H x W the other way."""
    height, width = image.shape[:2]
    expected = tuple(np.rint(2 * intrinsics[[1, 0], 2]).astype(int))
    if expected == (height, width):
        return image
    if expected == (width, height):
        return np.ascontiguousarray(np.rot90(image, -1))
    raise ValueError(f"the image is {width}x{height}, cam_int is of one of {expected[1]}x{expected[0]}")
