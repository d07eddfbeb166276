"""Objects, materials and pictures in Blender. Renderer side: imports bpy."""

from typing import Any

import numpy as np

from generation.driving import solids
from generation.driving.solids import Mesh

PAINT = {
    "light": (0.85, 0.85, 0.8),
    "dark": (0.05, 0.05, 0.06),
    "glass": (0.06, 0.09, 0.13),
    "trunk": (0.16, 0.1, 0.06),
}
"""Linear RGB of what has no picture."""


def add_object(name: str, parts: list[tuple[Mesh, Any]]) -> Any:
    """A Blender object of meshes, each with its material."""
    import bpy

    mesh = solids.join([part for part, _ in parts])
    data = bpy.data.meshes.new(name)
    data.from_pydata(mesh.vertices.tolist(), [], mesh.faces.tolist())
    data.uv_layers.new().data.foreach_set("uv", mesh.uv.astype(np.float32).ravel())
    for _, material in parts:
        data.materials.append(material)
    which = np.repeat(np.arange(len(parts)), [len(part.faces) for part, _ in parts])
    data.polygons.foreach_set("material_index", which.astype(np.int32))
    item = bpy.data.objects.new(name, data)
    bpy.context.scene.collection.objects.link(item)
    return item


def make_plain(name: str, colour: tuple[float, ...]) -> Any:
    """A material that scatters light evenly, of a linear colour."""
    import bpy

    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes = material.node_tree.nodes
    nodes.clear()
    diffuse, output = nodes.new("ShaderNodeBsdfDiffuse"), nodes.new("ShaderNodeOutputMaterial")
    diffuse.name = "Diffuse"
    diffuse.inputs["Color"].default_value = (*colour, 1.0)
    material.node_tree.links.new(diffuse.outputs["BSDF"], output.inputs["Surface"])
    return material


def make_painted(name: str, picture: np.ndarray) -> Any:
    """A material with a picture (H, W, 3) uint8 that repeats."""
    material = make_plain(name, (0.5, 0.5, 0.5))
    nodes = material.node_tree.nodes
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = make_image(name, picture)
    material.node_tree.links.new(texture.outputs["Color"], nodes["Diffuse"].inputs["Color"])
    return material


def make_image(name: str, picture: np.ndarray) -> Any:
    """A picture (H, W, 3) uint8, top row first, as Blender's: bottom row first, with alpha."""
    import bpy

    height, width = picture.shape[:2]
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = picture[::-1] / np.float32(255)
    image = bpy.data.images.new(name, width, height)
    image.pixels.foreach_set(pixels.ravel())
    image.update()
    return image
