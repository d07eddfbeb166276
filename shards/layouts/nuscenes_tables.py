"""nuScenes' tables and CAN bus files as they are on disk: lists of JSON objects, checked and cut to what is wanted.

Facts are those of nuScenes' schema (docs/schema_nuscenes.md) and of its CAN bus expansion (can_bus/README.md): times
are microseconds, quaternions (w, x, y, z), vehicle_monitor's speed km/h and its steering degrees of the wheel, both
twice a second; steeranglefeedback is the wheel's angle in radians, a hundred times a second, to the left positive.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shards.layouts.files import naming

FIELDS = {
    "scene": ("token", "name", "log_token"),
    "sample": ("token", "scene_token"),
    "sample_data": (
        "token", "sample_token", "ego_pose_token", "calibrated_sensor_token", "timestamp", "filename", "width",
        "height",
    ),
    "ego_pose": ("token", "translation", "rotation"),
    "calibrated_sensor": ("token", "sensor_token", "translation", "rotation", "camera_intrinsic"),
    "sensor": ("token", "channel"),
    "log": ("token", "location"),
}  # fmt: skip
"""Tables that are read, and what is read of a row."""
CHANNEL = "CAM_FRONT"
KMH = 3.6
LARGEST_PAUSE_S = 1.0
"""Of CAN messages; a frame within a longer pause, or so far from the first or last message, has no value."""


@dataclass(frozen=True, kw_only=True)
class Tables:
    """Rows of nuScenes' tables by token, cut to what the front camera needs; `root` holds samples and sweeps."""

    root: Path
    rows: dict[str, dict[str, dict[str, Any]]]

    def row(self, table: str, token: str) -> dict[str, Any]:
        """A row; raises ValueError where the token leads nowhere."""
        found = self.rows[table].get(token)
        if found is None:
            raise ValueError(f"{table}.json has no row {token!r}; unpack all archives of one version")
        return found


def find_tables(path: Path) -> Path:
    """The folder of the tables: `path`, or the one v1.0-* in it; ValueError where it is not there, or not clear."""
    if (path / "scene.json").is_file():
        return path
    if not path.is_dir():
        raise ValueError(f"{path}: not there; give the folder of nuScenes that holds samples, sweeps and v1.0-trainval")
    found = sorted(folder for folder in path.glob("v1.0-*") if (folder / "scene.json").is_file())
    if len(found) == 1:
        return found[0]
    names = ", ".join(folder.name for folder in found)
    reason = f"{names} are in it, give one of them" if found else "no v1.0-*/scene.json in it"
    raise ValueError(f"{path}: {reason}, such as {path / 'v1.0-trainval'}")


def read_tables(path: Path) -> Tables:
    """nuScenes' tables below `path`. Of the millions of rows of all sensors only those of the front camera are kept.

    Raises ValueError that names the table for one that is missing, is not JSON, or lacks a field.
    """
    folder = find_tables(path)
    rows = {name: read_table(folder, name) for name in ("scene", "sample", "sensor", "calibrated_sensor", "log")}
    front = {token for token, row in rows["sensor"].items() if row["channel"] == CHANNEL}
    mounted = {token for token, row in rows["calibrated_sensor"].items() if row["sensor_token"] in front}
    if not mounted:
        raise ValueError(f"{folder}: no sensor is called {CHANNEL}")
    rows["sample_data"] = read_table(folder, "sample_data", lambda row: row.get("calibrated_sensor_token") in mounted)
    asked = {row["ego_pose_token"] for row in rows["sample_data"].values()}
    rows["ego_pose"] = read_table(folder, "ego_pose", lambda row: row.get("token") in asked)
    return Tables(root=folder.parent, rows=rows)


def read_table(folder: Path, name: str, keep: Callable[[dict], bool] | None = None) -> dict[str, dict[str, Any]]:
    """Rows of a table by their tokens; those that `keep` refuses are dropped while they are parsed."""
    path = folder / f"{name}.json"

    def hook(row: dict[str, Any]) -> dict[str, Any] | None:
        if keep is not None and "token" in row and not keep(row):
            return None
        missing = [field for field in FIELDS[name] if field not in row]
        if missing:
            raise ValueError(f"{path}: a row lacks {missing[0]}: {str(row)[:80]}")
        return {field: row[field] for field in FIELDS[name]}

    content = _read_json(path, hook)
    with naming(path):
        return {row["token"]: row for row in content if row is not None}


def _read_json(path: Path, hook: Callable[[dict], Any] | None = None) -> list[Any]:
    if not path.is_file():
        raise ValueError(f"{path}: this table is missing; unpack all archives of this version of nuScenes")
    try:
        content = json.loads(path.read_bytes(), object_hook=hook)
    except RecursionError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from None
    except ValueError as error:
        raise ValueError(str(error) if str(path) in str(error) else f"{path}: not JSON ({error})") from None
    if not isinstance(content, list):
        raise ValueError(f"{path}: holds {type(content).__name__}, expected a list of rows")
    return content


def pose_matrix(row: dict[str, Any]) -> np.ndarray:
    """Rotation and translation (3, 4) float64 of an ego pose or calibrated sensor; ValueError for what is none."""
    translation, quaternion = (np.asarray(row[name], np.float64) for name in ("translation", "rotation"))
    length = np.linalg.norm(quaternion)
    if translation.shape != (3,) or quaternion.shape != (4,) or not abs(length - 1) < 1e-3:
        raise ValueError(f"row {row['token']}: translation {translation.tolist()} and rotation {quaternion.tolist()}")
    w, x, y, z = quaternion / length
    rotation = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.concatenate([np.array(rotation), translation[:, None]], 1)


def can_series(root: Path, scene: str, message: str, field: str, times_us: np.ndarray) -> np.ndarray | None:
    """Values (T,) of a CAN message at times (T,) in microseconds, linearly; NaN where messages pause.

    None where the scene has no such file or no message in it. Raises ValueError for a file that is damaged.
    """
    path = root / "can_bus" / f"{scene}_{message}.json"
    if not path.is_file():
        return None
    messages = _read_json(path)
    with naming(path):
        known_us = np.array([one["utime"] for one in messages], np.int64)
        values = np.array([one[field] for one in messages], np.float64)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"{field} is not a finite number in every message")
    if not len(messages):
        return None
    order = np.argsort(known_us, kind="stable")
    known_us, values = known_us[order], values[order]
    found = np.interp(times_us, known_us, values)
    after = np.clip(np.searchsorted(known_us, times_us), 0, len(known_us) - 1)
    before = np.maximum(after - 1, 0)
    is_outside = (times_us < known_us[0]) | (times_us > known_us[-1])
    nearest_us = np.minimum(abs(times_us - known_us[before]), abs(known_us[after] - times_us))
    pause_us = np.where(is_outside, nearest_us, known_us[after] - known_us[before])
    return np.where(pause_us <= 1e6 * LARGEST_PAUSE_S, found, np.nan)


def read_scene_names(path: Path, known: Iterable[str]) -> set[str]:
    """Names of scenes, one a line; ValueError for none, and for one that the tables do not have."""
    names = set(path.read_text().split())
    unknown = sorted(names - set(known))
    if not names or unknown:
        reason = f"the tables have no scene {unknown[0]!r}" if unknown else "names no scene"
        raise ValueError(f"{path}: {reason}")
    return names
