"""Where the numbers of a report come from: digests of its inputs and the `<file>.prov.json` that lie beside them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from shards.files import sha256_of


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One input of the report: its name, sha256, and the flattened rows of its provenance sidecar, if there is one."""

    name: str
    sha256: str
    facts: tuple[tuple[str, str], ...]


def describe_inputs(paths: Iterable[str | Path]) -> list[InputFile]:
    """Describe each file once, in the given order; raises ValueError for a sidecar that is not json."""
    return [_describe(path) for path in dict.fromkeys(map(Path, paths))]


def _describe(path: Path) -> InputFile:
    sidecar = path.with_name(f"{path.name}.prov.json")
    facts: tuple[tuple[str, str], ...] = ()
    if sidecar.exists():
        try:
            facts = tuple(_flatten(json.loads(sidecar.read_bytes())))
        except ValueError as error:
            raise ValueError(f"{sidecar}: not valid json ({error}); make {path} again") from error
    # The last two folders tell trackers and stages apart; more would name the machine.
    return InputFile(name="/".join(path.parts[-3:]).lstrip("/"), sha256=sha256_of(path), facts=facts)


def _flatten(value: object, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) for each leaf of nested json."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, dict | list) for inner in value):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{name}[{index}]")
    else:
        yield name or "value", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
