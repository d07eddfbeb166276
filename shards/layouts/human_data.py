"""HumanData of MMHuman3D: an npz of labels, one row an image of a person, and the folder of its images.

Facts are those of open-mmlab/mmhuman3d (docs/human_data.md, data_structures/human_data.py) and of SMPLCap/Zolly, whose
files add K and focal_length (pixels of the whole image) and distortion_max. Legend: N rows.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.layouts.choice import WHOLE, Choice
from shards.layouts.files import clean_name, naming
from shards.layouts.people_images import intrinsics_of_focal, place_of_image, read_image
from shards.npzfile import load_npz
from shards.people.labels import Labels, Reading, person_clip, place_bodies, require_model

MODELS = ("smplx", "smpl")
ARRAYS = ("image_path", "bbox_xywh", "K", "focal_length", "distortion_max", "has_smpl", "config", *MODELS)
"""Members that are read. Keypoints are not: joints are those of the body model."""


def read_human_data(path: Path, reading: Reading, choice: Choice = WHOLE) -> Iterator[Clip]:
    """HumanData of MMHuman3D and Zolly (HuMMan, H36M, PDHuman, SPEC-MTP): an npz; a clip an image; needs --body.

    Labels under smplx or smpl, that of the body file; rows with has_smpl 0 are left out, and a line on stderr counts
    them. `choice` chooses rows. Raises ValueError for labels of another body model, without translation or camera, in
    millimetres or degrees, NaN, and for images that are not there.
    """
    if choice.window is not None:
        raise ValueError(f"{path}: --window {choice.window}: every image here is a clip of its own")
    content = load_npz(path, ARRAYS)
    with naming(path):
        paths = [str(one) for one in content["image_path"]]
        (rows,) = choice.ranges(len(paths))
        is_labelled = _rows(content, "has_smpl", len(paths), ()) != 0 if "has_smpl" in content else np.ones(len(paths))
        labels = _labels_of(content, reading, is_labelled)
        cameras = _Cameras(content, len(paths))
    kept = [row for row in rows if is_labelled[row]]
    if len(kept) < len(rows):
        print(f"{path}: {len(rows) - len(kept)} of {len(rows)} rows have no labels (has_smpl)", file=sys.stderr)
    for row in kept:
        with naming(path, f"row {row}"):
            placed = place_bodies(reading.body, labels.of_rows(slice(row, row + 1)), truncate=reading.truncate_shape)
            image = read_image(place_of_image(reading.images or path.parent, paths[row]))
            clip = person_clip(
                f"{clean_name(path.stem)[:60]}-{row:07d}",
                image[None],
                reading.body,
                placed,
                cameras.of(row, *image.shape[:2])[None],
                _metadata(content, reading, paths[row], row),
            )
            _hold_against_box(clip, content, row)
        yield clip


def _labels_of(content: dict[str, Any], reading: Reading, is_labelled: np.ndarray) -> Labels:
    """The labels of the body file's model; zeros in rows without."""
    model = reading.body.name.split("-")[0]
    if model not in content:
        for other in MODELS:
            if other in content:
                require_model(reading.body, other)
        raise ValueError(f"has neither {' nor '.join(MODELS)}: there are no labels of a body")
    labels, num_rows = content[model], len(is_labelled)
    if not isinstance(labels, dict):
        raise ValueError(f"{model} is {type(labels).__name__}, expected a dictionary")
    if "transl" not in labels:
        raise ValueError(f"{model} lacks transl: without it the distance of the camera is not known")
    ends = {"betas": (-1,), "global_orient": (3,), "body_pose": (-1, 3), "transl": (3,)}
    arrays = {name: _rows(labels, name, num_rows, end) for name, end in ends.items()}
    return Labels(**{name: np.where(_column(is_labelled, array), array, 0) for name, array in arrays.items()})


def _rows(content: dict[str, Any], name: str, num_rows: int, ends: tuple[int, ...]) -> np.ndarray:
    """A member as (N, *ends) float64: an array, or a list of arrays or tensors with axes of length 1 between."""
    array = np.asarray(content[name], np.float64)
    try:
        return array.reshape(num_rows, *ends)
    except ValueError:
        raise ValueError(f"{name} has shape {array.shape}, which does not fit {num_rows} rows") from None


def _column(is_labelled: np.ndarray, array: np.ndarray) -> np.ndarray:
    return (is_labelled != 0).reshape(-1, *(1,) * (array.ndim - 1))


class _Cameras:
    """Intrinsics of each row: K, or focal_length with the principal point in the middle of the image."""

    def __init__(self, content: dict[str, Any], num_rows: int):
        self.k = _rows(content, "K", num_rows, (3, 3)) if "K" in content else None
        if self.k is None and "focal_length" not in content:
            raise ValueError("has neither K nor focal_length: without a camera nothing can be placed in the image")
        self.focal = None if self.k is not None else _rows(content, "focal_length", num_rows, (-1,))

    def of(self, row: int, height: int, width: int) -> np.ndarray:
        """K (3, 3) of a row's image."""
        return self.k[row] if self.k is not None else intrinsics_of_focal(self.focal[row], height, width)


def _metadata(content: dict[str, Any], reading: Reading, image_path: str, row: int) -> dict[str, Any]:
    config = content.get("config")
    recipe = {"source": "human_data", "body": reading.body.name, "body_digest": reading.body.digest}
    distortion = content.get("distortion_max")
    return {
        "recipe": recipe | ({"config": config} if isinstance(config, str) else {}),
        "image_path": image_path,
        "row": row,
        **({} if distortion is None else {"distortion_max": float(np.ravel(distortion[row])[0])}),
    }


def _hold_against_box(clip: Clip, content: dict[str, Any], row: int) -> None:
    """The joints that are projected here, and the box that the labels say, must at least overlap."""
    if "bbox_xywh" not in content:
        return
    left, top, width, height = np.asarray(content["bbox_xywh"][row][:4], np.float64)
    low, high = clip.tracks[0].min(0), clip.tracks[0].max(0)
    is_apart = high[0] < left or high[1] < top or low[0] > left + width or low[1] > top + height
    if width > 0 and height > 0 and is_apart:
        raise ValueError(
            f"the joints lie in x {low[0]:.0f} to {high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f}, beside bbox_xywh "
            f"({left:.0f}, {top:.0f}, {width:.0f}, {height:.0f}): the camera, or the axes or units, are others"
        )
