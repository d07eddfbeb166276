"""The chain behind a file of the graph: from a score back to the seeds of its scenes, read from the sidecars.

Names are relative to the folder that Snakemake ran in, as the sidecars have them: chains of two clones compare.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow.provenance import FORMAT, is_made_here, sha256_of, sidecar_path

ROLES = {
    "score": "score",
    "table": "table",
    "report_page": "report",
    "predict": "predictions",
    "baseline": "predictions",
    "adopt": "predictions",
    "index": "index",
    "link": "index",
    "pack": "shard",
    "draw_people": "shard",
    "panoramas": "backgrounds",
    "body": "body",
    "body_packages": "packages",
    "predict_people": "predictions",
    "people_constant": "predictions",
    "score_people": "score",
    "draw_overlay": "pictures",
    "people_table": "table",
    "blade_page": "report",
    "predict_drives": "predictions",
    "drives_copy": "predictions",
    "score_drives": "score",
    "draw_drives": "pictures",
    "drives_table": "table",
    "vista_page": "report",
    "encode_latents": "latents",
    "annotate_shard": "tracks",
    "render_shard": "scenes",
    "render_assets": "assets",
    "mirror_assets": "assets",
    "render_environment": "renderer",
    "fetch": "download",
    "deepspeed_op": "op",
}
"""What a rule's outputs are called; those of train_stage have their own names."""
OF_TRAINING = {"weights.safetensors": "weights", "untrained.safetensors": "weights", "metrics.jsonl": "curves"}
NO_SIDECAR = "nothing beside it says how it was made"
LONGEST_HEADER = 1 << 26
"""A safetensors header of more bytes is none."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One file of a chain: what it is, how it was made, from what, and what is wrong with it today."""

    name: str
    role: str
    rule: str
    sha256: str
    """As its job wrote it; of a file without provenance as its user read it."""
    facts: dict[str, str]
    """What decides it apart from its inputs."""
    spent: dict[str, str] = field(default_factory=dict)
    """Where and when it was made: decides nothing, and explains other rounding."""
    details: dict[str, Any] = field(default_factory=dict)
    """What the file itself says of seeds, clips and recipe."""
    inputs: tuple[str, ...] = ()
    """Names of the links that it was made from."""
    problem: str = ""


def find_root(path: Path) -> Path:
    """The folder that Snakemake ran in to make a file: the one in which the file's inputs lie, or their places."""
    path = path.absolute()
    inputs = _read_sidecar(path)[0].get("inputs", {})
    for folder in path.parents:
        if any((folder / name).exists() for name in inputs):
            return folder
    tops = [folder.parent for folder in path.parents if folder.name in ("results", "data")]
    return tops[-1] if tops else Path.cwd()


def read_chain(path: Path, root: Path | None = None, *, reads_shards: bool = False) -> dict[str, Link]:
    """All files behind a file, by name and itself first; each comes before what it was made from.

    Shards' tars and depth stores are links too: that they are there is looked at, their bytes only with `reads_shards`.
    Raises ValueError where there is neither the file nor its sidecar.
    """
    path = Path(path)
    root = find_root(path) if root is None else root.absolute()
    if not path.exists() and not sidecar_path(path).exists():
        raise ValueError(f"{path}: not there, nor is {sidecar_path(path).name}; name a file that the graph made")
    if not path.absolute().is_relative_to(root):
        raise ValueError(f"{path}: is not inside of {root}; name another --root")
    chain: dict[str, Link] = {}
    todo: list[tuple[str, str, str]] = [(path.absolute().relative_to(root).as_posix(), "", "")]  # name, sha256, user
    while todo:
        name, recorded, user = todo.pop()
        if name in chain:
            continue
        link, inputs = _read_link(root, name, recorded, user)
        chain[name] = link
        if link.role == "shard":
            chain |= {part.name: part for part in _parts_of_shard(root, link, reads_shards)}
        todo += [(inner, sha256, name) for inner, sha256 in reversed(inputs.items())]
    return chain


def _read_link(root: Path, name: str, recorded: str, user: str) -> tuple[Link, dict[str, str]]:
    path = root / name
    sidecar, problem = _read_sidecar(path)
    if problem == NO_SIDECAR and not is_made_here(name):
        problem = ""  # given, not made
    inputs = dict(sorted(sidecar.get("inputs", {}).items(), key=lambda item: item[0].endswith("index.json")))
    written = sidecar.get("output_sha256", "")
    now = sha256_of(path) if path.exists() else ""
    if not now:
        problem = "gone"
    elif written and now != written:
        problem = f"changed since it was made (now {now[:12]})"
    elif recorded and now != recorded:
        problem = f"changed since {user} was made from it (then {recorded[:12]})"
    rule = sidecar.get("rule", "")
    link = Link(
        name=name,
        role=_role(rule, path),
        rule=rule,
        sha256=written or recorded or now,
        facts=sidecar.get("facts", {}) | ({"python": sidecar["python"]} if "python" in sidecar else {}),
        spent=_tell_spent(sidecar.get("spent", {})),
        details=_details(path, rule) if now else {},
        inputs=(*inputs, *_names_of_parts(path, name, rule)),
        problem=problem,
    )
    return link, inputs


def _role(rule: str, path: Path) -> str:
    if rule == "train_stage":
        return OF_TRAINING.get(path.name, "recipe")
    return ROLES.get(rule, "file")


def _read_sidecar(path: Path) -> tuple[dict[str, Any], str]:
    """The sidecar of a file, and what is wrong with it."""
    sidecar = sidecar_path(path)
    try:
        content = json.loads(sidecar.read_bytes())
        if content["format"] != FORMAT or not isinstance(content["inputs"], dict):
            raise ValueError
    except FileNotFoundError:
        return {}, NO_SIDECAR
    except (ValueError, KeyError, TypeError):
        return {}, f"its provenance is damaged ({sidecar.name})"
    return content, ""


def _tell_spent(spent: dict[str, Any]) -> dict[str, str]:
    told = {key: str(spent[key]) for key in ("commit", "finished", "seconds") if key in spent}
    if "cores" in spent and "cpu" in spent:
        gpus = spent.get("gpus", [])
        told["device"] = ", ".join(gpus) if gpus else f"{spent['cores']} cores of {spent['cpu']}"
    return told


def _details(path: Path, rule: str) -> dict[str, Any]:
    """What a file says of itself; nothing where it cannot be read, which its sha256 tells anyway."""
    try:
        if rule == "train_stage" and path.suffix == ".safetensors":
            return {"recipe": _recipe_inside(path)}
        if ROLES.get(rule) in ("shard", "index") and path.suffix == ".json":
            return _tell_clips(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        pass
    return {}


def _recipe_inside(path: Path) -> dict[str, Any]:
    """The recipe in the header of a safetensors file: 8 bytes of length, then JSON."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if length > LONGEST_HEADER:
            raise ValueError(length)
        header = json.loads(file.read(length))
    return json.loads(header["__metadata__"]["frameline"])["recipe"]


def _tell_clips(content: dict[str, Any]) -> dict[str, Any]:
    shards = content.get("shards", [content])
    clips = [clip for shard in shards for clip in shard["clips"]]
    seeds = [clip["seed"] for clip in clips if clip.get("seed") is not None]
    return {"num_clips": len(clips)} | ({"scene_seeds": tell_ranges(seeds)} if seeds else {})


def tell_ranges(numbers: list[int]) -> str:
    """Whole numbers as half-open ranges, as the configuration has seeds: [0, 1, 2, 5] -> "0:3 5:6"."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1]:
            ranges[-1][1] = number + 1
        else:
            ranges.append([number, number + 1])
    return " ".join(f"{first}:{end}" for first, end in ranges)


def _names_of_parts(path: Path, name: str, rule: str) -> list[str]:
    if ROLES.get(rule) != "shard" or path.suffix != ".json" or not path.exists():
        return []
    return [part for part, _, _ in _recorded_parts(path, name)]


def _recorded_parts(path: Path, name: str) -> Iterator[tuple[str, str, int | None]]:
    """Name, sha256 and bytes (of a tar) of what a shard's JSON lists."""
    try:
        content = json.loads(path.read_bytes())
        folder = Path(name).parent
        yield (folder / content["tar"]).as_posix(), content["sha256"], content["bytes"]
        if content["depth"]:
            yield (folder / content["depth"]).as_posix(), content["depth_sha256"], None
    except (ValueError, KeyError, TypeError):
        return


def _parts_of_shard(root: Path, shard: Link, reads_shards: bool) -> Iterator[Link]:
    """The tar and the depth store of a shard as links."""
    path = root / shard.name
    for name, sha256, num_bytes in _recorded_parts(path, shard.name) if path.exists() else ():
        part, problem = root / name, ""
        if not part.exists():
            problem = "gone"
        elif num_bytes is not None and part.stat().st_size != num_bytes:
            problem = f"has {part.stat().st_size} bytes instead of {num_bytes}"
        elif reads_shards and (now := sha256_of(part)) != sha256:
            problem = f"changed since it was made (now {now[:12]})"
        role = "frames" if num_bytes is not None else "depth"
        yield Link(name=name, role=role, rule=shard.rule, sha256=sha256, facts={}, problem=problem)
