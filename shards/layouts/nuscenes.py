"""nuScenes as clips: each scene of the front camera, key frames and sweeps, with its poses and CAN bus.

<root>/v1.0-trainval/*.json, <root>/samples, <root>/sweeps and <root>/can_bus as nuScenes' archives unpack. A scene of
20 s is one clip: windows are drawn when it is read. Legend: F frames of the camera, T frames of a clip.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shards.clip import Clip
from shards.driving.drive import Drive, contradiction
from shards.driving.motion import commands_of, goals_of, speeds_of, yaw_rates_of
from shards.driving.reading import DriveReading
from shards.layouts.choice import WHOLE, Choice, cut_metadata
from shards.layouts.driving_frames import drive_clip, read_clip_frames, resample
from shards.layouts.files import clean_name, naming
from shards.layouts.nuscenes_tables import (
    CHANNEL,
    KMH,
    Tables,
    can_series,
    find_tables,
    pose_matrix,
    read_scene_names,
    read_tables,
)

LICENCE = "nuScenes, for non-commercial use: https://www.nuscenes.org/terms-of-use"


def read_nuscenes(path: Path, reading: DriveReading, choice: Choice = WHOLE) -> Iterator[Clip]:
    """nuScenes: its folder, or that of its tables (v1.0-trainval); a clip a scene of the front camera; --rate.

    Frames are those nearest to the times of `reading.rate_hz`; a scene with a gap becomes several clips, which a line
    on stderr says. Speed is the CAN bus's, else that of the poses (`speed_from` in the metadata). `choice` chooses
    among the frames at that rate. Raises ValueError for tables, images and CAN messages that are missing or damaged.
    """
    tables = read_tables(path)
    with naming(find_tables(path)):
        by_scene = _frames_by_scene(tables)
        names = {row["name"]: token for token, row in tables.rows["scene"].items()}
        if len(names) != len(tables.rows["scene"]):
            raise ValueError("two scenes have one name")
    chosen = names.keys() if reading.scenes is None else read_scene_names(reading.scenes, names)
    for name in sorted(chosen):
        with naming(find_tables(path), name):
            scene = _Scene.of(name, tables, by_scene.get(names[name], []))
            runs = resample(scene.times_us, reading.rate_hz, reading.tolerance_s)
            if not runs:
                raise ValueError(f"has {len(scene.files)} frames of {CHANNEL}, and no two in a row at that rate")
        if len(runs) > 1:
            print(f"{name}: {len(runs) - 1} gaps between its frames, {len(runs)} clips", file=sys.stderr, flush=True)
        for number, run in enumerate(runs):
            key = clean_name(name) if len(runs) == 1 else f"{clean_name(name)}-part{number}"
            yield from _read_run(key, scene, run, reading, choice)


def _frames_by_scene(tables: Tables) -> dict[str, list[dict[str, Any]]]:
    """Rows of the front camera's frames by scene, in the order of their times. No chain of `next` is followed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in tables.rows["sample_data"].values():
        found.setdefault(tables.row("sample", row["sample_token"])["scene_token"], []).append(row)
    return {token: sorted(rows, key=lambda row: row["timestamp"]) for token, rows in found.items()}


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """F frames of one scene: files, times (F,) microseconds, poses (F, 3, 4), K (3, 3), size (H, W)."""

    name: str
    root: Path
    files: list[Path]
    times_us: np.ndarray
    camera_to_world: np.ndarray
    intrinsics: np.ndarray
    size: tuple[int, int]
    location: str

    @classmethod
    def of(cls, name: str, tables: Tables, rows: list[dict[str, Any]]) -> "_Scene":
        """The scene of these rows of sample_data; ValueError where they do not fit together."""
        if not rows:
            raise ValueError(f"has no frame of {CHANNEL}")
        times_us = np.array([row["timestamp"] for row in rows], np.int64)
        if (np.diff(times_us) <= 0).any():
            raise ValueError(f"two frames were taken at {times_us[1:][np.diff(times_us) <= 0][0]}")
        mounts = [tables.row("calibrated_sensor", token) for token in {row["calibrated_sensor_token"] for row in rows}]
        if len(mounts) != 1:
            raise ValueError(f"{CHANNEL} is calibrated {len(mounts)} times within the scene")
        intrinsics, mount = np.asarray(mounts[0]["camera_intrinsic"], np.float64), pose_matrix(mounts[0])
        if intrinsics.shape != (3, 3):
            raise ValueError(f"camera_intrinsic has shape {intrinsics.shape}, expected (3, 3)")
        poses = np.stack([pose_matrix(tables.row("ego_pose", row["ego_pose_token"])) for row in rows])
        rotation = poses[:, :, :3]
        place = rotation @ mount[:, 3:] + poses[:, :, 3:]
        sizes = {(row["height"], row["width"]) for row in rows}
        if len(sizes) != 1:
            raise ValueError(f"{CHANNEL} has frames of {len(sizes)} sizes")
        scene = next(row for row in tables.rows["scene"].values() if row["name"] == name)
        return cls(
            name=name,
            root=tables.root,
            files=[tables.root / row["filename"] for row in rows],
            times_us=times_us,
            camera_to_world=np.concatenate([rotation @ mount[:, :3], place], 2),
            intrinsics=intrinsics,
            size=sizes.pop(),
            location=tables.row("log", scene["log_token"])["location"],
        )


def _read_run(key: str, scene: _Scene, run: np.ndarray, reading: DriveReading, choice: Choice) -> Iterator[Clip]:
    """Clips of some frames of a scene that follow each other; what a frame shows of its future is from all of them."""
    with naming(scene.root, key):
        ranges = choice.ranges(len(run))
        drive, said = _drive_of(scene, run)
    for frames in ranges:
        with naming(scene.root, key):
            files = [scene.files[frame] for frame in run[frames.start : frames.stop]]
            video, size = read_clip_frames(files, choice.height)
            if size != scene.size:
                raise ValueError(f"{files[0]}: is {size[1]}x{size[0]}, sample_data.json says {scene.size[::-1]}")
            scale = np.array([video.shape[2] / size[1], video.shape[1] / size[0], 1])
            metadata = {
                "recipe": {"source": "nuscenes", "frame_rate": reading.rate_hz, "tolerance_s": reading.tolerance_s},
                "scene_name": scene.name,
                "location": scene.location,
                "licence": LICENCE,
                "camera": {"channel": CHANNEL, "matrix": (scale[:, None] * scene.intrinsics).tolist()},
                "first_timestamp_us": int(scene.times_us[run[0]]),
                **said,
            }
            metadata = cut_metadata(metadata, frames, len(run))
            clip = drive_clip(choice.name(key, frames), video, drive.frames(list(frames)), metadata)
        yield clip


def _drive_of(scene: _Scene, run: np.ndarray) -> tuple[Drive, dict[str, str]]:
    """The drive of T frames of a scene, times from the first of them on, and where speed and steering are from."""
    times_us, poses = scene.times_us[run], scene.camera_to_world[run]
    times_s = (times_us - times_us[0]) / 1e6
    speed, speed_from = _speed_of(scene, times_us, times_s, poses)
    steering, steering_from = can_series(scene.root, scene.name, "steeranglefeedback", "value", times_us), "can_bus"
    if steering is None or np.isnan(steering).all():
        steering, steering_from = None, "not known"
    drive = Drive(
        times_s=times_s,
        camera_to_world=poses,
        speed_mps=speed,
        yaw_rate_radps=yaw_rates_of(times_s, poses),
        steering_deg=None if steering is None else np.degrees(steering),
        goal=goals_of(times_s, poses, scene.intrinsics, scene.size),
        commands=commands_of(times_s, poses),
    )
    return drive, {"speed_from": speed_from, "steering_from": steering_from}


def _speed_of(scene: _Scene, times_us: np.ndarray, times_s: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, str]:
    """Speed (T,) m/s and where it is from: the CAN bus, or the poses and why."""
    speed = can_series(scene.root, scene.name, "vehicle_monitor", "vehicle_speed", times_us)
    if speed is None:
        return speeds_of(times_s, poses), "poses: there is no vehicle_monitor"
    if np.isnan(speed).any():
        return speeds_of(times_s, poses), "poses: vehicle_monitor pauses"
    speed = abs(speed) / KMH
    reason = contradiction(times_s, poses, speed)
    return (speeds_of(times_s, poses), f"poses: vehicle_monitor {reason}") if reason else (speed, "can_bus")
