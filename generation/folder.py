"""The clip folder on disk: written beside its place, complete only with its manifest, then renamed."""

import errno
import hashlib
import json
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np

FORMAT = "frameline-clip/3"
LEVELS = 65535
REMAINDERS = 254
"""Steps into which the distance between two levels of depth is divided for the annotator."""


def is_complete(folder: Path, digest: str) -> bool:
    """Whether a clip folder holds the finished clip of this recipe digest."""
    try:
        return json.loads((folder / "manifest.json").read_bytes())["recipe_digest"] == digest
    except (OSError, ValueError, KeyError, TypeError):
        return False


def manifest_sha256(folder: Path) -> str:
    """sha256 of a folder's manifest, which holds the sha256 of every other file."""
    return hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()


def write_images(folder: Path, images: np.ndarray) -> None:
    """Write images (T, H, W[, 3]), uint8 or uint16, as 000.png and so on."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        iio.imwrite(folder / f"{number:03d}.png", image, compress_level=6)


def write_clip(
    folder: Path,
    *,
    frames: np.ndarray,
    depth_m: np.ndarray,
    segmentation: np.ndarray,
    coordinates: np.ndarray,
    normals: np.ndarray,
    metadata: dict[str, Any],
    flow: dict[str, np.ndarray] | None = None,
) -> None:
    """Write all files of a clip but the manifest.

    frames (T, H, W, 3) uint8, depth (T, H, W) metres, ids (T, H, W), coordinates in the instance's box (T, H, W, 3)
    from 0 to 1, world normals (T, H, W, 3). Both of the last are stored in 16 bits, as Kubric does. The background has
    no box: its coordinates are 0.
    """
    low, high = float(depth_m.min()), float(depth_m.max())
    exact = (depth_m.astype(np.float64) - low) / max(high - low, 1e-9) * LEVELS
    codes = np.rint(exact).astype(np.uint16)
    write_images(folder / "frames", frames)
    write_images(folder / "depths", codes)
    write_images(folder / "segmentations", segmentation.astype(np.uint8))
    in_box = np.where(segmentation[..., None] > 0, coordinates, 0.0)
    passes = {"object_coordinates": in_box, "normals": (normals.clip(-1, 1) + 1) / 2}
    kept = {name: np.rint(a * LEVELS).astype(np.uint16) for name, a in passes.items()}
    # 16 bits of a whole clip's range are 0.0002 m: too rough for ground near a moving camera.
    kept["depth_remainder"] = np.rint((exact - codes) * REMAINDERS).astype(np.int8)
    write_arrays(folder / "passes.npz", kept)
    if flow:
        write_arrays(folder / "flow.npz", flow)
    metadata = metadata | {"depth_range": [low, high], "depth_convention": "distance to the camera centre, metres"}
    (folder / "metadata.json").write_text(json.dumps(metadata, sort_keys=True))


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays as npz without pickled objects; numpy gives every member a fixed date."""
    np.savez_compressed(path, **arrays)


def write_manifest(folder: Path, digest: str) -> None:
    """Write manifest.json, the last file: the sha256 of all others and the recipe's digest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    digests = {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    content = {"format": FORMAT, "recipe_digest": digest, "files": digests}
    with (folder / "manifest.json").open("w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def put_in_place(temporary: Path, folder: Path, digest: str) -> None:
    """Rename a finished folder; where another process was first with the same recipe, its result stays."""
    while not is_complete(folder, digest):
        if folder.exists():
            # Not deleted in place: half a clip with a manifest would look complete.
            doomed = folder.with_name(temporary_name(f"{folder.name}-old"))
            folder.rename(doomed)
            shutil.rmtree(doomed)
        try:
            temporary.rename(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def temporary_name(key: str) -> str:
    """A hidden folder's name that says which process of which machine works there."""
    return f".{key}.{_host()}.{os.getpid()}.tmp"


def remove_leftovers(root: Path) -> None:
    """Delete temporary folders of processes of this machine that are gone."""
    for leftover in root.glob(f".*.{_host()}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isdigit() and not _is_alive(int(pid)):
            shutil.rmtree(leftover, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _host() -> str:
    return re.sub("[^A-Za-z0-9-]", "-", socket.gethostname())
