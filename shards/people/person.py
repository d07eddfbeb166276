"""What a clip says of the one person in each of its frames: camera, place, shape, pose, joints and body parts."""

import io
import zipfile
import zlib
from dataclasses import dataclass, fields, replace
from typing import NoReturn

import numpy as np

FLOATS = {"focal_px": 1, "centre_px": 2, "pelvis_m": 2, "joints_m": 3, "shape": 2, "rotations": 4}
"""Arrays of float32 by the number of their axes."""
ENDS = {"centre_px": (2,), "pelvis_m": (3,), "joints_m": (3,), "rotations": (3, 3)}
"""How the shapes of some arrays end."""
LARGEST = 1 << 31
"""Bytes that an array of a member may have."""
DAMAGE = (OSError, EOFError, KeyError, TypeError, AttributeError, RuntimeError, zlib.error, zipfile.BadZipFile)
"""What reading a damaged npz raises beside ValueError; RuntimeError where a flipped bit says that it is encrypted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Person:
    """One person in T frames, each with a camera of its own. Axes: x right, y down, z forward; metres.

    The pelvis is joint 0 of the body model, nothing else: `pelvis_m` is where that joint is, so T_z is pelvis_m[:, 2].
    Checked when it is made; ValueError names the array.
    """

    body: str
    """Digest of the body file (`Body.digest`) whose shape and joints these are."""
    focal_px: np.ndarray
    """(T,) float32, positive"""
    centre_px: np.ndarray
    """(T, 2) float32, the principal point"""
    pelvis_m: np.ndarray
    """(T, 3) float32, in front of the camera"""
    joints_m: np.ndarray
    """(T, J, 3) float32; joint 0 is at pelvis_m"""
    shape: np.ndarray
    """(T, S) float32 coefficients of the body file"""
    rotations: np.ndarray
    """(T, J, 3, 3) float32 as `pose_body` takes them"""
    parts: np.ndarray | None = None
    """(T, H, W) uint8, the body part of each pixel from 1, 0 where there is no body"""

    def __post_init__(self) -> None:
        num_frames = len(self.focal_px)
        for name, ndim in FLOATS.items():
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != np.float32 or array.ndim != ndim:
                self._refuse(name, f"must be a {ndim}-d array of float32")
            if len(array) != num_frames or array.shape[1:][ndim - 1 - len(ENDS.get(name, ())) :] != ENDS.get(name, ()):
                self._refuse(name, f"has shape {array.shape}, which does not fit {num_frames} frames")
            if not np.isfinite(array).all():
                self._refuse(name, f"is NaN or infinite in frame {int(np.argwhere(~np.isfinite(array))[0][0])}")
        if self.rotations.shape[1] != self.joints_m.shape[1]:
            self._refuse("rotations", f"are of {self.rotations.shape[1]} joints, joints_m of {self.joints_m.shape[1]}")
        if (self.focal_px <= 0).any():
            self._refuse("focal_px", "must be positive")
        if (self.pelvis_m[:, 2] <= 0).any():
            frame = int(np.argmax(self.pelvis_m[:, 2] <= 0))
            self._refuse("pelvis_m", f"is behind the camera in frame {frame} (z {self.pelvis_m[frame, 2]:.3g} m)")
        if np.abs(self.pelvis_m).max(initial=0) > 1000:
            self._refuse("pelvis_m", "is over a kilometre away: are these millimetres? Metres are expected")
        distance = np.abs(self.joints_m[:, 0] - self.pelvis_m).max(initial=0)
        if distance > 1e-3:
            self._refuse("pelvis_m", f"is {distance:.3g} m from joint 0: the pelvis is that joint and nothing else")
        if self.parts is not None:
            self._check_parts(self.parts, num_frames)

    def _check_parts(self, parts: np.ndarray, num_frames: int) -> None:
        if not isinstance(parts, np.ndarray) or parts.dtype != np.uint8 or parts.ndim != 3 or len(parts) != num_frames:
            self._refuse("parts", f"must be a 3-d array of uint8 with {num_frames} frames")
        is_empty = ~parts.reshape(num_frames, -1).any(1)
        if is_empty.any():
            self._refuse("parts", f"show no body in frame {int(is_empty.argmax())}: the mask is empty")

    def _refuse(self, name: str, reason: str) -> NoReturn:
        raise ValueError(f"person.{name} {reason}")

    def frames(self, chosen: list[int]) -> "Person":
        """The person in the chosen frames only."""
        arrays = {name: getattr(self, name)[chosen] for name in (*FLOATS, "parts") if getattr(self, name) is not None}
        return replace(self, **arrays)


def encode_person(person: Person) -> bytes:
    """A person as an npz without pickles; equal persons give equal bytes."""
    arrays = {name: getattr(person, name) for name in (*FLOATS, "parts") if getattr(person, name) is not None}
    content = io.BytesIO()
    np.savez_compressed(content, body=np.frombuffer(person.body.encode(), np.uint8), **arrays)
    return content.getvalue()


def decode_person(content: bytes) -> Person:
    """The inverse of `encode_person`; never unpickles. Raises ValueError for anything else."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if any(entry.file_size > LARGEST for entry in archive.infolist()):
                raise ValueError("an array is too large")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            names = {field.name for field in fields(Person)} & set(archive.files)
            arrays = {name: archive[name] for name in names - {"body"}}
            return Person(body=archive["body"].tobytes().decode(), **arrays)
    except DAMAGE as error:
        raise ValueError(f"person.npz is damaged ({error})") from None
