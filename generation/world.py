"""Put a planned scene into kubric: ground and light, camera, objects, and PyBullet's simulation of them.

Renderer side: imports kubric and bpy. The numbers are MOVi's (Greff et al. 2022 and kubric's released worker).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from generation import sources
from generation.config import STEP_RATE, Box, MoviConfig
from generation.renderer import make_renderer
from generation.scene import Colour, PlannedObject, ScenePlan
from generation.simulation import Contact, settle, simulate

FOCAL_MM, SENSOR_MM = 35.0, 32.0
AMBIENT = (0.05, 0.05, 0.05)
"""The light that comes from everywhere where lamps light the scene (MOVi-A and B)."""
MATERIALS = {
    "metal": {
        "look": {"metallic": 1.0, "roughness": 0.2, "ior": 2.5},
        "surface": (0.4, 0.3),
        "density": 2.7,
    },
    "rubber": {
        "look": {"metallic": 0.0, "roughness": 0.7, "ior": 1.25, "specular": 0.33},
        "surface": (0.8, 0.7),
        "density": 1.1,
    },
}
"""Of MOVi-A's and B's objects: shader, friction and restitution, and the factor of the asset's mass at size 1."""
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
    contacts: list[Contact] = field(default_factory=list)


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
    world = World(scene=scene, renderer=make_renderer(kubric, scene, config, plan, scratch))
    source = {
        name: kubric.AssetSource.from_manifest(manifest, scratch)
        for name, manifest in _local_manifests(assets, scratch).items()
    }
    stage = _Stage(kubric, config, world, simulator, source, rng)
    ground = stage.add_ground(plan)
    stage.add_camera(plan)
    stage.settle_static_objects(plan, ground)
    stage.throw_dynamic_objects(plan)
    world.poses, world.contacts = simulate(simulator, world.bodies, scene.frame_end + 1)
    return world


def _local_manifests(assets: Path, scratch: Path) -> dict[str, Path]:
    """The manifests with their archives beside them: Kubric's own say that those are in a bucket."""
    relocated = {}
    for name, manifest in sources.find_manifests(assets).items():
        content = json.loads(manifest.read_bytes()) | {"data_dir": str(manifest.parent.resolve())}
        relocated[name] = scratch / f"{name}.json"
        relocated[name].write_text(json.dumps(content))
    return relocated


@dataclass(frozen=True)
class _Stage:
    """What every step of setting a scene needs."""

    kubric: Any
    config: MoviConfig
    world: World
    simulator: Any
    source: dict[str, Any]
    rng: np.random.RandomState

    def add_ground(self, plan: ScenePlan) -> Any:
        """The dome: painted and lit by an HDRI, or of one colour under lamps."""
        if plan.hdri is None:
            return self._add_coloured_ground(plan)
        world, light = self.world, self.source["hdri"].create(plan.hdri)
        world.renderer._set_ambient_light_hdri(light.filename)
        ground = self.source["basic"].create("dome", name="dome", static=True, background=True)
        world.scene += ground
        _set_surface(ground, self.config.settle_friction, self.config.settle_restitution)
        blender_object = ground.linked_objects[world.renderer]
        if ground.metadata.get("shading") == "environment":
            _shade_with_environment(blender_object, light.filename, ground.metadata["eye"])
        else:
            import bpy

            texture = blender_object.data.materials[0].node_tree.nodes["Image Texture"]
            texture.image = bpy.data.images.load(light.filename)
        return ground

    def _add_coloured_ground(self, plan: ScenePlan) -> Any:
        kubric, world = self.kubric, self.world
        material = kubric.PrincipledBSDFMaterial(color=_colour(kubric, plan.floor_colour), roughness=1.0, specular=0.0)
        ground = self.source["basic"].create("dome", name="dome", static=True, background=True)
        ground.scale, ground.material = 2.0, material
        world.scene += ground
        _set_surface(ground, self.config.settle_friction, self.config.settle_restitution)
        blender_object = ground.linked_objects[world.renderer]
        blender_object.visible_shadow = False  # the sun shines from outside
        for light, offset in zip(
            kubric.assets.utils.get_clevr_lights(light_jitter=0.0, rng=self.rng), plan.light_offsets, strict=True
        ):
            light.position = light.position + offset
            light.look_at((0, 0, 0))
            world.scene += light
        world.scene.ambient_illumination = kubric.Color(*AMBIENT)
        return ground

    def add_camera(self, plan: ScenePlan) -> None:
        """The camera with its pose in every frame."""
        scene = self.world.scene
        scene.camera = self.kubric.PerspectiveCamera(focal_length=FOCAL_MM, sensor_width=SENSOR_MM)
        for frame, (position, target) in enumerate(zip(plan.camera_positions, plan.camera_targets, strict=True)):
            scene.camera.position = position
            scene.camera.look_at(target)
            scene.camera.keyframe_insert("position", frame)
            scene.camera.keyframe_insert("quaternion", frame)

    def settle_static_objects(self, plan: ScenePlan, ground: Any) -> None:
        """Let the static objects fall, and stop those that still move."""
        config = self.config
        for planned in plan.objects:
            if not planned.is_dynamic:
                body = self._place(planned, config.static_region)
                if body is not None:
                    _set_surface(body, config.settle_friction, config.settle_restitution)
        if self.world.bodies:
            settle(self.simulator, self.world.bodies, round(config.settle_seconds * config.frame_rate))
        _set_surface(ground, config.floor_friction, config.floor_restitution)
        for body in self.world.bodies:
            body.velocity, body.angular_velocity = (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)
            _set_surface(body, config.friction, config.restitution)

    def throw_dynamic_objects(self, plan: ScenePlan) -> None:
        """Put the dynamic objects in the air, flying towards the centre."""
        for planned in plan.objects:
            if planned.is_dynamic:
                body = self._place(planned, self.config.dynamic_region)
                if body is not None:
                    x, y, _ = body.position
                    body.velocity = np.array(planned.velocity) - (x, y, 0.0)

    def _place(self, planned: PlannedObject, region: Box) -> Any:
        """An object where it touches no other; None where a hundred tries found no such place."""
        # Always the same arguments: kubric keeps what was passed for an asset as the default of its next object.
        world = self.world
        body = self.source["basic" if planned.material else "objects"].create(planned.asset_id, scale=1.0)
        self._dress(body, planned)
        world.scene += body
        try:
            self.kubric.move_until_no_overlap(body, self.simulator, spawn_region=(region[:3], region[3:]), rng=self.rng)
        except RuntimeError:
            world.scene.remove(body)
            world.num_dropped += 1
            return None
        world.bodies.append(body)
        world.is_dynamic.append(planned.is_dynamic)
        return body

    def _dress(self, body: Any, planned: PlannedObject) -> None:
        """Size, and for a basic shape what it is made of."""
        if planned.material is None:
            lower, upper = np.array(body.bounds)
            body.scale = planned.size / (upper - lower).max()
            return
        made_of = MATERIALS[planned.material]
        body.scale = planned.size
        body.material = self.kubric.PrincipledBSDFMaterial(
            color=_colour(self.kubric, planned.colour), **made_of["look"]
        )
        _set_surface(body, *made_of["surface"])
        body.mass *= made_of["density"] * planned.size**3


def _colour(kubric: Any, colour: Colour) -> Any:
    return kubric.Color(*colour)


def _set_surface(body: Any, friction: float, restitution: float) -> None:
    body.friction, body.restitution = friction, restitution


def _shade_with_environment(blender_object: Any, image: str, eye: list[float]) -> None:
    """Paint the dome with an HDRI as seen from `eye`: the floor reflects (so it takes shadows), the wall shines.

    The dome hides from all but the camera, so that the world's light comes in.
    """
    import bpy

    material = bpy.data.materials.new("dome")
    material.use_nodes = True
    # Only the camera sees the wall shine. Taken for a lamp, it would get half of all light samples for nothing.
    material.cycles.emission_sampling = "NONE"
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
