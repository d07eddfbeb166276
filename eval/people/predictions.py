"""predictions.npz of people: what a model says of the body in every frame of a benchmark.

An npz without pickled objects: `format`, `model`, `condition` (which depth the pose was made for: CONDITIONS), `body`
(digest of the body file), `truth_sha256` (of the truth index.json), `names` (C,) and for each clip `<name>/depth_m`
(T,) float32, T_z of the pelvis in metres, before any solver; `<name>/shape` (T, S) and `<name>/rotations` (T, J, 3, 3)
float32 as `pose_body` takes them; `<name>/joints_px` (T, J, 2) float32 pixels of the whole picture and
`<name>/joints_score` (T, J) float32 from 0 to 1, the 2D joints from which the camera is solved.

A model that says nothing of the pose has neither shape nor rotations; one that finds no joints neither of the last two.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from eval.predictions import write_array
from shards.files import appearing

FORMAT = "frameline-people-predictions/1"
PREDICTED, NONE, TRUE = "predicted", "none", "true"
CONDITIONS = (PREDICTED, NONE, TRUE)
"""The depth that a pose was made for: the model's own, none at all, or the true one (an oracle)."""
ARRAYS = {"depth_m": 1, "shape": 2, "rotations": 4, "joints_px": 3, "joints_score": 2}
"""Arrays of a clip, float32, by the number of their axes."""
PAIRS = (("shape", "rotations"), ("joints_px", "joints_score"))
"""Arrays that a clip has both or neither of."""
NOT_TURNED = 1e-3
"""How far a predicted rotation may be from orthogonal."""
LARGEST = 1 << 31
"""Bytes that an array of a file may have."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PersonPrediction:
    """What is predicted for the frames of one clip. Checked when made; ValueError names the clip and the array."""

    name: str
    """key of the clip"""
    depth_m: np.ndarray
    """(T,) float32, positive: T_z of the pelvis"""
    shape: np.ndarray | None = None
    """(T, S) float32 coefficients of the body file"""
    rotations: np.ndarray | None = None
    """(T, J, 3, 3) float32 rotations as `pose_body` takes them"""
    joints_px: np.ndarray | None = None
    """(T, J, 2) float32, pixels of the whole picture"""
    joints_score: np.ndarray | None = None
    """(T, J) float32, 0 (not found) to 1"""

    def __post_init__(self) -> None:
        for pair in PAIRS:
            if len({getattr(self, name) is None for name in pair}) > 1:
                self._refuse(" and ".join(pair), "come together or not at all")
        given = {name: getattr(self, name) for name in ARRAYS if getattr(self, name) is not None}
        for name, array in given.items():
            if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != ARRAYS[name]:
                self._refuse(name, f"must be a {ARRAYS[name]}-d array of float32")
            if len(array) != len(self.depth_m):
                self._refuse(name, f"has {len(array)} frames, depth_m has {len(self.depth_m)}")
            if not np.isfinite(array).all():
                frame = int(np.argwhere(~np.isfinite(array))[0][0])
                self._refuse(name, f"is nan or infinite in frame {frame}; a model that diverged cannot be scored")
        if (self.depth_m <= 0).any():
            self._refuse("depth_m", f"is not in front of the camera in frame {int((self.depth_m <= 0).argmax())}")
        if self.rotations is not None:
            self._check_rotations(self.rotations)
        if self.joints_px is not None:
            self._check_joints(self.joints_px, self.joints_score)

    def _check_rotations(self, rotations: np.ndarray) -> None:
        if rotations.shape[2:] != (3, 3):
            self._refuse("rotations", f"has shape {rotations.shape}, expected (T, J, 3, 3)")
        error = np.abs(rotations @ rotations.swapaxes(-1, -2) - np.eye(3)).max(initial=0)
        if error > NOT_TURNED or (np.linalg.det(rotations) < 0).any():
            self._refuse("rotations", f"holds matrices that are no rotations (R R^T is {error:.2g} from the identity)")

    def _check_joints(self, joints_px: np.ndarray, score: np.ndarray) -> None:
        if joints_px.shape != (*score.shape, 2):
            self._refuse("joints_px", f"has shape {joints_px.shape}, joints_score {score.shape}")
        if self.rotations is not None and self.rotations.shape[1] != score.shape[1]:
            self._refuse("joints_px", f"are {score.shape[1]} joints, rotations of {self.rotations.shape[1]}")
        if score.min(initial=0) < 0 or score.max(initial=0) > 1:
            self._refuse("joints_score", "must lie between 0 and 1")

    def _refuse(self, name: str, reason: str) -> None:
        raise ValueError(f"{self.name}/{name} {reason}")

    def frames(self, chosen: list[int]) -> PersonPrediction:
        """What is predicted for the chosen frames only."""
        return replace(self, **{n: array[chosen] for n in ARRAYS if (array := getattr(self, n)) is not None})


def write_predictions(
    path: str | Path,
    *,
    model: str,
    condition: str,
    body: str,
    truth_sha256: str,
    clips: Iterable[PersonPrediction],
) -> Path:
    """Write predictions atomically; `clips` may be a generator. The same predictions give the same bytes.

    body: digest of the body file whose shapes and joints these are. Raises ValueError for an unknown condition, no
    clip, and a clip that comes twice.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"{path}: condition {condition!r} is unknown; choose one of {', '.join(CONDITIONS)}")
    path, names = Path(path), []
    with appearing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        header = {"format": FORMAT, "model": model, "condition": condition, "body": body, "truth_sha256": truth_sha256}
        for field, value in header.items():
            write_array(archive, field, np.array(value))
        for clip in clips:
            if clip.name in names:
                raise ValueError(f"{path}: the clip {clip.name!r} was predicted twice")
            names.append(clip.name)
            for array in ARRAYS:
                if getattr(clip, array) is not None:
                    write_array(archive, f"{clip.name}/{array}", getattr(clip, array))
        if not names:
            raise ValueError(f"{path}: there is no clip to predict")
        write_array(archive, "names", np.array(names))
    return path


class PeoplePredictions:
    """A predictions.npz of people, its header checked when opened and each clip when it is read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise ValueError(f"{self.path}: not there; predict first (python -m trainer.predict_people --help)")
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._members = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
            self._archive = np.load(self.path, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{self.path}: not a readable predictions.npz ({error}); predict again") from None
        found = str(self._field("format"))
        if found != FORMAT:
            raise ValueError(f"{self.path}: format {found!r}, expected {FORMAT!r} (predictions of people)")
        self.model, self.condition = str(self._field("model")), str(self._field("condition"))
        self.body, self.truth_sha256 = str(self._field("body")), str(self._field("truth_sha256"))
        self.names = tuple(str(name) for name in self._field("names"))
        if self.condition not in CONDITIONS:
            raise ValueError(f"{self.path}: unknown condition {self.condition!r}; predict again")

    def clip(self, name: str) -> PersonPrediction:
        """Read what is predicted for one clip; raises ValueError when it is missing or malformed."""
        optional = [array for array in ARRAYS if array == "depth_m" or f"{name}/{array}" in self._members]
        arrays = {array: self._field(f"{name}/{array}") for array in optional}
        try:
            return PersonPrediction(name=name, **arrays)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def _field(self, field: str) -> np.ndarray:
        if self._members.get(field, 0) > LARGEST:
            raise ValueError(f"{self.path}: `{field}` is larger than any prediction; predict again")
        try:
            return self._archive[field]
        except KeyError:
            raise ValueError(f"{self.path}: `{field}` is missing; predict again") from None
        except (ValueError, EOFError, zipfile.BadZipFile, zipfile.zlib.error) as error:
            raise ValueError(f"{self.path}: `{field}` cannot be read ({error}); predict again") from None
