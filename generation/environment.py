"""The renderer's own virtual environment, from pinned and hashed requirements: bpy never meets torch or numpy 2."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from generation.preflight import check_system_libraries

FORMAT = "frameline-environment/1"
REQUIREMENTS = Path(__file__).resolve().parent.parent / "workflow" / "envs" / "render.txt"
CHILD = Path(__file__).resolve().parent / "child.py"
COMPLETE = "frameline-complete.json"
"""Written into the environment last: without it, it is half built."""
SHOWN = ("Collecting", "Downloading", "Using cached", "Installing", "Successfully", "ERROR", "error")
VERSIONS = ("bpy", "kubric-nightly", "numpy", "openexr", "pillow", "pybullet")
"""Packages whose version decides a clip's content."""


def build_environment(out: Path, marker: Path | None, requirements: Path = REQUIREMENTS) -> Path:
    """Build or complete the environment in `out`; returns its interpreter.

    Raises MissingLibrariesError, ValueError for another Python than 3.11, RuntimeError when pip fails or kubric does
    not start.
    """
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    python = out.absolute() / "bin" / "python"
    if is_complete(out, wanted):
        print(f"renderer: {out} is complete", flush=True)
    else:
        if sys.version_info[:2] != (3, 11):
            raise ValueError(f"bpy 4.5 has wheels for Python 3.11 only; this is {sys.version.split()[0]}")
        check_system_libraries()
        _install(out, python, requirements)
        check_system_libraries(python)
        report = probe(python)
        content = {"format": FORMAT, "requirements_sha256": wanted, **report}
        write_json(out / COMPLETE, content)
        print(f"renderer: bpy {report['versions']['bpy']} and kubric start", flush=True)
    if marker:
        write_json(marker, json.loads((out / COMPLETE).read_bytes()))
    return python


def is_complete(out: Path, requirements_sha256: str) -> bool:
    """Whether the environment was built to the end from these requirements."""
    try:
        content = json.loads((out / COMPLETE).read_bytes())
        return content["requirements_sha256"] == requirements_sha256 and (out / "bin" / "python").exists()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _install(out: Path, python: Path, requirements: Path) -> None:
    if out.exists():
        if any(out.iterdir()) and not (out / "pyvenv.cfg").is_file():
            raise ValueError(f"{out}: not an environment of ours, and not empty; name another folder")
        print(f"renderer: {out} is half built or out of date: building it again", flush=True)
        shutil.rmtree(out)
    print(f"renderer: installing {requirements.name} into {out} (download 0.5 GB, 1.6 GB on the disk)", flush=True)
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", "venv", str(out)], check=True)
    command = [str(python), "-m", "pip", "install", "--no-input", "--no-deps", "--require-hashes", "-r"]
    process = subprocess.Popen(
        [*command, str(requirements)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    last: list[str] = []
    for line in process.stdout:
        last = [*last[-9:], line.rstrip()]
        if line.lstrip().startswith(SHOWN):
            print(f"renderer: [{time.monotonic() - start:4.0f} s] {line.strip()[:150]}", flush=True)
    if process.wait():
        raise RuntimeError("pip could not install the renderer's environment:\n" + "\n".join(last))


def probe(python: Path) -> dict[str, Any]:
    """Start kubric and Blender in the environment and return {"python", "versions"}; RuntimeError with the reason."""
    result = subprocess.run(
        renderer_command(python, "probe"), capture_output=True, text=True, env=renderer_environment(1), check=False
    )
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        raise RuntimeError(f"{python}: kubric does not start: {lines[-1] if lines else result.returncode}")
    return json.loads(result.stdout.strip().splitlines()[-1])


def renderer_command(python: Path, module: str, *arguments: str) -> list[str]:
    """The command line of a renderer-side module; nothing of the main environment is on its path."""
    return [str(python), "-P", "-s", str(CHILD), module, *arguments]


def renderer_environment(threads: int) -> dict[str, str]:
    """The environment variables of a renderer process: its own packages, and no more threads than it may use."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return kept | limits | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def installed_versions(python: Path) -> dict[str, str]:
    """Versions of what decides a clip's content; ValueError with the command that builds a missing renderer."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {VERSIONS!r}}}))"
    try:
        result = subprocess.run([str(python), "-P", "-s", "-c", code], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        raise ValueError(
            f"{python}: no renderer there; build it with: snakemake renderer "
            "(or python -m generation environment --out data/envs/render)"
        ) from None
    return json.loads(result.stdout)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write JSON under a temporary name in the same folder, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    temporary.replace(path)
