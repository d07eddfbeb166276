"""Build the open asset pack in Kubric's own archive and manifest format from what the renderer's wheels hold.

Runs with the renderer's interpreter: `child.py assets --out DIR --objects N`. Lights are the HDRIs inside the bpy wheel
(CC0, by Greg Zaal), shapes are meshes of pybullet_data with textures made here. No network, same bytes every time.
"""

import argparse
import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import shutil
import sys
import tarfile
import zlib
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

from generation import meshes, shapes, textures
from generation.fingerprint import fingerprint

FORMAT = "frameline-assets/1"
NAMED = ("bunny.obj", "objects/mug.obj", "lego/lego.obj", "teddy2_VHACD_CHs.obj")
"""Meshes of pybullet_data besides its 1000 random ones; folders with a licence of their own are left alone."""
TEST_LIGHTS = ("courtyard", "sunrise")
TEST_SHARE = 4
"""Every so many objects are held out for the test split."""
THINNEST = 0.2
"""Objects flatter than this share of their longest edge are left out."""
TEXTURE_SIZE = 256
DENSITY = 100.0
"""kg a cubic metre of hull, at the size of 1 m."""
FLOOR_RADIUS, DOME_RADIUS = 27.0, 30.0
COLLISION_MESH = '<geometry><mesh filename="collision.obj"/></geometry>'
MATERIAL = "newmtl textured\nKd 1.0 1.0 1.0\nKs 0.1 0.1 0.1\nNs 50\nmap_Kd texture.png\n"


def main() -> None:
    """Renderer side of `python -m generation assets`; returns the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--objects", type=int, required=True)
    options = parser.parse_args()
    build_pack(options.out, options.objects)


def build_pack(out: Path, num_objects: int) -> None:
    """Write the pack beside its place and rename it; a pack of the same making is left as it is."""
    versions = {name: importlib.metadata.version(name) for name in ("bpy", "pybullet", "numpy", "pillow", "scipy")}
    code = fingerprint(["assets", "meshes", "shapes", "textures"])
    making = {"num_objects": num_objects, "versions": versions, "code": code}
    try:
        if json.loads((out / "pack.json").read_bytes())["making"] == making:
            print(f"{out}: complete already", flush=True)
            return
    except (OSError, ValueError, KeyError):
        pass
    temporary = out.parent / f".{out.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _fill(temporary, num_objects, making)
        if out.exists():
            shutil.rmtree(out)
        temporary.rename(out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _fill(root: Path, num_objects: int, making: dict[str, Any]) -> None:
    write_source(root / "hdri", make_lights())
    write_source(root / "basic", {"dome": make_dome_asset()} | make_basic_shapes())
    write_source(root / "objects", make_objects(num_objects))
    archives = sorted(path for path in root.rglob("*") if path.is_file())
    digests = {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in archives}
    pack = {"format": FORMAT, "making": making, "files": digests}
    (root / "pack.json").write_text(json.dumps(pack, indent=1, sort_keys=True) + "\n")


def folder_of(package: str) -> Path:
    """Where an installed package lies, without importing it."""
    return Path(importlib.util.find_spec(package).origin).parent


def make_lights() -> dict[str, dict[str, Any]]:
    """One asset per HDRI of the bpy wheel."""
    folder = next(folder_of("bpy").glob("*/datafiles/studiolights/world"))
    return {
        path.stem: {
            "asset_type": "Texture",
            "license": "CC0 1.0",
            "kwargs": {"filename": f"{{asset_dir}}/{path.name}"},
            "metadata": {"split": "test" if path.stem in TEST_LIGHTS else "train", "resolution": [1024, 512]},
            "files": {path.name: path.read_bytes()},
        }
        for path in sorted(folder.glob("*.exr"))
    }


def make_dome_asset() -> dict[str, Any]:
    """The ground and the sky: the renderer gives it the HDRI as seen from 6 m above the floor."""
    vertices, triangles = meshes.make_dome(FLOOR_RADIUS, DOME_RADIUS)
    # A box under the floor: Bullet's meshes are slower, and thin ones let things through.
    collision = '<origin xyz="0 0 -5"/><geometry><box size="200 200 10"/></geometry>'
    return {
        "asset_type": "FileBasedObject",
        "license": "Apache-2.0",
        "kwargs": _object_kwargs(vertices, mass=0.0),
        "metadata": {"category": "dome", "shading": "environment", "eye": [0.0, 0.0, 6.0]},
        "files": {
            "visual.obj": meshes.format_obj(vertices, triangles).encode(),
            "object.urdf": format_urdf("dome", 0.0, collision).encode(),
        },
    }


def make_basic_shapes() -> dict[str, dict[str, Any]]:
    """The shapes of MOVi-A and B without colour: the scene gives them theirs."""
    made = {name: make() for name, make in shapes.SHAPES.items()}
    return {name: make_basic_shape(name, *mesh) for name, mesh in made.items()}


def make_basic_shape(name: str, vertices: np.ndarray, triangles: np.ndarray) -> dict[str, Any]:
    """One shape of longest edge 1 with its hull for collisions."""
    vertices = meshes.normalise(vertices)
    corners, faces, volume, _ = meshes.convex_hull(vertices)
    mass = round(volume * DENSITY, 3)
    visual = meshes.format_obj(vertices, triangles, is_smooth=name in shapes.SMOOTH)
    return {
        "asset_type": "FileBasedObject",
        "license": "GPL-3.0 (Blender's)" if name == "suzanne" else "Apache-2.0",
        "kwargs": _object_kwargs(vertices, mass),
        "metadata": {"category": "shape"},
        "files": {
            "visual.obj": visual.encode(),
            "collision.obj": meshes.format_obj(corners, faces).encode(),
            "object.urdf": format_urdf(name, mass, COLLISION_MESH).encode(),
        },
    }


def make_objects(num_objects: int) -> dict[str, dict[str, Any]]:
    """The named meshes and random ones up to `num_objects`, in a fixed order, thin ones left out."""
    data = folder_of("pybullet_data")
    order = np.random.default_rng(0).permutation(1000)
    candidates = [data / name for name in NAMED]
    candidates += [data / "random_urdfs" / f"{number:03d}" / f"{number:03d}.obj" for number in order]
    objects: dict[str, dict[str, Any]] = {}
    for path in candidates:
        if len(objects) == num_objects:
            break
        name = f"random_{path.stem}" if path.stem.isdigit() else path.stem.split("_")[0]
        entry = make_object(name, path, "test" if len(objects) % TEST_SHARE == TEST_SHARE - 1 else "train")
        if entry:
            objects[name] = entry
            if len(objects) % 20 == 0 or len(objects) == num_objects:
                print(f"assets: {len(objects)}/{num_objects} objects", flush=True)
    return objects


def make_object(name: str, path: Path, split: str) -> dict[str, Any] | None:
    """One textured object with its hull for collisions; None for a flat one."""
    vertices, triangles = meshes.read_obj(path)
    vertices = meshes.normalise(vertices)
    if np.ptp(vertices, axis=0).min() < THINNEST:
        return None
    corners, faces, volume, _ = meshes.convex_hull(vertices)
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    texture = iio.imwrite("<bytes>", textures.make_texture(TEXTURE_SIZE, rng), extension=".png", compress_level=6)
    mass = round(volume * DENSITY, 3)
    return {
        "asset_type": "FileBasedObject",
        "license": "zlib (Bullet's data; texture made here)",
        "kwargs": _object_kwargs(vertices, mass),
        "metadata": {"category": "random" if path.stem.isdigit() else "named", "split": split},
        "files": {
            "visual.obj": meshes.format_obj(
                vertices, triangles, meshes.project_box(vertices, triangles), "textured"
            ).encode(),
            "visual.mtl": MATERIAL.encode(),
            "texture.png": texture,
            "collision.obj": meshes.format_obj(corners, faces).encode(),
            "object.urdf": format_urdf(name, mass, COLLISION_MESH).encode(),
        },
    }


def _object_kwargs(vertices: np.ndarray, mass: float) -> dict[str, Any]:
    return {
        "bounds": [vertices.min(0).tolist(), vertices.max(0).tolist()],
        "mass": mass,
        "render_filename": "{asset_dir}/visual.obj",
        "simulation_filename": "{asset_dir}/object.urdf",
        "render_import_kwargs": {"axis_forward": "Y", "axis_up": "Z"},
    }


def format_urdf(name: str, mass: float, collision: str) -> str:
    """A body of one link whose centre of mass is its origin."""
    return (
        f'<robot name="{name}"><link name="base"><inertial><origin xyz="0 0 0"/><mass value="{mass}"/>'
        '<inertia ixx="1" ixy="0" ixz="0" iyy="1" iyz="0" izz="1"/></inertial>'
        f"<collision>{collision}</collision></link></robot>\n"
    )


def write_source(folder: Path, entries: dict[str, dict[str, Any]]) -> None:
    """Write one asset source: an archive per asset and the manifest that lists them."""
    folder.mkdir(parents=True)
    assets = {}
    for name, entry in entries.items():
        listed = {key: value for key, value in entry.items() if key != "files"} | {"id": name}
        data = json.dumps(listed, indent=1, sort_keys=True).encode()
        (folder / f"{name}.tar.gz").write_bytes(make_archive({"data.json": data} | entry["files"]))
        assets[name] = {key: value for key, value in listed.items() if key != "id"}
    manifest = {"name": folder.name, "version": "1", "assets": assets}
    (folder / f"{folder.name}.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def make_archive(files: dict[str, bytes]) -> bytes:
    """A gzipped tar of flat members whose bytes depend on nothing but the files."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            archive.addfile(member, io.BytesIO(files[name]))
    return gzip.compress(plain.getvalue(), compresslevel=6, mtime=0)


if __name__ == "__main__":
    sys.exit(main())
