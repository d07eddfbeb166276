"""What a run of Snakemake ends with: where to look now, and the next command."""

from workflow.plan import Plan


def closing_words(plan: Plan) -> str:
    """What is there to look at, and the next command, a line each."""
    lines = []
    for stage in plan.stages:
        file, curves = f"results/{stage}/weights.safetensors", f"results/{stage}/curves.png"
        if plan.is_there(file) and plan.is_there(curves):
            lines.append(f"{stage}: weights in {file}, curves in {curves}")
    weights = [f"results/{stage}/weights.safetensors" for stage in plan.stages]
    tables = [t for t in (f"results/{b}/table.md" for b in plan.benchmarks) if _is_newer(plan, t, weights)]
    reports = ["results/report.html"] if tables and _is_newer(plan, "results/report.html", tables) else []
    lines += [f"table in {table}" for table in tables]
    lines += [f"report in {report}" for report in reports]
    following = [] if reports else ["report"] if tables else ["evaluate"] if lines else ["train"]
    return "\n".join([*lines, *(f"next: snakemake {target}" for target in following)])


def _is_newer(plan: Plan, path: str, others: list[str]) -> bool:
    """Whether a file is there, and was made after all the others."""
    if not all(map(plan.is_there, [path, *others])):
        return False
    times = [(plan.root / each).stat().st_mtime_ns for each in [path, *others]]
    return times[0] == max(times)
