"""The camera of a video: intrinsics in raster pixels and poses, from the command line, JSON files, or a clip.

Camera axes are OpenCV's: x right, y down, z forward. Legend: T frames.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shards import Clip
from shards.layouts.camera import intrinsics_of, world_to_camera_of

INTRINSICS_HELP = 'fx,fy,cx,cy, or a JSON file {"fx": ..., "fy": ..., "cx": ..., "cy": ...} or {"intrinsics": K}'
POSES_HELP = '{"world_to_camera": M} or {"camera_to_world": M}, M (T, 4, 4) or (4, 4)'


@dataclass(frozen=True, kw_only=True)
class Camera:
    """intrinsics (T, 3, 3), or (1, 3, 3) for all frames, in raster pixels of the video; world_to_camera (T, 4, 4), or
    (1, 4, 4) for a camera that stands still, or None where it is not known."""

    intrinsics: np.ndarray
    world_to_camera: np.ndarray | None = None

    def intrinsics_at(self, frame: int) -> np.ndarray:
        """K (3, 3) of a frame."""
        return _at(self.intrinsics, frame)

    def pose_at(self, frame: int) -> np.ndarray | None:
        """The transform (4, 4) of the world to the camera of a frame, None where it is not known."""
        return None if self.world_to_camera is None else _at(self.world_to_camera, frame)

    def check_frames(self, num_frames: int) -> None:
        """ValueError where the intrinsics or poses end before frame `num_frames` - 1."""
        for name, values in (("intrinsics", self.intrinsics), ("poses", self.world_to_camera)):
            if values is not None and 1 < len(values) < num_frames:
                raise ValueError(
                    f"there are {name} of {len(values)} frames, and the tracks need those of {num_frames}, counted "
                    "from the start of the video"
                )


def read_intrinsics(text: str) -> np.ndarray:
    """K (T, 3, 3) or (1, 3, 3) of "fx,fy,cx,cy" or the JSON file of that name; ValueError for what is no camera."""
    if Path(text).suffix == ".json":
        content = _read_json(Path(text))
        if "intrinsics" in content:
            return check_intrinsics(_array(content["intrinsics"], (3, 3), text, "intrinsics"), text)
        missing = [name for name in ("fx", "fy", "cx", "cy") if name not in content]
        if missing:
            raise ValueError(f"{text}: lacks {', '.join(missing)}; expected {INTRINSICS_HELP}")
        numbers = [content[name] for name in ("fx", "fy", "cx", "cy")]
    else:
        numbers = text.split(",")
    try:
        fx, fy, cx, cy = (float(number) for number in numbers)
    except (TypeError, ValueError):
        raise ValueError(f"{text}: not intrinsics; give {INTRINSICS_HELP}") from None
    return check_intrinsics(np.array([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]]), text)


def read_poses(path: Path) -> np.ndarray:
    """World to camera (T, 4, 4) or (1, 4, 4) of a JSON file; ValueError for what are no rigid motions."""
    content = _read_json(path)
    if ("world_to_camera" in content) == ("camera_to_world" in content):
        raise ValueError(f"{path}: expected either {POSES_HELP}")
    name = "world_to_camera" if "world_to_camera" in content else "camera_to_world"
    poses = check_poses(_array(content[name], (4, 4), path, name), path)
    return poses if name == "world_to_camera" else np.linalg.inv(poses)


def camera_of_clip(clip: Clip) -> Camera:
    """The camera of a clip's metadata; ValueError where it has none."""
    intrinsics = intrinsics_of(clip)
    if intrinsics is None:
        raise ValueError(f"clip {clip.key}: its metadata has no camera; give --intrinsics and --depth, not --clip")
    return Camera(intrinsics=check_intrinsics(intrinsics, f"clip {clip.key}"), world_to_camera=world_to_camera_of(clip))


def check_intrinsics(intrinsics: np.ndarray, name: str | Path) -> np.ndarray:
    """Pass K (T, 3, 3) on; ValueError for focal lengths that are not positive, skew, and another last row."""
    is_pinhole = (intrinsics[:, [0, 1], [0, 1]] > 0).all() and np.isfinite(intrinsics).all()
    others = intrinsics[:, [0, 1, 2, 2, 2], [1, 0, 0, 1, 2]]
    if not is_pinhole or not np.allclose(others, [0, 0, 0, 0, 1], atol=1e-9):
        raise ValueError(f"{name}: intrinsics must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, in pixels")
    return intrinsics


def check_poses(poses: np.ndarray, name: str | Path) -> np.ndarray:
    """Pass transforms (T, 4, 4) on; ValueError for one that is not a rotation and a shift."""
    rotations = poses[:, :3, :3]
    is_turn = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) < 1e-3
    is_turn &= np.linalg.det(rotations) > 0
    is_rigid = is_turn & (np.abs(poses[:, 3] - [0, 0, 0, 1]).max(axis=1) < 1e-6)
    if not is_rigid.all():
        bad = int(np.flatnonzero(~is_rigid)[0])
        raise ValueError(
            f"{name}: the pose of frame {bad} is not a rotation and a shift in metres (last row 0, 0, 0, 1): scaled or "
            "mirrored axes are not poses"
        )
    return poses


def _at(values: np.ndarray, frame: int) -> np.ndarray:
    return values[0 if len(values) == 1 else frame]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise ValueError(f"{path}: not there") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a {type(content).__name__}, expected an object with named fields")
    return content


def _array(content: Any, shape: tuple[int, int], path: str | Path, name: str) -> np.ndarray:
    """An array (T, *shape); one of `shape` gets T = 1."""
    try:
        array = np.asarray(content, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{path}: {name} is not an array of numbers") from None
    array = array[None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[1:] != shape or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"{path}: {name} has shape {array.shape}, expected finite numbers {('T', *shape)} or {shape}")
    return array
