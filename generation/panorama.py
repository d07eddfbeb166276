"""HDRIs of an asset pack as pictures of all directions: what drawn people may stand before.

Runs with the renderer's interpreter, as Blender reads all formats of HDRIs: `child.py panorama --assets DIR --out NPZ`.
"""

import argparse
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from generation.sources import BadAssetError, archive_path, check_archives, find_manifests, ids_of_split, read_assets

FORMAT = "frameline-panoramas/1"
HEIGHT = 512
"""Rows of a panorama at the most: a pixel is a third of a degree."""
MIDDLE = 0.35
"""How bright the middle of a panorama is, of 1, after exposure."""


def main() -> None:
    """Renderer side of `python -m generation panoramas`; the last line of a failure is the reason."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--assets", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        write_panoramas(options.assets, options.out)
    except (BadAssetError, ValueError) as error:
        raise SystemExit(str(error)) from None


def write_panoramas(assets: Path, out: Path) -> None:
    """Write all lights of a pack as an npz without pickles: an array (H, 2 H, 3) uint8 for each, and what they are."""
    manifest = find_manifests(assets)["hdri"]
    entries = read_assets(manifest)
    check_archives(assets, [("hdri", name) for name in entries])
    splits = {split: ids_of_split(entries, split) for split in ("train", "test")}
    about = {"format": FORMAT, **splits, "licences": {name: entries[name].get("license", "") for name in entries}}
    arrays = {}
    for name in sorted(entries):
        file = entries[name]["kwargs"]["filename"].removeprefix("{asset_dir}/")
        arrays[f"panorama/{name}"] = tone_map(shrink(read_light(archive_path(manifest, name), file), HEIGHT))
    with out.open("wb") as file:
        np.savez(file, about=np.frombuffer(json.dumps(about, sort_keys=True).encode(), np.uint8), **arrays)


def read_light(archive: Path, name: str) -> np.ndarray:
    """The picture (H, W, 3) float32 inside an asset's archive, linear, top row first."""
    import bpy

    with tempfile.TemporaryDirectory() as folder, tarfile.open(archive, "r:gz") as content:
        member = next(one for one in content if one.isfile() and one.name.endswith(name))
        path = Path(folder) / Path(name).name
        path.write_bytes(content.extractfile(member).read())
        image = bpy.data.images.load(str(path))
        width, height = image.size
        pixels = np.empty(width * height * image.channels, np.float32)
        image.pixels.foreach_get(pixels)
        channels = image.channels
        bpy.data.images.remove(image)
    return pixels.reshape(height, width, channels)[::-1, :, :3]


def shrink(picture: np.ndarray, height: int) -> np.ndarray:
    """Means of squares of a picture (H, W, 3), so that it has at most twice as many rows as `height`."""
    factor = max(1, len(picture) // height)
    rows, columns = len(picture) // factor, picture.shape[1] // factor
    blocks = picture[: rows * factor, : columns * factor].reshape(rows, factor, columns, factor, 3)
    return blocks.mean((1, 3))


def tone_map(light: np.ndarray) -> np.ndarray:
    """Linear light (H, W, 3) as colours of 8 bits: exposed by its geometric mean, the brightest compressed."""
    luminance = np.maximum(light.clip(0).mean(-1), 1e-6)
    exposed = light.clip(0) * (MIDDLE / (1 - MIDDLE)) / np.exp(np.log(luminance).mean())
    return (255 * (exposed / (1 + exposed)) ** (1 / 2.2) + 0.5).astype(np.uint8)


if __name__ == "__main__":
    main()
