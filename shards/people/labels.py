"""Labels of the SMPL family (SMPL, SMPL-X) as a person of a clip: axes turned, the pelvis placed, what is seen drawn.

SMPL's rest pose has y up and faces +z, a body file's has y down and faces -z: TURN takes the one to the other. A label
says v' = G (v - j) + j + t in the camera's axes, with the global rotation G, the translation t and the joint j = 0 of
the shaped rest pose. So the pelvis is at j + t, the whole body is turned by G TURN, and a rotation R of another joint
by TURN R TURN. Legend: N labels, J joints, S shape coefficients, H W pixels.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from shards.clip import Clip
from shards.people.body import Body, pose_body
from shards.people.camera import Camera, project
from shards.people.person import Person
from shards.people.raster import draw, parts_seen
from shards.people.visibility import joints_seen

TURN = np.diag([1.0, -1.0, -1.0])
FARTHEST_M = 100.0
"""A person that is farther away than this is one in other units."""
LARGEST_ANGLE = 4 * np.pi
"""Radians; larger ones are degrees."""
SQUARE = 0.01
"""The largest relative difference of the two focal lengths of a camera: square pixels are all that is stored."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Labels of N people in the axes of their cameras. Checked when they are made; ValueError names row and array."""

    betas: np.ndarray
    """(N, S') float"""
    global_orient: np.ndarray
    """(N, 3) axis times angle, radians"""
    body_pose: np.ndarray
    """(N, 21 or more, 3) axis times angle, radians; joints from the second on"""
    transl: np.ndarray
    """(N, 3) metres"""

    def __post_init__(self) -> None:
        num_people = len(self.transl)
        shapes = {"betas": (-1,), "global_orient": (3,), "body_pose": (-1, 3), "transl": (3,)}
        for name, ends in shapes.items():
            array = getattr(self, name)
            is_right = len(array) == num_people and array.ndim == 1 + len(ends)
            if not is_right or any(end not in (-1, length) for end, length in zip(ends, array.shape[1:], strict=True)):
                raise ValueError(f"{name} has shape {array.shape}, which does not fit {num_people} people")
            if not np.isfinite(array).all():
                self._refuse(name, ~np.isfinite(array), "is NaN or infinite")
        self._refuse("transl", np.abs(self.transl) > FARTHEST_M, "is over 100 m: millimetres? Metres are expected")
        for name in ("global_orient", "body_pose"):
            is_large = np.linalg.norm(getattr(self, name), axis=-1) > LARGEST_ANGLE
            self._refuse(name, is_large, "turns by more than two circles: degrees? Radians are expected")

    def of_rows(self, rows: slice) -> "Labels":
        """The labels of some of the people."""
        return Labels(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def _refuse(self, name: str, is_wrong: np.ndarray, reason: str) -> None:
        if is_wrong.any():
            raise ValueError(f"row {int(np.argwhere(is_wrong)[0][0])}: {name} {reason}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reading:
    """What a reader of labels of people is told: whose labels they are, and where the images are."""

    body: Body
    images: Path | None = None
    """The folder that the paths in the labels start from; None: that of the labels"""
    truncate_shape: bool = False
    """Leave out shape coefficients that the body file has not."""


def require_model(body: Body, model: str) -> None:
    """Raise ValueError unless a body file is of that model: smpl or smplx (its name begins so)."""
    if body.name.split("-")[0] != model:
        raise ValueError(
            f"the labels are of {model}, and the body file is of {body.name}: shapes and poses of the one say nothing "
            f"about the other; give the file of {model} (python -m generation body --help)"
        )


def fit_shape(betas: np.ndarray, num_shapes: int, *, truncate: bool = False) -> np.ndarray:
    """Betas (N, S') as (N, num_shapes): missing ones are 0; ValueError for more that are not 0, unless `truncate`."""
    surplus = betas[:, num_shapes:]
    if surplus.any() and not truncate:
        raise ValueError(
            f"labels have {betas.shape[1]} shape coefficients, the body file {num_shapes}; make one with more, or "
            "leave the others out (--truncate-shape)"
        )
    kept = betas[:, :num_shapes]
    return np.pad(kept, ((0, 0), (0, num_shapes - kept.shape[1])))


def rotation_matrices(axis_angle: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) of rotations (..., 3), axis times angle in radians (Rodrigues)."""
    angle = np.linalg.norm(axis_angle, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(axis_angle, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*axis_angle.shape, 3)
    # sin(a)/a and (1 - cos(a))/a^2, which are 1 and 1/2 at 0; np.sinc(x) is sin(pi x) / (pi x).
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross


def place_bodies(body: Body, labels: Labels, *, truncate: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shape (N, S), rotations (N, J, 3, 3) and pelvis (N, 3) as `pose_body` takes them, float64.

    Rotations of joints that the file does not have (hands) are left out. Raises ValueError for too few joints and for
    too many shape coefficients.
    """
    num_joints = body.num_joints
    if labels.body_pose.shape[1] < num_joints - 1:
        raise ValueError(f"body_pose is of {labels.body_pose.shape[1]} joints, {body.name} has {num_joints - 1}")
    shape = fit_shape(labels.betas, body.num_shapes, truncate=truncate)
    first = rotation_matrices(labels.global_orient) @ TURN
    others = TURN @ rotation_matrices(labels.body_pose[:, : num_joints - 1]) @ TURN
    rest = body.joints_m[0] + shape @ body.joint_directions[:, 0]  # (N, 3), in the axes of the file
    return shape, np.concatenate([first[:, None], others], 1), rest @ TURN + labels.transl


def camera_of(intrinsics: np.ndarray) -> tuple[float, np.ndarray]:
    """Focal length (pixels) and principal point (2,) of K (3, 3); ValueError unless it is a camera's in pixels."""
    k = np.asarray(intrinsics, np.float64)
    if k.shape != (3, 3) or not np.isfinite(k).all() or k[0, 1] or k[1, 0] or (k[2] != (0, 0, 1)).any():
        raise ValueError(f"K {k.tolist()} is not that of a camera without skew")
    focal = (k[0, 0] + k[1, 1]) / 2
    if min(k[0, 0], k[1, 1]) < 10:
        raise ValueError(f"K has focal lengths of {k[0, 0]:g} and {k[1, 1]:g}; pixels are expected")
    if abs(k[0, 0] - k[1, 1]) > SQUARE * focal:
        raise ValueError(f"K has focal lengths of {k[0, 0]:g} and {k[1, 1]:g}: only square pixels are read")
    return focal, k[:2, 2]


def person_clip(
    key: str,
    video: np.ndarray,
    body: Body,
    placed: tuple[np.ndarray, np.ndarray, np.ndarray],
    intrinsics: np.ndarray,
    metadata: dict[str, Any],
) -> Clip:
    """A clip of images (T, H, W, 3) uint8 of one person: joints, which of them are seen, and the drawn body parts.

    placed: shape (T, S), rotations (T, J, 3, 3) and pelvis (T, 3) metres; intrinsics K (T, 3, 3). A joint is hidden by
    other parts of the body only: nothing else in the image is known. Raises ValueError for what `Person` refuses.
    """
    shape, rotations, pelvis = (np.asarray(array, np.float32) for array in placed)
    focal, centre = map(np.array, zip(*map(camera_of, intrinsics), strict=True))  # (T,), (T, 2)
    _require_in_front(key, pelvis)
    posed = pose_body(body, shape, rotations, pelvis)
    in_front = np.maximum(posed.joints_m, [-np.inf, -np.inf, 1e-3])  # a hand may be behind a camera that is near
    tracks = project(Camera(focal_px=focal, centre_px=centre), in_front).astype(np.float32)
    parts, visible = np.empty(video.shape[:3], np.uint8), np.empty(tracks.shape[:2], bool)
    for t, vertices in enumerate(posed.vertices_m):
        drawn = draw(vertices, body.faces, focal[t], centre[t], video.shape[1:3])
        if not drawn.mask.any():
            _refuse_place(key, f"the body is not in the picture of frame {t}")
        parts[t] = parts_seen(drawn, body.parts)
        visible[t] = joints_seen(body, drawn, tracks[t], posed.joints_m[t])
    person = Person(
        body=body.digest,
        focal_px=focal.astype(np.float32),
        centre_px=centre.astype(np.float32),
        pelvis_m=pelvis,
        joints_m=posed.joints_m,
        shape=shape,
        rotations=rotations,
        parts=parts,
    )
    return Clip(key=key, video=video, tracks=tracks, visible=visible, person=person, metadata=metadata)


def _require_in_front(key: str, pelvis_m: np.ndarray) -> None:
    is_behind = pelvis_m[:, 2] <= 0
    if is_behind.any():
        frame = int(is_behind.argmax())
        _refuse_place(key, f"the pelvis is behind the camera in frame {frame} (z {pelvis_m[frame, 2]:.3g} m)")


def _refuse_place(key: str, reason: str) -> NoReturn:
    raise ValueError(f"clip {key}: {reason}; the labels are of other axes, units or a camera than they should be")
