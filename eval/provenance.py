"""Where the numbers of a report come from: digests of its inputs and the `<file>.prov.json` that lie beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from shards.files import sha256_of


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One input of the report: its name, sha256, and the flattened rows of its provenance sidecar, if there is one.

    `anchor` is its place on the page.
    """

    name: str
    anchor: str
    sha256: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One file on the way to a number: what it is, its name and sha256 now, facts to show, and what is wrong."""

    role: str
    name: str
    sha256: str
    facts: tuple[tuple[str, str], ...]
    warning: str = ""


FORMAT = "frameline-provenance/1"
ROLES = {
    "score": "score",
    "predict": "predictions",
    "baseline": "predictions",
    "adopt": "predictions",
    "score_people": "score",
    "score_drives": "score",
    "drives_copy": "predictions",
    "predict_people": "predictions",
    "predict_drives": "predictions",
    "people_constant": "predictions",
    "encode_latents": "latents",
    "train_stage": "weights",
}
ROLES_BY_SUFFIX = {".json": "score", ".npz": "predictions", ".safetensors": "weights"}
SHOWN_FACTS = {"recipe": "recipe", "processes": "processes", "source": "code", "torch": "torch", "numpy": "numpy"}


class Provenance:
    """Reads files' digests and sidecars, each once."""

    def __init__(self) -> None:
        self._digests: dict[Path, str] = {}
        self._described: dict[Path, InputFile] = {}

    @property
    def described(self) -> list[InputFile]:
        """All files that were described, in the order in which they came."""
        return list(self._described.values())

    def describe(self, paths: Iterable[str | Path]) -> list[InputFile]:
        """Describe each file once, in the given order; raises ValueError for a sidecar that is not json."""
        return [self.describe_as(path, file_name(path)) for path in dict.fromkeys(map(Path, paths))]

    def describe_as(self, path: Path, name: str) -> InputFile:
        """Describe one file under a name, unless it was described before."""
        if path not in self._described:
            self._described[path] = InputFile(
                name=name,
                anchor=f"file-{len(self._described) + 1}",
                sha256=self.sha256(path),
                facts=tuple(_flatten(read_sidecar(path))),
            )
        return self._described[path]

    def sha256(self, path: str | Path) -> str:
        """The digest of a file or folder as it is now."""
        path = Path(path)
        if path not in self._digests:
            self._digests[path] = sha256_of(path)
        return self._digests[path]

    def trace(self, path: str | Path, facts: Sequence[tuple[str, str]] = ()) -> list[Step]:
        """The files on the way to this one, itself (with `facts`) first: a score's predictions, weights, clips.

        What is not there any more, or is not what was recorded, is a step with a warning. Shards are not followed:
        an index holds their digests and the seeds of their scenes.
        """
        steps: dict[Path, Step] = {}
        self._follow(Path(path), None, "", steps)
        first, *others = steps.values()
        return [replace(first, facts=(*facts, *first.facts)), *others]

    def _follow(self, path: Path, recorded: str | None, user: str, steps: dict[Path, Step]) -> None:
        if path in steps:
            return
        sidecar = read_record(path)
        is_there = path.exists()
        sha256 = self.sha256(path) if is_there else recorded or ""
        expected = recorded or sidecar.get("output_sha256")
        warning = "" if is_there else "not here any more"
        if is_there and expected and expected != sha256:
            warning = f"changed since it was used (then {expected[:12]})"
        elif not sidecar:
            warning = warning or "nothing beside it says how it was made"
        is_index = path.name == "index.json"
        rule = sidecar.get("rule", "")
        role = ROLES.get(rule, ROLES_BY_SUFFIX.get(path.suffix, "file"))
        if is_index:
            role = "training clips" if user == "train_stage" else "truth"
        facts = [*(_tell_scenes(path) if is_index and is_there else []), *_tell_making(sidecar)]
        steps[path] = Step(role=role, name=file_name(path), sha256=sha256, facts=tuple(facts), warning=warning)
        if not is_index:
            inputs = sidecar.get("inputs", {})
            for inner in sorted(inputs, key=lambda name: name.endswith("index.json")):
                self._follow(_resolve(path, inner), inputs[inner], rule, steps)


def file_name(path: str | Path) -> str:
    """A file's name on a page: as it was given, or the last of an absolute path, which would name the machine."""
    path = Path(path)
    # The last two folders tell trackers and stages apart.
    return "/".join(path.parts[-3:]).lstrip("/") if path.is_absolute() or ".." in path.parts else path.as_posix()


def read_sidecar(path: str | Path) -> dict[str, Any]:
    """The provenance beside a file, empty where there is none; raises ValueError when it is not a json object."""
    path = Path(path)
    sidecar = path.with_name(f"{path.name}.prov.json")
    if not sidecar.exists():
        return {}
    try:
        content = json.loads(sidecar.read_bytes())
    except ValueError as error:
        raise ValueError(f"{sidecar}: not valid json ({error}); make {path} again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{sidecar}: not a json object; make {path} again")
    return content


def read_record(path: str | Path) -> dict[str, Any]:
    """The provenance that our graph wrote beside a file, empty where there is none or it is someone else's."""
    sidecar = read_sidecar(path)
    return sidecar if sidecar.get("format") == FORMAT else {}


def _resolve(made: Path, name: str) -> Path:
    """Where an input lies: sidecars name it from the folder that Snakemake ran in, which is above the file made."""
    folders = made.absolute().parents
    found = next((folder / name for folder in folders if (folder / name).exists()), Path(name))
    return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found


def _tell_making(sidecar: dict[str, Any]) -> Iterator[tuple[str, str]]:
    facts = sidecar.get("facts", {})
    for key, title in SHOWN_FACTS.items():
        if key in facts:
            yield title, str(facts[key])
    if not sidecar:
        return
    if spent := sidecar.get("spent"):
        yield "device", tell_device(spent)
        yield "time", f"{tell_seconds(spent['seconds'])}, finished {spent['finished'].replace('+00:00', ' UTC')}"
    else:
        yield "device", "not recorded"


def _tell_scenes(path: Path) -> Iterator[tuple[str, str]]:
    """What an index says of its clips: data set, number, and the seeds of their scenes where they were rendered."""
    index = json.loads(path.read_bytes())
    clips = [clip for shard in index.get("shards", []) for clip in shard.get("clips", [])]
    yield "data set", f"{index.get('dataset', '?')}, {len(clips):,} clips"
    seeds = [clip["seed"] for clip in clips if clip.get("seed") is not None]
    if seeds:
        yield "scene seeds", tell_ranges(seeds)
    shards = index.get("shards", [])
    if shards and "sha256" in shards[0]:
        more = f" and {len(shards) - 1:,} more" if len(shards) > 1 else ""
        yield "shards (sha256)", f"{shards[0]['sha256'][:12]}{more}, in the index"


def tell_ranges(numbers: Sequence[int], most: int = 6) -> str:
    """Whole numbers as ranges: [0, 1, 2, 5] -> "0-2, 5"; of more than `most` ranges how many there are besides."""
    ranges: list[list[int]] = []
    for number in sorted(set(numbers)):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    told = [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
    return ", ".join(told[:most]) + (f" and {len(told) - most:,} more ranges" if len(told) > most else "")


def tell_device(spent: dict[str, Any]) -> str:
    """The machine of a job: its GPUs where it could use some, else its CPU."""
    gpus = spent.get("gpus", [])
    if gpus:
        return ", ".join(f"{gpus.count(name)} x {name}" for name in dict.fromkeys(gpus)) + f" ({spent['cpu']})"
    return f"{spent['cores']} cores of {spent['cpu']}, no GPU"


def tell_seconds(seconds: float) -> str:
    """A duration for people: 0.4 s, 12 s, 8 min 56 s, 3 h 5 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours:
        return f"{hours} h {left} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) for each leaf of nested json; nothing for an empty object at the top."""
    if isinstance(value, dict) and (value or not name):
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{name}[{index}]")
    else:
        yield name or "value", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
