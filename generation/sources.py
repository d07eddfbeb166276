"""The three asset sources of a scene (objects, lights, basic shapes): the open pack, or a mirror of Kubric's bucket.

Kubric's own manifests are GSO (scanned objects), HDRI_haven (lights) and KuBasic (ground and basic shapes). A source is
a manifest with an archive `<id>.tar.gz` per asset beside it; pack.json at the root lists the sha256 of all files.
"""

import hashlib
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

MANIFESTS = {
    "objects": ("objects/objects.json", "GSO/GSO.json"),
    "hdri": ("hdri/hdri.json", "HDRI_haven/HDRI_haven.json"),
    "basic": ("basic/basic.json", "KuBasic/KuBasic.json"),
}
"""Per source: its manifest in the open pack, and in a mirror of Kubric's bucket."""
PACK = "pack.json"
PACK_FORMAT = "frameline-assets/1"
MAGIC = (b"\x76\x2f\x31\x01", b"#?RADIANCE", b"#?RGBE")
"""How OpenEXR and Radiance pictures begin."""


class BadAssetError(Exception):
    """An asset that is missing or not what it should be; the message is one line with the next command."""


def find_manifests(root: Path) -> dict[str, Path]:
    """The manifest of each source; raises ValueError that names what is missing."""
    found = {}
    for source, names in MANIFESTS.items():
        paths = [root / name for name in names if (root / name).is_file()]
        if not paths:
            raise ValueError(
                f"{root}: no asset pack ({' or '.join(names)} is missing); build one with: snakemake renderer "
                f"(or python -m generation assets --out {root}), or mirror Kubric's: python -m generation mirror --help"
            )
        found[source] = paths[0]
    return found


def read_pack(root: Path) -> dict[str, Any]:
    """The content of pack.json; ValueError where it is missing, with the command that writes it."""
    find_manifests(root)
    try:
        content = json.loads((root / PACK).read_bytes())
    except FileNotFoundError:
        raise ValueError(
            f"{root / PACK}: missing; a pack of our own: python -m generation assets --out {root}; "
            f"a mirror of Kubric's bucket: python -m generation mirror --out {root}"
        ) from None
    except ValueError as error:
        raise ValueError(f"{root / PACK}: not JSON ({error}); write it again") from None
    if content.get("format") != PACK_FORMAT:
        raise ValueError(f"{root / PACK}: format {content.get('format')!r}, expected {PACK_FORMAT!r}; write it again")
    return content


def sha256_of_pack(root: Path) -> str:
    """What identifies the assets: the sha256 of their list of digests."""
    return hashlib.sha256(json.dumps(read_pack(root)["files"], sort_keys=True).encode()).hexdigest()


def check_archives(root: Path, used: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """Hold the archives of (source, asset id) pairs against pack.json; returns their rows for the clip's metadata.

    Raises BadAssetError that names the archive: missing, changed, no archive, or a light that is no HDRI.
    """
    manifests, listed = find_manifests(root), read_pack(root)["files"]
    rows = []
    for source, asset_id in sorted(set(used)):
        path = archive_path(manifests[source], asset_id)
        name = path.relative_to(root).as_posix()
        again = f"fetch it again: python -m generation mirror --out {root} --url URL"
        if not path.is_file():
            raise BadAssetError(f"{path}: the archive of asset {asset_id} is missing; {again}")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if listed.get(name) != digest:
            raise BadAssetError(f"{path}: not the archive that {PACK} lists (sha256 differs); {again}")
        if source == "hdri":
            check_light(path, read_assets(manifests[source])[asset_id])
        rows.append({"source": name.split("/")[0], "id": asset_id, "sha256": digest})
    return rows


def archive_path(manifest: Path, asset_id: str) -> Path:
    """Where the archive of an asset lies: beside its manifest."""
    return manifest.parent / f"{asset_id}.tar.gz"


def check_light(archive: Path, entry: dict[str, Any]) -> None:
    """Raise BadAssetError unless the picture inside the archive begins like an HDRI; Blender would render it pink."""
    name = entry["kwargs"]["filename"].removeprefix("{asset_dir}/")
    try:
        with tarfile.open(archive, "r:gz") as file:
            members = [member for member in file if member.isfile() and member.name.endswith(name)]
            start = file.extractfile(members[0]).read(16) if members else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadAssetError(f"{archive}: no archive ({error}); fetch it again") from None
    if not start.startswith(MAGIC):
        raise BadAssetError(f"{archive}: {name} in it is no HDRI (neither OpenEXR nor Radiance)")


def ids_of_split(assets: dict[str, Any], split: str) -> list[str]:
    """Sorted ids of a split: as the manifest says, else Kubric's own draw of a tenth for test (seed 42)."""
    names = sorted(assets)
    if any("split" in assets[name].get("metadata", {}) for name in names):
        return [name for name in names if assets[name]["metadata"].get("split", "train") == split]
    held_out = set(np.random.default_rng(42).choice(names, size=round(len(names) * 0.1), replace=False).tolist())
    return [name for name in names if (name in held_out) == (split == "test")]


def read_assets(manifest: Path) -> dict[str, Any]:
    """The entries of a manifest by id; ValueError for a file that is none."""
    try:
        return dict(json.loads(manifest.read_bytes())["assets"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{manifest}: no manifest of assets ({type(error).__name__}: {error})") from None
