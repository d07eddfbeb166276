"""Where the chains of two files first differ: file by file, fact by fact, from the scene seeds on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trainer.config import flat_keys
from workflow.chain import Link

CAUSE, CONSEQUENCE, SAME_CONTENT = "cause", "consequence", "same content"
"""What a difference is: the first on its way from the scenes, one that has such a one behind it, or facts alone."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two files of equal place in two chains that differ, in content or in how they were made."""

    one: Link | None
    other: Link | None
    facts: tuple[str, ...]
    """Facts that differ, as `key: one -> other`."""
    kind: str

    @property
    def name(self) -> str:
        """What to call the pair."""
        names = [link.name for link in (self.one, self.other) if link]
        return names[0] if len(set(names)) == 1 else " | ".join(names)


def compare_chains(one: dict[str, Link], other: dict[str, Link]) -> tuple[list[Difference], int]:
    """The differences of two chains, causes before consequences, and the number of files that are equal.

    The first files are held against each other, then their inputs, by name; inputs of other names by their role.
    """
    differing: set[tuple[str, str]] = set()
    found, num_equal = [], 0
    for pair in _pairs(one, other):  # what something was made from comes first
        a, b = one.get(pair[0]), other.get(pair[1])
        facts = tuple(_differing_facts(a, b)) if a and b else ()
        if a and b and a.sha256 == b.sha256:
            kind = SAME_CONTENT
        else:
            behind = _pair_inputs(a, b, one, other) if a and b else ()
            kind = CONSEQUENCE if any(inner in differing for inner in behind) else CAUSE
            differing.add(pair)
        if kind == SAME_CONTENT and not facts:
            num_equal += 1
        else:
            found.append(Difference(one=a, other=b, facts=facts, kind=kind))
    order = [CAUSE, CONSEQUENCE, SAME_CONTENT]
    found.sort(key=lambda difference: order.index(difference.kind))
    return found, num_equal


def _pairs(one: dict[str, Link], other: dict[str, Link]) -> list[tuple[str, str]]:
    """Names of the files of equal place, each once and after all that it was made from."""
    order: list[tuple[str, str]] = []
    seen: set[tuple[str, str]] = set()

    def visit(pair: tuple[str, str]) -> None:
        if pair in seen:
            return
        seen.add(pair)
        a, b = one.get(pair[0]), other.get(pair[1])
        for inner in _pair_inputs(a, b, one, other) if a and b else ():
            visit(inner)
        order.append(pair)

    visit((next(iter(one)), next(iter(other))))
    return order


def _pair_inputs(a: Link, b: Link, one: dict[str, Link], other: dict[str, Link]) -> Iterator[tuple[str, str]]:
    """Inputs of two files side by side; "" where one has no counterpart."""
    common = [name for name in a.inputs if name in b.inputs]
    yield from ((name, name) for name in common)
    left = sorted((one[name].role, name) for name in a.inputs if name not in common)
    right = sorted((other[name].role, name) for name in b.inputs if name not in common)
    for role in sorted({role for role, _ in [*left, *right]}):
        names = [[name for found, name in side if found == role] for side in (left, right)]
        for place in range(max(map(len, names))):
            yield tuple(side[place] if place < len(side) else "" for side in names)


def _differing_facts(a: Link, b: Link) -> Iterator[str]:
    for key in sorted(a.facts.keys() | b.facts.keys()):
        if a.facts.get(key) != b.facts.get(key):
            yield f"{key}: {_word(a.facts.get(key))} -> {_word(b.facts.get(key))}"
    yield from _differing_keys(a.details.get("recipe"), b.details.get("recipe"))
    if a.details.get("scene_seeds") != b.details.get("scene_seeds"):
        yield f"scene seeds: {_word(a.details.get('scene_seeds'))} -> {_word(b.details.get('scene_seeds'))}"


def _differing_keys(a: dict[str, Any] | None, b: dict[str, Any] | None) -> Iterator[str]:
    """Keys of two recipes that differ, where both are known."""
    if a and b:
        flat = [{key: _leaf(recipe, key) for key in flat_keys(recipe)} for recipe in (a, b)]
        for key in sorted(flat[0].keys() | flat[1].keys()):
            if flat[0].get(key) != flat[1].get(key):
                yield f"recipe {key}: {_word(flat[0].get(key))} -> {_word(flat[1].get(key))}"


def _leaf(values: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        values = values[key]
    return values


def _word(value: Any) -> str:
    return "nothing" if value is None else str(value)


TITLES = {
    CAUSE: "first differences, from the scenes on:",
    CONSEQUENCE: "what follows from them:",
    SAME_CONTENT: "made otherwise, with the same content:",
}


def tell_comparison(differences: list[Difference], num_equal: int, *, most: int = 10) -> Iterator[str]:
    """The lines of a comparison: causes with their facts, what follows from them, and what differs in facts alone.

    Files with the same lines, such as the shards of a data set, share them.
    """
    if not differences:
        yield f"equal: {num_equal} files and all that decided them"
        return
    for kind, title in TITLES.items():
        alike: dict[tuple[str, ...], list[str]] = {}
        for difference in differences:
            if difference.kind == kind:
                alike.setdefault(tuple(_tell_difference(difference)), []).append(difference.name)
        if alike:
            yield title
        for told, names in list(alike.items())[:most]:
            yield f"  {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
            yield from (f"    {line}" for line in told)
        if len(alike) > most:
            yield f"  and {sum(map(len, list(alike.values())[most:]))} more (--json lists all)"
    yield f"equal: {num_equal} files"


def _tell_difference(difference: Difference) -> Iterator[str]:
    a, b = difference.one, difference.other
    if a is None or b is None:
        yield "only in the second" if a is None else "only in the first"
        return
    yield from difference.facts
    if a.sha256 != b.sha256:
        yield f"content: {a.sha256[:12]} -> {b.sha256[:12]}"
        if not difference.facts and difference.kind == CAUSE:
            devices = [link.spent.get("device", "an unknown device") for link in (a, b)]
            where = "on other devices: " if devices[0] != devices[1] else "both on "
            yield f"made in the same way from the same files, {where}{' | '.join(dict.fromkeys(devices))}"


def comparison_as_json(differences: list[Difference], num_equal: int) -> dict[str, Any]:
    """A comparison for machines."""
    rows = [
        {
            "one": difference.one and difference.one.name,
            "other": difference.other and difference.other.name,
            "sha256": [link and link.sha256 for link in (difference.one, difference.other)],
            "facts": list(difference.facts),
            "kind": difference.kind,
        }
        for difference in differences
    ]
    return {"format": "frameline-comparison/1", "equal_files": num_equal, "differences": rows}
