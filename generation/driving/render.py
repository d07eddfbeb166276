"""Render drives: plan a street, build it in Blender, write the clip's folder. Runs with the renderer's interpreter.

`child.py driving.render` answers the jobs of `generation.shard` as `generation.render` does. A drive has frames and
metadata, and no passes: nothing follows points through it.
"""

import errno
import importlib.metadata
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from generation import folder
from generation.driving.config import DriveConfig
from generation.driving.motion import pose_of
from generation.driving.stage import Stage
from generation.driving.street import StreetPlan, make_rng, plan_street
from generation.jobs import answer_jobs
from generation.sources import BadAssetError, check_archives, find_manifests, ids_of_split, read_assets

EXIT_NO_SPACE, EXIT_BAD_ASSET = 4, 5
LEAST_FREE_BYTES = 16 * 1024**2
VERSIONS = ("bpy", "numpy")


def answer(job: dict[str, Any]) -> int:
    """Render the job; returns its exit code."""
    try:
        render_drive(job, Path(job["scratch"]))
    except BadAssetError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_ASSET
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EXIT_NO_SPACE
        raise
    return 0


def render_drive(job: dict[str, Any], scratch: Path) -> None:
    """Make the drive of `job` in the folder job["out"], manifest last."""
    config = DriveConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in job["recipe"].items()})
    assets = Path(job["assets"])
    plan = plan_street(config, choose_ids(config, assets), make_rng(config, job["seed"], job["attempt"]))
    used = check_archives(assets, [("objects", thing.asset_id) for thing in plan.things if thing.asset_id])
    stage = Stage.build(config, plan, assets, scratch, threads=job["threads"], seed=job["seed"])
    seen = stage.render(scratch)
    write(job, config, plan, read_frames(scratch, config), seen, used)


def choose_ids(config: DriveConfig, assets: Path) -> list[str]:
    """Ids of the things that may stand on a street; raises BadAssetError where the split has none."""
    ids = ids_of_split(read_assets(find_manifests(assets)["objects"]), config.split)
    if not ids:
        raise BadAssetError(f"{assets}: no object for split={config.split}; use a larger pack")
    return ids


def read_frames(scratch: Path, config: DriveConfig) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 that Blender wrote; OSError where the disk was full, RuntimeError for a black clip."""
    files = sorted(scratch.glob("[0-9]*.png"))
    if len(files) != config.num_frames:
        if shutil.disk_usage(scratch).free < LEAST_FREE_BYTES:  # Blender does not say so: its files are just missing
            raise OSError(errno.ENOSPC, "no space left", str(scratch))
        raise RuntimeError(f"Blender wrote {len(files)} of {config.num_frames} frames")
    frames = np.stack([iio.imread(path)[..., :3] for path in files])
    if frames.max() == 0:
        raise RuntimeError("all frames are black")
    return frames


def write(
    job: dict[str, Any],
    config: DriveConfig,
    plan: StreetPlan,
    frames: np.ndarray,
    seen: np.ndarray,
    used: list[dict[str, str]],
) -> None:
    """Write the folder of a drive; `seen` (T, 4, 4) are Blender's own matrices of the camera."""
    out = Path(job["out"])
    out.mkdir(parents=True)
    folder.write_images(out / "frames", frames)
    content = {"seed": job["seed"], "attempt": job["attempt"], "recipe": {"name": "driving", **asdict(config)}}
    content |= describe(config, plan) | {"assets": used}
    content["camera"]["rendered_matrices"] = seen.tolist()
    content["versions"] = {name: importlib.metadata.version(name) for name in VERSIONS}
    (out / "metadata.json").write_text(json.dumps(content, sort_keys=True))
    folder.write_manifest(out, job["digest"])


def describe(config: DriveConfig, plan: StreetPlan) -> dict[str, Any]:
    """What metadata.json says of a plan: `drive` as `shards.driving.Drive` has it, the camera, the street."""
    motion = plan.motion
    poses = [pose_of(place, yaw, config) for place, yaw in zip(motion.places_m, motion.yaw, strict=True)]
    fronts = sorted({house.front for house in plan.houses})
    names = [*(f"front_{n:02d}" for n in fronts), f"ground_{plan.ground:02d}", f"sky_{plan.sky:02d}"]
    names += sorted({thing.asset_id for thing in plan.things if thing.asset_id})
    return {
        "drive": {
            "times_s": motion.times_s.tolist(),
            "camera_to_world": np.stack(poses).tolist(),
            "speed_mps": motion.speed_mps.tolist(),
            "yaw_rate_radps": motion.yaw_rate_radps.tolist(),
            "steering_deg": motion.steering_deg.tolist(),
        },
        "camera": {
            "matrix": [
                [config.focal_px, 0, config.width / 2],
                [0, config.focal_px, config.height / 2],
                [0, 0, 1],
            ],
        },
        "street": {
            "route": motion.route,
            "manoeuvre": motion.manoeuvre,
            "crossing_m": plan.crossing_m,
            "num_houses": len(plan.houses),
            "num_trees": len(plan.trees),
            "num_parked": sum(len(thing.poses) == 1 for thing in plan.things),
            "num_moving": sum(len(thing.poses) > 1 for thing in plan.things),
            "sun": list(plan.sun),
        },
        "instances": [{"asset_id": name} for name in names],
    }


if __name__ == "__main__":
    answer_jobs(lambda job: answer(json.loads(job.read_bytes())))
