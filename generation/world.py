"""Put a planned scene into kubric: ground and light, camera, objects, and PyBullet's simulation of them.

Renderer side: imports kubric and bpy. The numbers are MOVi's (Greff et al. 2022 and kubric's released worker).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from generation import compat, sources
from generation.config import SETTLE_SECONDS, STEP_RATE, MoviConfig
from generation.scene import DYNAMIC_REGION, STATIC_REGION, ScenePlan

FOCAL_MM, SENSOR_MM = 35.0, 32.0
SETTLING = {"friction": 1.0, "restitution": 0.0}
RUNNING = {"friction": 0.5, "restitution": 0.5}
GROUND_RUNNING = {"friction": 0.3, "restitution": 0.5}
BRIGHTEST_GROUND = 0.9
"""No ground reflects more light than it gets, whatever the HDRI's values."""


@dataclass
class World:
    """A simulated scene, ready to render. `poses` maps a trait to (K, num_frames + 2, 3 or 4), frame 0 first."""

    scene: Any
    renderer: Any
    bodies: list[Any] = field(default_factory=list)
    is_dynamic: list[bool] = field(default_factory=list)
    num_dropped: int = 0
    poses: dict[str, np.ndarray] = field(default_factory=dict)
    collisions: list[dict[str, Any]] = field(default_factory=list)


def build_world(
    kubric: Any, config: MoviConfig, plan: ScenePlan, assets: Path, scratch: Path, rng: np.random.RandomState
) -> World:
    """Set the scene up, let the static objects settle, throw the dynamic ones in and simulate the clip."""
    scene = kubric.Scene(
        frame_start=1,
        frame_end=config.num_frames,
        frame_rate=config.frame_rate,
        step_rate=STEP_RATE,
        resolution=(config.resolution, config.resolution),
    )
    simulator = kubric.simulator.PyBullet(scene, scratch)
    world = World(scene=scene, renderer=_make_renderer(kubric, scene, config, plan, scratch))
    source = {
        name: kubric.AssetSource.from_manifest(manifest, scratch)
        for name, manifest in _local_manifests(assets, scratch).items()
    }
    ground = _add_ground(kubric, world, source, plan)
    _add_camera(kubric, scene, plan)
    _settle_static_objects(kubric, world, simulator, source["objects"], ground, plan, rng)
    _throw_dynamic_objects(kubric, world, simulator, source["objects"], plan, rng)
    motion, world.collisions = simulator.run(frame_start=0, frame_end=scene.frame_end + 1)
    for trait in ("position", "quaternion", "velocity", "angular_velocity"):
        world.poses[trait] = np.array([motion[body][trait] for body in world.bodies])
    return world


def _local_manifests(assets: Path, scratch: Path) -> dict[str, Path]:
    """The manifests with their archives beside them: Kubric's own say that those are in a bucket."""
    relocated = {}
    for name, manifest in sources.find_manifests(assets).items():
        content = json.loads(manifest.read_bytes()) | {"data_dir": str(manifest.parent.resolve())}
        relocated[name] = scratch / f"{name}.json"
        relocated[name].write_text(json.dumps(content))
    return relocated


def _make_renderer(kubric: Any, scene: Any, config: MoviConfig, plan: ScenePlan, scratch: Path) -> Any:
    class ClipRenderer(kubric.renderer.Blender):
        """Kubric's renderer, whose files are read by `generation.passes` instead of all layers twice."""

        def postprocess(self, from_dir: Any, return_layers: Any) -> dict[str, np.ndarray]:
            return {}

    renderer = ClipRenderer(
        scene,
        scratch,
        use_denoising=config.denoise,
        samples_per_pixel=config.samples_per_pixel,
        # 0.0 would add the blur's node all the same.
        motion_blur=plan.motion_blur if plan.motion_blur > 0 else None,
    )
    compat.prepare_blender()
    compat.drop_passes(["UV"] if config.save_passes else ["UV", "Vector"])
    blender = renderer.blender_scene
    blender.cycles.max_bounces = config.max_bounces
    if config.denoise and config.denoise_quality == "fast":
        blender.cycles.denoising_quality, blender.cycles.denoising_prefilter = "FAST", "NONE"
    blender.world.cycles.sampling_method = "MANUAL"
    blender.world.cycles.sample_map_resolution = config.world_map
    blender.view_settings.view_transform = "Filmic"  # as published; Blender 4 has another default
    return renderer


def _add_ground(kubric: Any, world: World, source: dict[str, Any], plan: ScenePlan) -> Any:
    light = source["hdri"].create(plan.hdri)
    world.renderer._set_ambient_light_hdri(light.filename)
    ground = source["basic"].create("dome", name="dome", static=True, background=True)
    world.scene += ground
    _set_surface(ground, SETTLING)
    blender_object = ground.linked_objects[world.renderer]
    if ground.metadata.get("shading") == "environment":
        _shade_with_environment(blender_object, light.filename, ground.metadata["eye"])
    else:
        import bpy

        texture = blender_object.data.materials[0].node_tree.nodes["Image Texture"]
        texture.image = bpy.data.images.load(light.filename)
    return ground


def _shade_with_environment(blender_object: Any, image: str, eye: list[float]) -> None:
    """Paint the dome with an HDRI as seen from `eye`: the floor reflects (so it takes shadows), the wall shines.

    The dome hides from all but the camera, so that the world's light comes in.
    """
    import bpy

    material = bpy.data.materials.new("dome")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()

    def add(kind: str, **settings: Any) -> Any:
        node = tree.nodes.new(kind)
        for name, value in settings.items():
            setattr(node, name, value)
        return node

    geometry, output, mix = add("ShaderNodeNewGeometry"), add("ShaderNodeOutputMaterial"), add("ShaderNodeMixShader")
    direction = add("ShaderNodeVectorMath", operation="SUBTRACT")
    direction.inputs[1].default_value = eye
    environment = add("ShaderNodeTexEnvironment", image=bpy.data.images.load(image, check_existing=True))
    dimmed = add("ShaderNodeVectorMath", operation="MINIMUM")
    dimmed.inputs[1].default_value = (BRIGHTEST_GROUND,) * 3
    diffuse, emission = add("ShaderNodeBsdfDiffuse"), add("ShaderNodeEmission")
    height, is_wall = add("ShaderNodeSeparateXYZ"), add("ShaderNodeMath", operation="GREATER_THAN")
    is_wall.inputs[1].default_value = 0.05
    for start, end in (
        (geometry.outputs["Position"], direction.inputs[0]),
        (direction.outputs[0], environment.inputs["Vector"]),
        (environment.outputs["Color"], dimmed.inputs[0]),
        (dimmed.outputs[0], diffuse.inputs["Color"]),
        (environment.outputs["Color"], emission.inputs["Color"]),
        (geometry.outputs["Position"], height.inputs[0]),
        (height.outputs["Z"], is_wall.inputs[0]),
        (is_wall.outputs[0], mix.inputs["Fac"]),
        (diffuse.outputs[0], mix.inputs[1]),
        (emission.outputs[0], mix.inputs[2]),
        (mix.outputs[0], output.inputs["Surface"]),
    ):
        tree.links.new(start, end)
    blender_object.data.materials.clear()
    blender_object.data.materials.append(material)
    for ray in ("diffuse", "glossy", "shadow", "transmission"):
        setattr(blender_object, f"visible_{ray}", False)


def _add_camera(kubric: Any, scene: Any, plan: ScenePlan) -> None:
    scene.camera = kubric.PerspectiveCamera(focal_length=FOCAL_MM, sensor_width=SENSOR_MM)
    for frame, (position, target) in enumerate(zip(plan.camera_positions, plan.camera_targets, strict=True)):
        scene.camera.position = position
        scene.camera.look_at(target)
        scene.camera.keyframe_insert("position", frame)
        scene.camera.keyframe_insert("quaternion", frame)


def _settle_static_objects(
    kubric: Any, world: World, simulator: Any, source: Any, ground: Any, plan: ScenePlan, rng: np.random.RandomState
) -> None:
    for planned in plan.objects:
        if not planned.is_dynamic:
            body = _place(kubric, world, simulator, source, planned, STATIC_REGION, rng)
            if body is not None:
                _set_surface(body, SETTLING)
    simulator.run(frame_start=-round(SETTLE_SECONDS * world.scene.frame_rate), frame_end=0)
    _set_surface(ground, GROUND_RUNNING)
    for body in world.bodies:
        body.velocity, body.angular_velocity = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
        _set_surface(body, RUNNING)


def _throw_dynamic_objects(
    kubric: Any, world: World, simulator: Any, source: Any, plan: ScenePlan, rng: np.random.RandomState
) -> None:
    for planned in plan.objects:
        if planned.is_dynamic:
            body = _place(kubric, world, simulator, source, planned, DYNAMIC_REGION, rng)
            if body is not None:
                x, y, _ = body.position
                body.velocity = np.array(planned.velocity) - (x, y, 0.0)


def _place(
    kubric: Any, world: World, simulator: Any, source: Any, planned: Any, region: Any, rng: np.random.RandomState
) -> Any:
    """An object where it touches no other; None where a hundred tries found no such place."""
    # Always the same arguments: kubric keeps what was passed for an asset as the default of its next object.
    body = source.create(planned.asset_id, scale=1.0)
    lower, upper = np.array(body.bounds)
    body.scale = planned.size / (upper - lower).max()
    world.scene += body
    try:
        kubric.move_until_no_overlap(body, simulator, spawn_region=region, rng=rng)
    except RuntimeError:
        world.scene.remove(body)
        world.num_dropped += 1
        return None
    world.bodies.append(body)
    world.is_dynamic.append(planned.is_dynamic)
    return body


def _set_surface(body: Any, surface: dict[str, float]) -> None:
    body.friction, body.restitution = surface["friction"], surface["restitution"]
