"""What a run of Snakemake ends with: where to look now, and the next command."""

from workflow.plan import Plan

REPORT = "results/report.html"


def closing_words(plan: Plan) -> str:
    """What is there to look at, and the next command, a line each."""
    lines = []
    for stage in plan.stages:
        file, curves = f"results/{stage}/weights.safetensors", f"results/{stage}/curves.png"
        if plan.is_there(file) and plan.is_there(curves):
            lines.append(f"{stage}: weights in {file}, curves in {curves}")
    tables = {b: t for b in plan.benchmarks if _is_newer(plan, t := f"results/{b}/table.md", _weights_of(plan, b))}
    pages = _pages(plan, tables)
    lines += [f"table in {table}" for table in tables.values()]
    lines += [f"report in {page}" for page in pages]
    of_trackers = any(benchmark.name in tables for benchmark in plan.tracking_benchmarks)
    wants_report = REPORT not in pages and (of_trackers or not pages)
    following = ["train"] if not lines else ["evaluate"] if not tables else ["report"] if wants_report else []
    return "\n".join([*lines, *(f"next: snakemake {target}" for target in following)])


def _weights_of(plan: Plan, benchmark: str) -> list[str]:
    """The weights of the stages that a benchmark's tables have rows of."""
    return [f"results/{row}/weights.safetensors" for row in plan.rows(benchmark) if row in plan.stages]


def _pages(plan: Plan, tables: dict[str, str]) -> list[str]:
    """The reports that are newer than the tables in them: of everything, of people alone, of driving worlds alone."""
    contents = {
        REPORT: list(tables),
        "results/blade.html": [name for name in tables if name in plan.people.benchmarks],
        "results/vista.html": [name for name in tables if name in plan.driving.benchmarks],
    }
    return [
        page for page, names in contents.items() if names and _is_newer(plan, page, [tables[name] for name in names])
    ]


def _is_newer(plan: Plan, path: str, others: list[str]) -> bool:
    """Whether a file is there, and was made after all the others."""
    if not all(map(plan.is_there, [path, *others])):
        return False
    times = [(plan.root / each).stat().st_mtime_ns for each in [path, *others]]
    return times[0] == max(times)
