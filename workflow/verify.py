"""Hold every product against the configuration, the code and the files of today: `snakemake verify`.

Reads the provenance sidecars, not Snakemake's metadata, so that it sees what Snakemake cannot after those were lost.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

from trainer.config import NO_WEIGHTS, flat_keys
from workflow.plan import Plan
from workflow.provenance import FORMAT, sha256_of, sidecar_path
from workflow.steps import Step

MEANING = {"source": "the code behind it", "recipe": "its recipe", "overrides": "its overrides"}


def find_mismatches(plan: Plan) -> Iterator[str]:
    """One line for every product that is not what the graph would make today."""
    digest = cache(sha256_of)
    for step in plan.steps():
        outputs = [Path(output) for output in step.outputs]
        there = [output for output in outputs if output.exists()]
        for output in outputs:
            if output in there:
                yield from (f"{output}: {told}" for told in _differences(plan, step, output, digest))
            elif there:
                yield f"{output}: missing, though {there[0].name} of the same job is there"
    for known in plan.datasets.values():
        if known.sha256 and Path(known.path).is_file() and digest(Path(known.path)) != known.sha256:
            yield f"{known.path}: its sha256 is not the configured {known.sha256}"


def _differences(plan: Plan, step: Step, output: Path, digest) -> Iterator[str]:
    try:
        sidecar = json.loads(sidecar_path(output).read_bytes())
        if sidecar["format"] != FORMAT:
            raise ValueError
        recorded, inputs, sha256 = sidecar["facts"], sidecar["inputs"], sidecar["output_sha256"]
    except FileNotFoundError:
        yield f"has no provenance ({sidecar_path(output).name} is missing)"
        return
    except (ValueError, KeyError):
        yield f"its provenance is damaged ({sidecar_path(output).name})"
        return
    if digest(output) != sha256:
        yield "its content is not what the job wrote"
    facts = plan.facts(step.rule, step.wildcards)
    for key in sorted(facts.keys() | recorded.keys()):
        if facts.get(key) != recorded.get(key):
            what = MEANING.get(key, key)
            detail = _changed_keys(plan, step) if (step.rule, key) == ("train_stage", "recipe") else ""
            yield f"{what} was {recorded.get(key)} when it was made and is {facts.get(key)} now{detail}"
    for name, recorded_sha256 in inputs.items():
        path = Path(name)
        if path.exists() and digest(path) != recorded_sha256:
            yield f"its input {name} has changed since"


def _changed_keys(plan: Plan, step: Step) -> str:
    """Which keys of a training's recipe differ from the recipe.yaml beside its weights."""
    try:
        old = yaml.safe_load(Path(f"results/{step.wildcards['stage']}/recipe.yaml").read_text())
        new = plan.recipes[step.wildcards["stage"]]
        keys = (key for key in {*flat_keys(old), *flat_keys(new)} if key.split(".")[0] not in NO_WEIGHTS)
        rows = {key: (_leaf(old, key), _leaf(new, key)) for key in keys}
    except (OSError, AttributeError, yaml.YAMLError):
        return ""
    changed = [f"{key}: {a} -> {b}" for key, (a, b) in sorted(rows.items()) if a != b]
    return f" ({', '.join(changed)})" if changed else ""


def _leaf(values, dotted: str):
    for key in dotted.split("."):
        values = values.get(key) if isinstance(values, dict) else None
    return values


def main(arguments: list[str]) -> int:
    """Command line; returns 0 when all is as it should be, 1 when something is not, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow.verify",
        description="Name every product that does not match the configuration, the code and its inputs of today.",
    )
    parser.add_argument("--config", required=True, help="the whole configuration as JSON (`snakemake verify` gives it)")
    options = parser.parse_args(arguments)
    try:
        plan = Plan(json.loads(options.config))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    mismatches = list(find_mismatches(plan))
    for mismatch in mismatches:
        print(f"mismatch: {mismatch}")
    products = [output for step in plan.steps() for output in step.outputs]
    made = sum(Path(output).exists() for output in products)
    told = f"{made} of {len(products)} products are there"
    if mismatches:
        print(f"{told}, {len(mismatches)} mismatches; make one anew with: snakemake --force FILE")
        return 1
    print(f"{told}, all as the configuration, the code and their inputs make them")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
