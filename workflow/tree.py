"""A chain as a tree for people and as JSON for machines."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from workflow.chain import Link

FORMAT = "frameline-chain/1"
RED, PLAIN = "\033[31m", "\033[0m"
MOST_ALIKE = 1
"""So many files of one kind and made in one way are printed; the others are counted."""


def tell_tree(chain: dict[str, Link], *, colours: bool, shows_all: bool = False) -> Iterator[str]:
    """The lines of a chain as a tree, its first file at the root.

    A file that several were made from is printed once. Of many files that were made in one way (the shards of a data
    set) the first are printed, and every one that has changed or is gone, or has such a one behind it.
    """
    troubled = names_with_problems(chain)
    seen: set[str] = set()

    def lines(name: str, indent: str, branch: str, below: str) -> Iterator[str]:
        link = chain[name]
        title = f"{link.role} {name}  {link.sha256[:12]}"
        if name in seen and link.inputs:
            yield f"{indent}{branch}{title}  (above)"
            return
        seen.add(name)
        problem = f"  {link.problem.upper() if link.problem == 'gone' else link.problem}" if link.problem else ""
        red, plain = (RED, PLAIN) if colours and link.problem else ("", "")
        yield f"{indent}{branch}{red}{title}{problem}{plain}"
        inner = indent + below
        shown, left_out = _choose(link, chain, troubled, shows_all)
        stem = "|  " if shown else "   "
        yield from (f"{inner}{stem}{told}" for told in _tell_link(link))
        for number, child in enumerate(shown):
            is_last = number == len(shown) - 1 and not left_out
            yield from lines(child, inner, "`- " if is_last else "|- ", "   " if is_last else "|  ")
        for told in left_out:
            yield f"{inner}`- {told}"

    yield from lines(next(iter(chain)), "", "", "")


def _choose(link: Link, chain: dict[str, Link], troubled: set[str], shows_all: bool) -> tuple[list[str], list[str]]:
    """Which inputs are printed, and a line for those that are not."""
    if shows_all:
        return list(link.inputs), []
    alike: dict[tuple, list[str]] = defaultdict(list)
    for name in link.inputs:
        child = chain[name]
        facts = tuple(sorted((key, value) for key, value in child.facts.items() if key != "seeds"))
        alike[child.role, child.rule, facts].append(name)
    left_out = {
        name for names in alike.values() for name in names[MOST_ALIKE:] if chain[name].rule and name not in troubled
    }
    told = []
    for (role, _, _), names in alike.items():
        if missing := [name for name in names if name in left_out]:
            told.append(f"{len(missing)} more of {role}, unchanged and made in the same way (--all prints them)")
    return [name for name in link.inputs if name not in left_out], told


def names_with_problems(chain: dict[str, Link]) -> set[str]:
    """Files that have a problem, or a file behind them has one."""
    users: dict[str, list[str]] = defaultdict(list)
    for link in chain.values():
        for name in link.inputs:
            users[name].append(link.name)
    todo, found = [link.name for link in chain.values() if link.problem], set()
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += users[name]
    return found


def _tell_link(link: Link) -> Iterator[str]:
    facts = dict(link.facts)
    if recipe := link.details.get("recipe"):
        training = recipe.get("training", {})
        facts |= {"seed": str(training.get("seed", "?"))}
    facts |= {key: str(value) for key, value in link.details.items() if key != "recipe"}
    if facts:
        yield ", ".join(f"{key} {value}" for key, value in facts.items())
    if link.spent:
        yield ", ".join(f"{key} {value}" for key, value in link.spent.items())


def as_json(chain: dict[str, Link]) -> dict[str, Any]:
    """A chain as JSON: what decides its first file in short, then every link."""
    links = [
        {
            "name": link.name,
            "role": link.role,
            "rule": link.rule,
            "sha256": link.sha256,
            "facts": link.facts,
            "spent": link.spent,
            "details": link.details,
            "inputs": list(link.inputs),
            "problem": link.problem or None,
        }
        for link in chain.values()
    ]
    return {"format": FORMAT, "origin": origin_of(chain), "links": links}


def origin_of(chain: dict[str, Link]) -> dict[str, Any]:
    """What a number comes from in one flat row: recipe, indices, code, seed, device and processes.

    A training's values are those of the last one before the file; None where none is behind it.
    """
    first = next(iter(chain.values()))
    training = next((link for link in chain.values() if link.rule == "train_stage" and link.role == "weights"), None)
    if first.rule == "train_stage":
        training = first
    recipe = training.details.get("recipe", {}) if training else {}
    indices = {link.name: link.sha256 for link in chain.values() if link.role == "index"}
    seeds = {link.name: link.details.get("scene_seeds") for link in chain.values() if link.role == "index"}
    return {
        "file": first.name,
        "sha256": first.sha256,
        "weights_sha256": training.sha256 if training and training.role == "weights" else None,
        "recipe": training.facts.get("recipe") if training else None,
        "seed": recipe.get("training", {}).get("seed"),
        "world_size": int(training.facts["processes"]) if training and "processes" in training.facts else None,
        "device": training.spent.get("device") if training else first.spent.get("device"),
        "code": {link.rule: link.facts["source"] for link in chain.values() if "source" in link.facts},
        "commit": first.spent.get("commit"),
        "index_sha256": indices,
        "scene_seeds": seeds,
        "problems": sum(bool(link.problem) for link in chain.values()),
    }
