"""Copies of this repository for Snakemake to work in: the user's own products are never touched."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "workflow", "generation", "shards", "trainer", "eval", "config", "profiles", "pyproject.toml")


def copy_repository(to: Path) -> Path:
    """Copy the code and the configurations, and nothing that was made."""
    to.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(ROOT / name, to / name)
    return to


def environment_of(root: Path) -> dict[str, str]:
    """Environment variables of a process that runs the copy's code."""
    return {"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "HOME": str(root)}
