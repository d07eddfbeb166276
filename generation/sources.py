"""The three asset sources of a scene (objects, lights, ground): the open pack, or a mirror of Kubric's manifests."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

MANIFESTS = {
    "objects": ("objects/objects.json", "GSO/GSO.json"),
    "hdri": ("hdri/hdri.json", "HDRI_haven/HDRI_haven.json"),
    "basic": ("basic/basic.json", "KuBasic/KuBasic.json"),
}
"""Per source: its manifest in the open pack, and in a mirror of Kubric's bucket."""


def find_manifests(root: Path) -> dict[str, Path]:
    """The manifest of each source; raises ValueError that names what is missing."""
    found = {}
    for source, names in MANIFESTS.items():
        paths = [root / name for name in names if (root / name).is_file()]
        if not paths:
            raise ValueError(
                f"{root}: no asset pack ({' or '.join(names)} is missing); build one with: snakemake assets "
                f"(or python -m generation assets --out {root})"
            )
        found[source] = paths[0]
    return found


def sha256_of_pack(root: Path) -> str:
    """What identifies the assets: the open pack's list of digests, or the manifests of a mirror."""
    manifests = find_manifests(root)
    listed = list(manifests.values())
    if manifests["basic"] == root / MANIFESTS["basic"][0]:
        listed = [root / "pack.json"]
        if not listed[0].is_file():
            raise ValueError(f"{listed[0]}: missing; build the pack again: python -m generation assets --out {root}")
    return hashlib.sha256(b"".join(path.read_bytes() for path in listed)).hexdigest()


def ids_of_split(assets: dict[str, Any], split: str) -> list[str]:
    """Sorted ids of a split: as the manifest says, else Kubric's own draw of a tenth for test (seed 42)."""
    names = sorted(assets)
    if any("split" in assets[name].get("metadata", {}) for name in names):
        return [name for name in names if assets[name]["metadata"].get("split", "train") == split]
    held_out = set(np.random.default_rng(42).choice(names, size=round(len(names) * 0.1), replace=False).tolist())
    return [name for name in names if (name in held_out) == (split == "test")]


def read_assets(manifest: Path) -> dict[str, Any]:
    """The entries of a manifest by id."""
    return json.loads(manifest.read_bytes())["assets"]
