"""A planned street in Blender: what is on it, its light, its camera. Renderer side: imports bpy."""

import colorsys
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from generation import compat
from generation.driving import solids, surfaces
from generation.driving.config import DriveConfig
from generation.driving.motion import pose_of
from generation.driving.painting import PAINT, add_object, make_image, make_painted, make_plain
from generation.driving.street import StreetPlan
from generation.driving.things import CARS, Thing
from generation.sources import archive_path, find_manifests

SUN_STRENGTH, SKY_STRENGTH = 3.2, 1.0
SENSOR_MM = 36.0


@dataclass
class Stage:
    """A street that is ready to be rendered."""

    config: DriveConfig
    plan: StreetPlan
    scene: Any
    moving: list[tuple[Any, Thing]]

    @classmethod
    def build(
        cls, config: DriveConfig, plan: StreetPlan, assets: Path, scratch: Path, *, threads: int, seed: int
    ) -> "Stage":
        """Empty Blender, then build the street in it."""
        with compat.few_cores(threads):
            import bpy

        compat.prepare_blender()
        bpy.ops.wm.read_factory_settings(use_empty=True)
        scene = bpy.context.scene
        _set_up(scene, config, threads, seed)
        _light(scene, plan)
        _build_ground(plan)
        _build_houses(plan)
        _plant_trees(plan)
        moving = _put_things(plan, assets, scratch)
        return cls(config, plan, scene, moving)

    def render(self, scratch: Path) -> np.ndarray:
        """Write 0000.png, ... into a folder; returns the camera's matrices (T, 4, 4) as Blender had them."""
        import bpy
        from mathutils import Matrix

        camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
        self.scene.collection.objects.link(camera)
        self.scene.camera = camera
        camera.data.sensor_width, camera.data.sensor_fit = SENSOR_MM, "HORIZONTAL"
        camera.data.lens = self.config.focal_share * SENSOR_MM
        camera.data.clip_start, camera.data.clip_end = 0.05, 2000.0
        seen, motion = [], self.plan.motion
        for frame, (place, yaw) in enumerate(zip(motion.places_m, motion.yaw, strict=True)):
            pose = pose_of(place, yaw, self.config)
            matrix = np.eye(4)
            matrix[:3] = pose * [1, -1, -1, 1]  # Blender's cameras look along -z, their y is up
            camera.matrix_world = Matrix(matrix.tolist())
            for item, thing in self.moving:
                _pose_thing(item, thing, frame)
            self.scene.render.filepath = str(scratch / f"{frame:04d}.png")
            bpy.ops.render.render(write_still=True)
            seen.append(np.array(camera.matrix_world))
        return np.stack(seen)


def _set_up(scene: Any, config: DriveConfig, threads: int, seed: int) -> None:
    scene.render.engine = "CYCLES"
    compat.choose_device(scene, config.device)
    cycles = scene.cycles
    cycles.samples, cycles.seed = config.samples_per_pixel, seed % 2**31
    cycles.use_adaptive_sampling, cycles.use_denoising = False, config.denoise
    cycles.max_bounces = cycles.diffuse_bounces = config.max_bounces
    cycles.glossy_bounces = cycles.transmission_bounces = 0
    cycles.use_light_tree = cycles.caustics_reflective = cycles.caustics_refractive = False
    scene.render.use_persistent_data = True
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.resolution_x, scene.render.resolution_y = config.width, config.height
    scene.render.resolution_percentage = 100
    scene.view_settings.view_transform = "Standard"
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth, settings.compression = "PNG", "RGB", "8", 0


def _light(scene: Any, plan: StreetPlan) -> None:
    """A sun, and a sky that lights what is in the shade."""
    import bpy
    from mathutils import Vector

    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = SUN_STRENGTH, 0.03
    lamp = bpy.data.objects.new("sun", sun)
    lamp.rotation_euler = Vector(plan.sun).to_track_quat("Z", "Y").to_euler()
    scene.collection.objects.link(lamp)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    scene.world.cycles.sampling_method = "NONE"  # it is smooth: what scattered light meets of it is enough
    nodes, links = scene.world.node_tree.nodes, scene.world.node_tree.links
    place, turned = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeMapping")
    turned.inputs["Rotation"].default_value = (0.0, 0.0, plan.sky_turn)
    sky = nodes.new("ShaderNodeTexEnvironment")
    sky.image = make_image("sky", surfaces.make_sky(plan.sky))
    nodes["Background"].inputs["Strength"].default_value = SKY_STRENGTH
    links.new(place.outputs["Generated"], turned.inputs["Vector"])
    links.new(turned.outputs["Vector"], sky.inputs["Vector"])
    links.new(sky.outputs["Color"], nodes["Background"].inputs["Color"])


def _build_ground(plan: StreetPlan) -> None:
    tiles = surfaces.make_ground(plan.ground)
    for name, mesh in solids.pave(plan.roads, plan.crossing_m).items():
        material = make_painted(name, tiles[name]) if name in tiles else make_plain(name, PAINT[name])
        add_object(name, [(mesh, material)])


def _build_houses(plan: StreetPlan) -> None:
    for front in sorted({house.front for house in plan.houses}):
        mesh = solids.join([solids.build(house) for house in plan.houses if house.front == front])
        add_object(f"houses {front}", [(mesh, make_painted(f"front {front}", surfaces.make_front(front)))])


def _plant_trees(plan: StreetPlan) -> None:
    if not plan.trees:
        return
    trunks, crowns = zip(*(solids.plant(tree) for tree in plan.trees), strict=True)
    add_object("trunks", [(solids.join(list(trunks)), make_plain("trunk", PAINT["trunk"]))])
    hue = float(np.mean([tree.hue for tree in plan.trees]))
    leaves = surfaces.make_leaves(plan.ground) * np.array(colorsys.hsv_to_rgb(hue, 0.75, 0.75))
    add_object("crowns", [(solids.join(list(crowns)), make_painted("leaves", np.rint(leaves).astype(np.uint8)))])


def _put_things(plan: StreetPlan, assets: Path, scratch: Path) -> list[tuple[Any, Thing]]:
    """Put all things on the street; returns those that move."""
    manifest = find_manifests(assets)["objects"]
    moving = []
    for thing in plan.things:
        item = _add_car(thing) if thing.kind in CARS else _add_asset(thing, manifest, scratch)
        _pose_thing(item, thing, 0)
        if len(thing.poses) > 1:
            moving.append((item, thing))
    return moving


def _pose_thing(item: Any, thing: Thing, frame: int) -> None:
    x, y, yaw = thing.poses[frame].tolist()
    item.location, item.rotation_euler = (x, y, item["height_m"]), (0.0, 0.0, yaw)


def _add_car(thing: Thing) -> Any:
    paint = make_plain("paint", thing.colour)
    materials = {"paint": paint} | {name: make_plain(name, PAINT[name]) for name in ("glass", "dark")}
    item = add_object(thing.kind, [(mesh, materials[name]) for name, mesh in solids.make_car(thing.kind).items()])
    item["height_m"] = 0.03
    return item


def _add_asset(thing: Thing, manifest: Path, scratch: Path) -> Any:
    """A thing of the asset pack, standing on the ground."""
    import bpy

    place = scratch / "assets" / thing.asset_id
    if not place.exists():
        with tarfile.open(archive_path(manifest, thing.asset_id), "r:gz") as archive:
            archive.extractall(place, filter="data")
    about = json.loads((place / "data.json").read_bytes())["kwargs"]
    path = about["render_filename"].replace("{asset_dir}", str(place))
    bpy.ops.import_scene.obj(filepath=path, use_split_objects=False, **about.get("render_import_kwargs", {}))
    item = bpy.context.selected_objects[0]
    low, high = np.array(about["bounds"])
    scale = thing.size_m / (high - low).max()
    item.rotation_mode, item.scale = "XYZ", (scale,) * 3
    item["height_m"] = float(0.03 - scale * low[2])
    return item
