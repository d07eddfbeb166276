"""A miniature of nuScenes in its own file formats: tables, images of the front camera, CAN bus messages."""

import json
from dataclasses import dataclass

import cv2
import numpy as np

from tests.shards.driving.drives import poses_of

HEIGHT, WIDTH = 18, 32
MATRIX = [[25.0, 0, 16], [0, 25, 9], [0, 0, 1]]
START_US = 1533151514512404
OFFSETS_S = (0, 0.1, 0.15, 0.25, 0.35, 0.4)
"""Times of the front camera's frames within half a second: its 12 Hz on the lidar's clock, as in the file names that
users of Vista quote. The first is the key frame."""
MOUNT = {"translation": [1.7, 0.0, 1.5], "rotation": [0.5, -0.5, 0.5, -0.5]}
"""A camera ahead of the rear axle that looks along the vehicle's x."""


@dataclass(kw_only=True)
class Ride:
    """How the vehicle of one scene moves."""

    name: str
    speed: float = 8.0
    yaw_rate: float = 0.0
    num_samples: int = 7
    has_can: bool = True
    lost: tuple[int, ...] = ()
    """Frames that the camera did not deliver"""


def times_of(ride):
    """Seconds of a ride's frames."""
    times = [sample / 2 + offset for sample in range(ride.num_samples) for offset in OFFSETS_S]
    return np.array([time for number, time in enumerate(times) if number not in ride.lost])


def ego_poses(ride):
    """Places (F, 2) and headings (F,) of the rear axle."""
    poses = poses_of(times_of(ride), ride.speed, ride.yaw_rate)
    return poses[:, :2, 3], np.arctan2(poses[:, 1, 2], poses[:, 0, 2])


def write_nuscenes(root, rides, version="v1.0-mini"):
    """Write a tree; other sensors have rows, too, as in nuScenes."""
    tables = {name: [] for name in ("scene", "sample", "sample_data", "ego_pose", "calibrated_sensor", "sensor", "log")}
    tables["log"].append({"token": "log0", "logfile": "n008", "vehicle": "n008", "location": "boston-seaport"})
    for channel, modality in (("CAM_FRONT", "camera"), ("LIDAR_TOP", "lidar")):
        tables["sensor"].append({"token": f"sensor-{channel}", "channel": channel, "modality": modality})
    for ride in rides:
        _add_scene(root, ride, tables)
    tables["sample_data"].reverse()  # nothing is said of their order
    for name, rows in tables.items():
        path = root / version / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows))
    return root


def _add_scene(root, ride, tables):
    scene = f"scene-token-{ride.name}"
    samples = [f"{scene}-sample{number}" for number in range(ride.num_samples)]
    tables["scene"].append({"token": scene, "name": ride.name, "log_token": "log0", "nbr_samples": len(samples)})
    tables["sample"] += [{"token": token, "scene_token": scene, "timestamp": 0} for token in samples]
    for channel in ("CAM_FRONT", "LIDAR_TOP"):
        matrix = MATRIX if channel == "CAM_FRONT" else []
        row = {"token": f"{scene}-{channel}", "sensor_token": f"sensor-{channel}", "camera_intrinsic": matrix}
        tables["calibrated_sensor"].append(row | MOUNT)
    times, (places, headings) = times_of(ride), ego_poses(ride)
    for number, (time, place, heading) in enumerate(zip(times, places, headings, strict=True)):
        stamp = START_US + round(time * 1e6)
        is_key = time % 0.5 == 0
        name = f"{'samples' if is_key else 'sweeps'}/CAM_FRONT/{ride.name}__CAM_FRONT__{stamp}.jpg"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(root / name), np.full((HEIGHT, WIDTH, 3), 5 * (number % 50), np.uint8))
        pose = {"token": f"{scene}-pose{number}", "timestamp": stamp, "translation": [*place.tolist(), 0.0]}
        tables["ego_pose"].append(pose | {"rotation": [float(np.cos(heading / 2)), 0, 0, float(np.sin(heading / 2))]})
        row = {
            "sample_token": samples[min(int(np.ceil(time * 2)), len(samples) - 1)], "timestamp": stamp,
            "ego_pose_token": pose["token"], "is_key_frame": bool(is_key), "prev": "", "next": "",
        }  # fmt: skip
        front = {"token": f"{scene}-front{number}", "filename": name, "width": WIDTH, "height": HEIGHT}
        tables["sample_data"].append(row | front | {"calibrated_sensor_token": f"{scene}-CAM_FRONT"})
        lidar = {"token": f"{scene}-lidar{number}", "filename": "none.bin", "width": 0, "height": 0}
        tables["sample_data"].append(row | lidar | {"calibrated_sensor_token": f"{scene}-LIDAR_TOP"})
    if ride.has_can:
        write_can(root, ride)


def write_can(root, ride, start_s=-0.2, end_s=None):
    """CAN bus files of a scene: speed that grows by 1 km/h a second, steering of 0.01 rad a second."""
    end_s = times_of(ride)[-1] + 0.6 if end_s is None else end_s
    speed = ride.speed * 3.6
    slow, fast = np.arange(start_s, end_s, 0.5), np.arange(start_s, end_s, 0.01)
    monitor = [{"utime": START_US + round(1e6 * t), "vehicle_speed": speed + t, "steering": 1.0} for t in slow]
    steering = [{"utime": START_US + round(1e6 * t), "value": 0.01 * t} for t in fast]
    (root / "can_bus").mkdir(exist_ok=True)
    (root / "can_bus" / f"{ride.name}_vehicle_monitor.json").write_text(json.dumps(monitor))
    (root / "can_bus" / f"{ride.name}_steeranglefeedback.json").write_text(json.dumps(steering))
