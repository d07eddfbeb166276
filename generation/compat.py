"""Make kubric-nightly 2023.12.27 work with bpy 4.2 to 4.5: the only module that touches kubric's internals.

Each fix names what breaks without it. `load_kubric()` installs them once; `prepare_blender` after each reset.
"""

import contextlib
import functools
import gc
import importlib.util
import os
import sys
import tarfile
import types
from collections.abc import Iterator, Sequence
from typing import Any

from generation.murmur import murmurhash3_32

OLDEST, BEYOND = (4, 2), (4, 6)


@contextlib.contextmanager
def few_cores(count: int) -> Iterator[None]:
    """Let this process see only `count` cores for a while, where the system can.

    Blender's task pool (oneTBB) takes as many threads as it sees cores when bpy is imported, whatever the scene's own
    setting, and idle ones spin: on two cores a clip cost twice the CPU time.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


@functools.cache
def load_kubric(threads: int) -> types.ModuleType:
    """Import kubric with its renderer and simulator, patched; raises RuntimeError for an untried Blender."""
    with few_cores(threads):
        import bpy

    version = bpy.app.version[:2]
    if not OLDEST <= version < BEYOND:
        raise RuntimeError(f"bpy {bpy.app.version_string} is untried; the renderer's environment pins 4.5")
    stand_ins = {"sklearn": _sklearn_stand_in(), "sklearn.utils": _sklearn_stand_in().utils}
    stand_ins["trimesh"] = types.ModuleType("trimesh")  # kubric prepares new assets with it; nothing here does
    if importlib.util.find_spec("tensorflow") is None:
        stand_ins["tensorflow"] = _tensorflow_stand_in()
    stand_ins = {name: module for name, module in stand_ins.items() if name not in sys.modules}
    sys.modules |= stand_ins
    try:
        import kubric
        import kubric.renderer
        import kubric.simulator
    finally:
        # Left in place they would fool libraries that ask whether the real ones are there.
        for name in stand_ins:
            del sys.modules[name]
    # Archives come from elsewhere, and kubric unpacks them with Python's old habit of trusting every path in them.
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)
    _fix_object_coordinates()
    _fix_channel_names()
    _fix_flow()
    _fix_principled_material()
    return kubric


def forget_last_scene() -> None:
    """Let a process start its next scene as if it were its first: kubric numbers names, and objects refer in circles.

    Blender itself is emptied by kubric when it makes a renderer.
    """
    from kubric.utils import next_global_count

    next_global_count("", reset=True)
    gc.collect()  # PyBullet's world ends with the object that holds it


def _tensorflow_stand_in() -> types.ModuleType:
    """kubric uses TensorFlow only to copy and open files."""
    import shutil

    tensorflow = types.ModuleType("tensorflow")

    def copy(source: Any, target: Any, overwrite: bool = False) -> None:
        if str(source).startswith("gs:") or str(target).startswith("gs:"):
            raise ValueError(f"{source}: a Google bucket needs TensorFlow; download the assets and name their folder")
        shutil.copyfile(source, target)

    tensorflow.io = types.SimpleNamespace(gfile=types.SimpleNamespace(copy=copy, GFile=open))
    return tensorflow


def _sklearn_stand_in() -> types.ModuleType:
    """kubric uses scikit-learn for one hash function; importing it takes longer than importing Blender."""
    sklearn = types.ModuleType("sklearn")
    sklearn.utils = types.ModuleType("sklearn.utils")
    sklearn.utils.murmurhash3_32 = murmurhash3_32
    return sklearn


def _fix_object_coordinates() -> None:
    """Without it object coordinates are all zero, silently: an AOV node's name is no longer its AOV's name."""
    from kubric.renderer import blender_utils

    if getattr(blender_utils.add_coordinate_material, "is_fixed", False):
        return
    original = blender_utils.add_coordinate_material

    def add_coordinate_material() -> Any:
        material = original()
        for node in material.node_tree.nodes:
            if node.type == "OUTPUT_AOV":
                node.aov_name = "ObjectCoordinates"
        return material

    add_coordinate_material.is_fixed = True
    blender_utils.add_coordinate_material = add_coordinate_material


def _fix_channel_names() -> None:
    """Without it kubric's own reader of EXR files ends in KeyError: since 4.3 some channels have lower-case names."""
    from kubric.renderer import blender_utils

    if getattr(blender_utils.read_channels_from_exr, "is_fixed", False):
        return
    original = blender_utils.read_channels_from_exr

    @functools.wraps(original)
    def read_channels_from_exr(exr: Any, channel_names: Sequence[str]) -> Any:
        actual = {name.lower(): name for name in exr.header()["channels"]}
        if "vector.w" in actual:  # the flow, see _fix_flow
            channel_names = [
                "Vector." + "XYZW"["RGBA".index(name[-1])] if name.startswith("Vector.") else name
                for name in channel_names
            ]
        return original(exr, [actual.get(name.lower(), name) for name in channel_names])

    read_channels_from_exr.is_fixed = True
    blender_utils.read_channels_from_exr = read_channels_from_exr


def _fix_flow() -> None:
    """Without it the flow's rows are 1.0 everywhere in 4.4 and 4.5, silently: alpha is lost when colours are combined.

    The Vector pass goes straight into the file there; on 4.2 that would write three of its four channels.
    """
    import bpy
    from kubric.renderer import blender_utils

    if bpy.app.version < (4, 4) or getattr(blender_utils.set_up_exr_output_node, "is_fixed", False):
        return
    original = blender_utils.set_up_exr_output_node

    def set_up_exr_output_node(*arguments: Any, **settings: Any) -> Any:
        node = original(*arguments, **settings)
        tree = bpy.context.scene.node_tree
        vector = tree.nodes["Render Layers Aux"].outputs["Vector"]
        tree.links.new(vector, node.inputs["Vector"])
        return node

    set_up_exr_output_node.is_fixed = True
    blender_utils.set_up_exr_output_node = set_up_exr_output_node


def _fix_principled_material() -> None:
    """Without it adding a PrincipledBSDFMaterial ends in KeyError: four of the shader's sockets changed in 4.0."""
    import bpy
    from kubric import core
    from kubric.renderer.blender import AttributeSetter, Blender, KeyframeSetter
    from kubric.renderer.blender_utils import prepare_blender_object

    sockets = {
        "color": "Base Color",
        "roughness": "Roughness",
        "metallic": "Metallic",
        "specular": "Specular IOR Level",
        "ior": "IOR",
        "transmission": "Transmission Weight",
        "emission": "Emission Color",
    }  # the roughness of transmission is gone, and the tint of the highlight is a colour of its own

    @prepare_blender_object
    def add_principled_material(self: Any, asset: Any) -> Any:
        material = bpy.data.materials.new(asset.uid)
        material.use_nodes = True
        inputs = material.node_tree.nodes["Principled BSDF"].inputs
        inputs["Emission Strength"].default_value = 1.0  # 0 by default, and then an emission colour does nothing
        for trait, socket in sockets.items():
            asset.observe(AttributeSetter(inputs[socket], "default_value"), trait)
            asset.observe(KeyframeSetter(inputs[socket], "default_value"), trait, type="keyframe")
        return material

    Blender.__dict__["add_asset"].register(core.PrincipledBSDFMaterial, add_principled_material)


def choose_device(scene: Any, device: str) -> None:
    """Let Cycles compute on cpu, cuda or optix; RuntimeError where Blender finds no such device."""
    if device == "cpu":
        return
    import bpy

    preferences = bpy.context.preferences.addons["cycles"].preferences
    preferences.compute_device_type = device.upper()
    preferences.get_devices()
    found = [each for each in preferences.devices if each.type == device.upper()]
    if not found:
        raise RuntimeError(f"device={device}: Blender finds none here; render with device=cpu")
    for each in preferences.devices:
        each.use = each in found
    scene.cycles.device = "GPU"


def prepare_blender() -> None:
    """Give Blender what kubric's importer of OBJ files asks for; call it after each reset of the scene."""
    import bpy

    if not hasattr(bpy.types.Mesh, "use_auto_smooth"):  # gone since 4.1; kubric sets it to False
        bpy.types.Mesh.use_auto_smooth = bpy.props.BoolProperty()
    if not hasattr(bpy.types, "IMPORT_SCENE_OT_obj"):
        bpy.utils.register_class(_make_obj_importer())


def _make_obj_importer() -> type:
    """The operator import_scene.obj, gone since 4.0, by way of its successor wm.obj_import."""
    import bpy

    axes = {"-X": "NEGATIVE_X", "-Y": "NEGATIVE_Y", "-Z": "NEGATIVE_Z"}

    class ImportObj(bpy.types.Operator):
        bl_idname = "import_scene.obj"
        bl_label = "Import OBJ"

        filepath: bpy.props.StringProperty()
        use_split_objects: bpy.props.BoolProperty(default=True)
        axis_forward: bpy.props.StringProperty(default="-Z")
        axis_up: bpy.props.StringProperty(default="Y")

        def execute(self, context: Any) -> set[str]:
            forward, up = (axes.get(axis, axis) for axis in (self.axis_forward, self.axis_up))
            result = bpy.ops.wm.obj_import(
                filepath=self.filepath,
                forward_axis=forward,
                up_axis=up,
                use_split_objects=self.use_split_objects,
            )
            # The successor turns the object, the old one turned its vertices; kubric sets the object's rotation.
            bpy.ops.object.transform_apply(location=False, rotation=True, scale=False)
            return result

    return ImportObj
