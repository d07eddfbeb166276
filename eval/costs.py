"""What a graph has cost, stage by stage: time, CPU, GPU, memory and disk, from what its jobs left in its folder."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eval.provenance import read_record

BENCHMARKS = "logs/benchmarks"
GPU_RULES = ("train_stage", "predict", "predict_people", "predict_drives", "encode_latents")
"""Rules whose jobs take GPUs where there are some; the others leave them alone."""
STORED = ("data/*/*", "results/*", "runs/*")
"""Folders whose size is told, and what they hold."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """One row: the jobs of a rule for one data set, stage or benchmark.

    Hours are sums over jobs. `is_exact` says whether the system counted the CPU time (in the sidecars of provenance);
    what Snakemake samples is a lower bound. `gpu_hours` is None where no sidecar says which GPUs there were.
    """

    rule: str
    subject: str
    num_jobs: int
    hours: float
    cpu_hours: float
    is_exact: bool
    gpu_hours: float | None
    memory_mb: float


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A folder of the graph and what lies in it."""

    folder: str
    num_files: int
    num_bytes: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The rows of the page, the disk that is taken, and the files that the rows were made from."""

    rows: list[Cost]
    stored: list[Stored]
    files: list[Path]

    @property
    def total(self) -> Cost:
        """The sum of all rows."""
        gpu_hours = [row.gpu_hours for row in self.rows if row.gpu_hours is not None]
        return Cost(
            rule="all",
            subject="",
            num_jobs=sum(row.num_jobs for row in self.rows),
            hours=math.fsum(row.hours for row in self.rows),
            cpu_hours=math.fsum(row.cpu_hours for row in self.rows),
            is_exact=all(row.is_exact for row in self.rows),
            gpu_hours=math.fsum(gpu_hours) if gpu_hours else None,
            memory_mb=max((row.memory_mb for row in self.rows), default=0.0),
        )

    @property
    def num_bytes(self) -> int:
        """Bytes of all the folders."""
        return sum(folder.num_bytes for folder in self.stored)


def read_costs(root: str | Path) -> Costs:
    """Read the costs of the graph that ran in the folder `root`: its logs/benchmarks, sidecars and folders.

    There are no rows where no benchmark is. Raises ValueError for a file that is none, or no provenance.
    """
    root = Path(root)
    groups: dict[tuple[str, str], list[Path]] = {}
    for path in sorted((root / BENCHMARKS).rglob("*.tsv")):
        parts = path.relative_to(root / BENCHMARKS).with_suffix("").parts
        groups.setdefault((parts[0], parts[1] if len(parts) > 1 else ""), []).append(path)
    sidecars = _read_sidecars(root)
    rows, files = [], []
    for (rule, subject), paths in groups.items():
        jobs = {
            str(path): sidecar
            for path, sidecar in sidecars.items()
            if sidecar.get("rule", "").startswith(rule) and (not subject or path.parent.name == subject)
        }
        rows.append(_make_row(rule, subject, paths, list(jobs.values())))
        files += paths
    return Costs(rows=sorted(rows, key=lambda row: -row.hours), stored=list(_measure_folders(root)), files=files)


def _read_sidecars(root: Path) -> dict[Path, dict]:
    """The sidecars of what the graph declares, by the file that they lie beside."""
    found = [
        sidecar
        for pattern in ("data/*/*.prov.json", "data/*/*/*.prov.json", "results/*.prov.json", "results/*/*.prov.json")
        for sidecar in sorted(root.glob(pattern))
    ]
    outputs = [path.with_name(path.name.removesuffix(".prov.json")) for path in found]
    return {output: read_record(output) for output in outputs}


def _make_row(rule: str, subject: str, paths: list[Path], sidecars: list[dict]) -> Cost:
    measured = [_read_benchmark(path) for path in paths]
    # A job with several outputs wrote the same words beside each.
    spent = {sidecar["command"]: sidecar for sidecar in sidecars if "spent" in sidecar}
    # A sidecar of an earlier job has no such words; half of a sum is no sum.
    is_exact = len(spent) == len(measured) and all("spent" in sidecar for sidecar in sidecars)
    cpu_seconds = (each["spent"]["cpu_seconds"] for each in spent.values())
    return Cost(
        rule=rule,
        subject=subject,
        num_jobs=len(measured),
        hours=_sum(each["s"] for each in measured) / 3600,
        cpu_hours=_sum(cpu_seconds if is_exact else (each["cpu_time"] for each in measured)) / 3600,
        is_exact=is_exact,
        gpu_hours=_sum(map(_gpu_seconds, spent.values())) / 3600 if is_exact else None,
        memory_mb=max((each["max_rss"] for each in measured if math.isfinite(each["max_rss"])), default=0.0),
    )


def _gpu_seconds(sidecar: dict) -> float:
    """Time of a job that runs a model, times the GPUs that it took: one a process."""
    if sidecar["rule"] not in GPU_RULES:
        return 0.0
    num_gpus = min(len(sidecar["spent"]["gpus"]), int(sidecar["facts"].get("processes", 1)))
    return num_gpus * sidecar["spent"]["seconds"]


def _read_benchmark(path: Path) -> dict[str, float]:
    """The last run of a benchmark file of Snakemake; nan where it had no time to look at the job."""
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file, delimiter="\t"))
    try:
        return {key: _number(lines[-1][key]) for key in ("s", "cpu_time", "max_rss")}
    except (IndexError, KeyError) as error:
        raise ValueError(f"{path}: not a benchmark of Snakemake ({error}); delete it") from error


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:  # "NA" and "-" of a job that ended at once
        return math.nan


def _sum(values: Iterable[float]) -> float:
    return math.fsum(value for value in values if math.isfinite(value))


def _measure_folders(root: Path) -> Iterable[Stored]:
    for pattern in STORED:
        for folder in sorted(path for path in root.glob(pattern) if path.is_dir() and not path.is_symlink()):
            sizes = [(Path(where) / name).lstat().st_size for where, _, names in os.walk(folder) for name in names]
            yield Stored(folder=folder.relative_to(root).as_posix(), num_files=len(sizes), num_bytes=sum(sizes))


def tell_hours(hours: float) -> str:
    """Hours to a thousandth, and of many to a tenth."""
    return f"{hours:,.1f}" if hours >= 100 else f"{hours:.3f}"


def tell_bytes(num_bytes: float) -> str:
    """A size in the unit that fits: kB, MB, GB, TB of 1000."""
    for unit in ("kB", "MB", "GB"):
        num_bytes /= 1000
        if num_bytes < 1000:
            return f"{num_bytes:.1f} {unit}"
    return f"{num_bytes / 1000:.1f} TB"
