"""Bodies rendered by Blender's Cycles: soft light, shadows, smooth edges. What is behind stays transparent.

Runs with the renderer's interpreter: `child.py people.cycles` answers the jobs (generation/jobs.py) of
`generation.people.studio`.
"""

import math
from pathlib import Path

import numpy as np

from generation import compat
from generation.jobs import answer_jobs

FAR_M = 60.0
"""The floor ends so far away."""


def render_job(job: Path) -> int:
    """Render the views of a job, an npz without pickles, into 0000.png, 0001.png, ... beside it: 16 bits, with alpha.

    vertices_m (V, 3), faces (F, 3), colours (F, 3) of 1 as seen; light (3,) to the sun; ambient (); floor (2, 3) and
    square_m, turn, floor_m, or none of them; positions_m (T, 3), rotations (T, 3, 3) and focal_px (T,); size, samples,
    seed, threads (). Axes are the person's: y is down. Returns 0.
    """
    import bpy

    compat.prepare_blender()
    with np.load(job, allow_pickle=False) as archive:
        told = {name: archive[name] for name in archive.files}
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    _set_up(scene, told)
    _add_body(scene, told)
    if "floor" in told:
        _add_floor(scene, told)
    _add_light(scene, told)
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.data.sensor_width, camera.data.sensor_fit, camera.data.clip_start = 36.0, "HORIZONTAL", 0.01
    for number, focal in enumerate(told["focal_px"]):
        camera.data.lens = float(focal) * camera.data.sensor_width / int(told["size"])
        camera.matrix_world = _pose(told["positions_m"][number], told["rotations"][number])
        scene.render.filepath = str(job.with_name(f"{number:04d}.png"))
        bpy.ops.render.render(write_still=True)
    return 0


def _set_up(scene, told: dict[str, np.ndarray]) -> None:
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", int(told["samples"]), int(told["seed"])
    scene.cycles.use_denoising = False
    scene.render.threads_mode, scene.render.threads = "FIXED", int(told["threads"])
    scene.render.resolution_x = scene.render.resolution_y = int(told["size"])
    scene.render.resolution_percentage = 100
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    settings = scene.render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "16"


def _add_body(scene, told: dict[str, np.ndarray]) -> None:
    """One material for each colour of faces, and smooth normals."""
    import bpy

    mesh = bpy.data.meshes.new("body")
    mesh.from_pydata(told["vertices_m"].tolist(), [], told["faces"].tolist())
    colours, which = np.unique(told["colours"], axis=0, return_inverse=True)
    for colour in colours:
        mesh.materials.append(_matt(colour))
    mesh.polygons.foreach_set("material_index", which.ravel().astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(which), bool))
    scene.collection.objects.link(bpy.data.objects.new("body", mesh))


def _add_floor(scene, told: dict[str, np.ndarray]) -> None:
    """A plane with squares of two colours."""
    import bpy

    y, corners = float(told["floor_m"]), ((-FAR_M, -FAR_M), (-FAR_M, FAR_M), (FAR_M, FAR_M), (FAR_M, -FAR_M))
    mesh = bpy.data.meshes.new("floor")
    mesh.from_pydata([(x, y, z) for x, z in corners], [], [(0, 1, 2, 3)])
    material = _matt(told["floor"][0])
    nodes, links = material.node_tree.nodes, material.node_tree.links
    place, turned, squares = (nodes.new(f"ShaderNode{name}") for name in ("TexCoord", "Mapping", "TexChecker"))
    turned.inputs["Rotation"].default_value = (0.0, float(told["turn"]), 0.0)
    turned.inputs["Location"].default_value = (0.0, 0.5 - y / float(told["square_m"]), 0.0)  # not between two layers
    turned.inputs["Scale"].default_value = (1 / float(told["square_m"]),) * 3
    squares.inputs["Scale"].default_value = 1.0
    for name, colour in zip(("Color1", "Color2"), told["floor"], strict=True):
        squares.inputs[name].default_value = (*_linear(colour), 1.0)
    links.new(place.outputs["Object"], turned.inputs["Vector"])
    links.new(turned.outputs["Vector"], squares.inputs["Vector"])
    links.new(squares.outputs["Color"], nodes["Diffuse"].inputs["Color"])
    mesh.materials.append(material)
    scene.collection.objects.link(bpy.data.objects.new("floor", mesh))


def _add_light(scene, told: dict[str, np.ndarray]) -> None:
    """A sun, and the same light from everywhere: what faces the sun, shaded by nothing, is lit by 1."""
    import bpy
    from mathutils import Vector

    ambient = float(told["ambient"])
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = math.pi * (1 - ambient), 0.05
    lamp = bpy.data.objects.new("sun", sun)
    lamp.rotation_euler = Vector(told["light"].tolist()).to_track_quat("Z", "Y").to_euler()
    scene.collection.objects.link(lamp)
    scene.world = bpy.data.worlds.new("world")
    scene.world.use_nodes = True
    background = scene.world.node_tree.nodes["Background"]
    background.inputs["Color"].default_value, background.inputs["Strength"].default_value = (1.0,) * 4, ambient


def _matt(colour: np.ndarray):
    """A material that scatters light evenly, of a colour (3,) as it is seen."""
    import bpy

    material = bpy.data.materials.new("matt")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    nodes.clear()
    diffuse, output = nodes.new("ShaderNodeBsdfDiffuse"), nodes.new("ShaderNodeOutputMaterial")
    diffuse.name = "Diffuse"
    diffuse.inputs["Color"].default_value = (*_linear(colour), 1.0)
    material.node_tree.links.new(diffuse.outputs["BSDF"], output.inputs["Surface"])
    return material


def _linear(colour: np.ndarray) -> tuple[float, ...]:
    """The light (3,) of a colour (3,) of sRGB, both of 1 (IEC 61966-2-1)."""
    colour = np.asarray(colour, np.float64).clip(0, 1)
    return tuple(np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4).tolist())


def _pose(position_m: np.ndarray, rotation: np.ndarray):
    """Blender's matrix of a camera at position (3,); the rows of rotation (3, 3) are its right, down and forward."""
    from mathutils import Matrix

    right, down, forward = rotation
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([right, -down, -forward], -1)  # Blender's cameras look along -z, their y is up
    matrix[:3, 3] = position_m
    return Matrix(matrix.tolist())


if __name__ == "__main__":
    answer_jobs(render_job)
