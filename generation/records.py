"""MOVi as published (TFDS records) to clip folders: published clips are annotated and packed like rendered ones."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from generation import folder
from generation.geometry import rotation_matrices
from shards.depth import metres
from shards.layouts.movi import read_movi_records

WANTED = ("video", "depth", "segmentations", "object_coordinates", "normal", "instances", "background")
CODES = 65535


def import_records(path: Path, dataset: str, out: Path) -> Iterator[Path]:
    """Yield the clip folder <out>/<dataset>-<video name> of each record of a file or folder; complete ones are kept.

    Raises ValueError that names the record and what it lacks.
    """
    out.mkdir(parents=True, exist_ok=True)
    folder.remove_leftovers(out)
    for record in read_movi_records(path, WANTED):
        name = str(record["metadata"].get("video_name", "")).replace("/", "-")
        key = f"{dataset}-{name:0>6}"
        digest = f"movi record {name}"
        if not folder.is_complete(out / key, digest):
            try:
                _write(record, out / key, digest)
            except (KeyError, IndexError, TypeError, ValueError) as error:
                what = f"lacks {error}" if isinstance(error, KeyError) else error
                raise ValueError(f"{path}: video {name}: {what}") from None
        yield out / key


def _write(record: dict[str, Any], target: Path, digest: str) -> None:
    temporary = target.with_name(folder.temporary_name(target.name))
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir()
        folder.write_clip(
            temporary,
            frames=record["video"],
            depth_m=metres(record["depth"], *map(float, record["metadata"]["depth_range"])),
            segmentation=record["segmentations"].reshape(record["depth"].shape),
            coordinates=record["object_coordinates"] / CODES,
            normals=record["normal"] / CODES * 2 - 1,
            metadata=describe(record),
        )
        folder.write_manifest(temporary, digest)
        folder.put_in_place(temporary, target, digest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def describe(record: dict[str, Any]) -> dict[str, Any]:
    """What the annotator needs of the camera and the instances, and what else is known of the clip."""
    camera, described, bodies = record["camera"], record["metadata"], record["instances"]
    height, width = record["video"].shape[1:3]
    name = str(described["video_name"])
    seed = int(name) if name.isdigit() else int.from_bytes(name.encode()[:4], "big")
    boxes = np.asarray(bodies["bboxes_3d"], np.float64)  # (K, T, 8, 3)
    positions, quaternions = (np.asarray(bodies[key], np.float64) for key in ("positions", "quaternions"))
    bounds = bounds_of(boxes[:, 0], positions[:, 0], quaternions[:, 0])
    num_bodies = len(boxes)
    asset_ids = bodies.get("asset_id") or bodies.get("shape_label") or [None] * num_bodies
    is_dynamic = np.asarray(bodies.get("is_dynamic", np.ones(num_bodies, bool)), bool)
    return {
        "source": "movi_tfrecord",
        "seed": seed,
        "recipe": {"base_seed": 0},
        "video_name": name,
        "background": record.get("background"),
        "camera": {
            "focal_length_mm": float(camera["focal_length"]),
            "sensor_width_mm": float(camera["sensor_width"]),
            "focal_px": float(camera["focal_length"] / camera["sensor_width"] * width),
            "principal_point": [width / 2, height / 2],
            "positions": np.asarray(camera["positions"], np.float64).tolist(),
            "quaternions_wxyz": np.asarray(camera["quaternions"], np.float64).tolist(),
        },
        "instances": [
            {
                "asset_id": json.loads(json.dumps(asset_ids[k], default=str)),
                "is_dynamic": bool(is_dynamic[k]),
                "bounds": bounds[k].tolist(),
                "positions": positions[k].tolist(),
                "quaternions_wxyz": quaternions[k].tolist(),
                "visible_pixels": (record["segmentations"].reshape(len(boxes[k]), -1) == k + 1).sum(1).tolist(),
            }
            for k in range(num_bodies)
        ],
    }


def bounds_of(corners: np.ndarray, positions: np.ndarray, quaternions: np.ndarray) -> np.ndarray:
    """Boxes (K, 2, 3) in the bodies' own axes from world corners (K, 8, 3): the inverse of `geometry.box_corners`."""
    local = np.einsum("kji,kcj->kci", rotation_matrices(quaternions), corners - positions[:, None])
    return np.stack([local[:, 0], local[:, 7]], 1)
