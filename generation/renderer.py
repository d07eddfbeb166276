"""Blender's settings, and how it renders a clip: one view layer over all frames, then the other.

Renderer side. Kubric renders two view layers a frame: the picture, and one sample a pixel of ids, coordinates, normals
and motion. Blender can keep its scene from frame to frame only while the layer stays the same; otherwise it loads all
pictures and builds the light's importance map twice a frame. So each layer is rendered over the whole clip, the
annotation first: the blur of the picture needs its motion. The bytes are the same.
"""

from pathlib import Path
from typing import Any

from generation import compat
from generation.config import MoviConfig
from generation.scene import ScenePlan

PICTURE, ANNOTATION = "ViewLayer", "AuxOutputs"
PICTURE_FOLDER, ANNOTATION_FOLDER, IMAGE_FOLDER = "picture", "annotation", "images"
"""In the scratch folder: depth and the annotation's passes as OpenEXR, pictures as PNG; one file a frame."""
ANNOTATION_PASSES = ("Normal", "CryptoObject00", "ObjectCoordinates")


def make_renderer(kubric: Any, scene: Any, config: MoviConfig, plan: ScenePlan, scratch: Path) -> Any:
    """Kubric's Blender for a scene, as the recipe sets it; `render_clip` renders with it."""
    renderer = kubric.renderer.Blender(
        scene, scratch, use_denoising=config.denoise, samples_per_pixel=config.samples_per_pixel
    )
    compat.prepare_blender()
    blender = renderer.blender_scene
    compat.choose_device(blender, config.device)
    blender.cycles.max_bounces = config.max_bounces
    blender.cycles.denoising_quality = config.denoise_quality.upper()
    blender.cycles.denoising_prefilter = config.denoise_prefilter.upper()
    # Made for many lights: with the world alone it brings nothing, and takes a fifth of the time; lamps are worth it.
    blender.cycles.use_light_tree = config.setting != "dome"
    blender.world.cycles.sampling_method = "MANUAL"
    blender.world.cycles.sample_map_resolution = config.world_map
    blender.view_settings.view_transform = "Filmic"  # as published; Blender 4 has another default
    annotation = blender.view_layers[ANNOTATION]
    annotation.use_pass_uv = False
    annotation.use_pass_vector = config.save_flow or plan.motion_blur > 0
    annotation.use_sky = False  # nothing of it depends on light, and the importance map is not built for nothing
    return renderer


def render_clip(blender: Any, scratch: Path, *, threads: int, seed: int, motion_blur: float) -> None:
    """Write every frame of Blender's scene into the scratch folder; motion_blur is in frames, 0 for none."""
    blender.render.threads_mode, blender.render.threads = "FIXED", threads
    blender.cycles.seed = seed % 2**31
    blender.render.image_settings.compression = 0  # read once and deleted
    blender.use_nodes = True
    _compose_annotation(blender, scratch)
    _render_layer(blender, ANNOTATION, None)
    _compose_picture(blender, scratch, motion_blur)
    _render_layer(blender, PICTURE, scratch / IMAGE_FOLDER)


def _render_layer(blender: Any, name: str, images: Path | None) -> None:
    import bpy

    for layer in blender.view_layers:
        layer.use = layer.name == name
    # Off and on: what Blender kept of the other layer is freed. Used for this one, it spoiled a frame or crashed.
    blender.render.use_persistent_data = False
    blender.render.use_persistent_data = True
    for frame in range(blender.frame_start, blender.frame_end + 1):
        blender.frame_set(frame)
        blender.render.filepath = str((images or Path()) / f"{frame:04d}.png")
        bpy.ops.render.render(write_still=images is not None)


def _compose_annotation(blender: Any, scratch: Path) -> None:
    """The passes go straight into a file: whatever touches colours would lose Vector's fourth channel."""
    nodes = blender.node_tree.nodes
    nodes.clear()
    layer = _add_layer(nodes, ANNOTATION)
    has_motion = blender.view_layers[ANNOTATION].use_pass_vector
    passes = (*ANNOTATION_PASSES, *(("Vector",) if has_motion else ()))
    _write(blender.node_tree, layer, passes, scratch / ANNOTATION_FOLDER)


def _compose_picture(blender: Any, scratch: Path, motion_blur: float) -> None:
    """Depth goes into a file; the picture is blurred as kubric does it, along the annotation's motion."""
    import bpy

    tree = blender.node_tree
    tree.nodes.clear()
    layer = _add_layer(tree.nodes, PICTURE)
    _write(tree, layer, ("Depth",), scratch / PICTURE_FOLDER)
    if motion_blur <= 0:
        return
    motion = tree.nodes.new("CompositorNodeImage")
    first = scratch / ANNOTATION_FOLDER / f"{blender.frame_start:04d}.exr"
    motion.image = bpy.data.images.load(str(first))
    motion.image.source = "SEQUENCE"
    motion.frame_duration = blender.frame_end - blender.frame_start + 1
    motion.frame_start, motion.frame_offset = blender.frame_start, blender.frame_start - 1
    motion.use_auto_refresh = True
    blur = tree.nodes.new("CompositorNodeVecBlur")
    blur.factor, blur.use_curved = motion_blur, True
    shown = tree.nodes.new("CompositorNodeComposite")
    for start, end in (
        (layer.outputs["Image"], blur.inputs["Image"]),
        (layer.outputs["Depth"], blur.inputs["Z"]),
        (motion.outputs["Vector"], blur.inputs["Speed"]),
        (blur.outputs["Image"], shown.inputs["Image"]),
    ):
        tree.links.new(start, end)


def _add_layer(nodes: Any, name: str) -> Any:
    layer = nodes.new("CompositorNodeRLayers")
    layer.layer = name
    return layer


def _write(tree: Any, layer: Any, passes: tuple[str, ...], folder: Path) -> None:
    """A file with these passes for each frame: FOLDER/0001.exr and so on, not compressed: read once and deleted."""
    node = tree.nodes.new("CompositorNodeOutputFile")
    node.base_path = f"{folder}/"
    node.format.file_format, node.format.exr_codec = "OPEN_EXR_MULTILAYER", "NONE"
    node.file_slots.clear()
    for name in passes:
        node.file_slots.new(name)
        tree.links.new(layer.outputs[name], node.inputs[name])
