"""Make clips: plan, simulate, render, annotate, write. Runs in a process of its own with the renderer's interpreter.

`child.py render` reads paths of jobs from its standard input, a line each: JSON files with {"seed", "attempt",
"recipe", "assets", "scratch", "out", "threads", "digest"}. Each is answered by a line: 0 for a finished clip, 3 where
the scene makes none (the next attempt's sub-seed may), 4 where the disk is full, 5 where an asset is missing or not
what it should be. After anything else the process ends. What Blender says goes to render.log beside the job.
"""

import errno
import importlib.metadata
import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from generation import compat, folder, renderer
from generation.config import MoviConfig
from generation.jobs import answer_jobs
from generation.motion import DegenerateSceneError, check_motion
from generation.passes import Rendered, number_instances, read_rendered
from generation.scene import BASIC_SHAPES, CLEVR_SHAPES, ScenePlan, make_rng, plan_scene
from generation.sources import BadAssetError, check_archives, find_manifests, ids_of_split, read_assets
from generation.world import FOCAL_MM, SENSOR_MM, World, build_world

EXIT_DEGENERATE, EXIT_NO_SPACE, EXIT_BAD_ASSET = 3, 4, 5
LEAST_FREE_BYTES = 16 * 1024**2
VERSIONS = ("bpy", "kubric-nightly", "numpy", "pybullet")


def answer(job: dict[str, Any]) -> int:
    """Render the job; returns its exit code."""
    scratch = Path(job["scratch"])
    try:
        render_clip(job, scratch)
    except DegenerateSceneError as error:
        if shutil.disk_usage(scratch).free < LEAST_FREE_BYTES:
            return EXIT_NO_SPACE  # Blender does not say so: its files are just missing
        print(f"degenerate: {error}", file=sys.stderr)
        return EXIT_DEGENERATE
    except BadAssetError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_ASSET
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return EXIT_NO_SPACE
        raise
    return 0


def render_clip(job: dict[str, Any], scratch: Path) -> None:
    """Make the clip of `job` in the folder job["out"], manifest last; raises DegenerateSceneError."""
    config = MoviConfig(**job["recipe"])
    assets = Path(job["assets"])
    rng = make_rng(config, job["seed"], job["attempt"])
    plan = plan_scene(config, *choose_ids(config, assets), rng)
    used = check_archives(assets, assets_of(plan))
    kubric = compat.load_kubric(job["threads"])
    compat.forget_last_scene()
    world = build_world(kubric, config, plan, assets, scratch, rng)
    camera = camera_over_time(world)
    bounds = np.array([scaled_bounds(body) for body in world.bodies]).reshape(-1, 2, 3)
    check_motion(config, world.is_dynamic, world.poses, bounds, np.array(camera["positions"]))
    blender = world.renderer.blender_scene
    renderer.render_clip(blender, scratch, threads=job["threads"], seed=job["seed"], motion_blur=plan.motion_blur)
    rendered = read_rendered(scratch, config.num_frames, FOCAL_MM / SENSOR_MM * config.resolution, config.save_flow)
    write(job, config, plan, world, rendered, used)


def choose_ids(config: MoviConfig, assets: Path) -> tuple[list[str], list[str]]:
    """The ids of the objects and of the lights that a scene may hold; raises BadAssetError where there are none."""
    listed = {name: read_assets(manifest) for name, manifest in find_manifests(assets).items()}
    lights = ids_of_split(listed["hdri"], config.split)
    if config.setting == "dome":
        objects = ids_of_split(listed["objects"], config.split)
    else:
        known = CLEVR_SHAPES if config.setting == "clevr" else BASIC_SHAPES
        objects = [name for name in known if name in listed["basic"]]
    if not objects or not lights:
        what = "light" if objects else "object"
        raise BadAssetError(f"{assets}: no {what} for setting={config.setting} split={config.split}; use a larger pack")
    return objects, lights


def assets_of(plan: ScenePlan) -> list[tuple[str, str]]:
    """The (source, id) of every asset in a scene."""
    objects = [("basic" if planned.material else "objects", planned.asset_id) for planned in plan.objects]
    return [("basic", "dome"), *objects, *([("hdri", plan.hdri)] if plan.hdri else [])]


def write(
    job: dict[str, Any],
    config: MoviConfig,
    plan: ScenePlan,
    world: World,
    rendered: Rendered,
    used: list[dict[str, str]],
) -> None:
    """Number the instances and write the clip's folder."""
    from kubric.renderer.blender_utils import mm3hash

    segmentation, order = number_instances(rendered.hashes, [mm3hash(body.uid) for body in world.bodies])
    if config.min_dynamic and not any(world.is_dynamic[index] for index in order):
        raise DegenerateSceneError("no dynamic object is ever seen")
    out = Path(job["out"])
    out.mkdir(parents=True)
    folder.write_clip(
        out,
        frames=rendered.frames,
        depth_m=rendered.depth_m,
        segmentation=segmentation,
        coordinates=rendered.coordinates,
        normals=rendered.normals,
        flow=flow_of(rendered) if config.save_flow else None,
        metadata=describe(job, config, plan, world, used)
        | {"instances": [describe_body(world, index, segmentation == n + 1) for n, index in enumerate(order)]},
    )
    folder.write_manifest(out, job["digest"])


def flow_of(rendered: Rendered) -> dict[str, np.ndarray]:
    """The arrays of flow.npz, (T, H, W, 2) float32 as (x, y) pixels."""
    return {"forward_flow": rendered.forward_flow, "backward_flow": rendered.backward_flow}


def camera_over_time(world: World) -> dict[str, Any]:
    """Intrinsics in pixels and poses per frame; the camera looks along -z of its own axes, y is up."""
    size, camera = world.scene.resolution[0], world.scene.camera
    frames = range(1, world.scene.frame_end + 1)
    return {
        "focal_length_mm": FOCAL_MM,
        "sensor_width_mm": SENSOR_MM,
        "focal_px": FOCAL_MM / SENSOR_MM * size,
        "principal_point": [size / 2, size / 2],
        "positions": [list(map(float, camera.keyframes["position"][frame])) for frame in frames],
        "quaternions_wxyz": [list(map(float, camera.keyframes["quaternion"][frame])) for frame in frames],
    }


def describe(
    job: dict[str, Any], config: MoviConfig, plan: ScenePlan, world: World, used: list[dict[str, str]]
) -> dict[str, Any]:
    """What metadata.json says of the scene; nothing in it depends on when or where it was made."""
    return {
        "seed": job["seed"],
        "attempt": job["attempt"],
        "recipe": asdict(config),
        "scene": {
            "setting": config.setting,
            "hdri": plan.hdri,
            "floor_colour": plan.floor_colour,
            "light_offsets": None if plan.light_offsets is None else plan.light_offsets.tolist(),
            "camera": plan.camera,
            "motion_blur": plan.motion_blur,
            "gravity": [0.0, 0.0, -10.0],
            "planned_objects": [asdict(planned) for planned in plan.objects],
            "camera_targets": plan.camera_targets[1:-1].tolist(),
            "num_dropped_objects": world.num_dropped,
        },
        "assets": used,
        "camera": camera_over_time(world),
        "collisions": describe_collisions(world),
        "view_transform": "Filmic",
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
    }


def scaled_bounds(body: Any) -> np.ndarray:
    """The body's box (2, 3) in its own axes, metres."""
    return np.array(body.bounds, np.float64) * np.array(body.scale)


def describe_body(world: World, index: int, mask: np.ndarray) -> dict[str, Any]:
    """One instance: asset, constants, poses per frame (the box's corners follow from them), visible pixels (T,)."""
    body = world.bodies[index]
    poses = {name: values[index, 1:-1] for name, values in world.poses.items()}
    return {
        "asset_id": body.asset_id,
        "is_dynamic": world.is_dynamic[index],
        "scale": float(body.scale[0]),
        "bounds": scaled_bounds(body).tolist(),
        "mass": float(body.mass),
        "friction": float(body.friction),
        "restitution": float(body.restitution),
        "positions": poses["position"].tolist(),
        "quaternions_wxyz": poses["quaternion"].tolist(),
        "velocities": poses["velocity"].tolist(),
        "angular_velocities": poses["angular_velocity"].tolist(),
        "visible_pixels": mask.sum((1, 2)).tolist(),
    }


def describe_collisions(world: World) -> list[dict[str, Any]]:
    """Strongest contact per pair and frame, in frames from 0: the simulator reports every one of its steps."""
    strongest: dict[tuple[Any, ...], float] = {}
    for contact in world.contacts:
        pair = tuple(sorted(asset.uid for asset in contact.assets))
        key = (int(contact.frame) - 1, *pair)
        if 0 <= key[0] < world.scene.frame_end:
            strongest[key] = max(strongest.get(key, 0.0), float(contact.force))
    names = {body.uid: index for index, body in enumerate(world.bodies)}
    return [
        {"frame": frame, "bodies": [names.get(one, -1), names.get(other, -1)], "force": force}
        for (frame, one, other), force in sorted(strongest.items())
    ]


if __name__ == "__main__":
    answer_jobs(lambda job: answer(json.loads(job.read_bytes())))
