"""Beside every output a sidecar `<output>.prov.json`: what it was made from, by which settings and code.

Snakemake keeps the like in `.snakemake/metadata`; without it (a fresh clone with copied results) it trusts whatever
files there are. The sidecars travel with the files: `snakemake verify` reads them, and no job reads a file whose bytes
are not those of its sidecar.
"""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workflow.addresses import without_secrets

FORMAT = "frameline-provenance/1"
ROOT = Path(__file__).resolve().parents[1]
"""Where our code is."""
MADE_HERE = (
    "results", "data/assets", "data/bodies", "data/clips", "data/deepspeed_op", "data/envs",
    "data/latents", "data/panoramas", "data/shards", "data/tracks",
)  # fmt: skip
"""Folders in which every file is of the graph, so that one without provenance was changed by hand or put there."""


def sidecar_path(output: str | Path) -> Path:
    """Where the provenance of an output lies."""
    return Path(f"{output}.prov.json")


def sha256_of(path: Path) -> str:
    """sha256 of a file, or of a folder's relative file names and contents in sorted order."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for inner in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(f"{inner.relative_to(path).as_posix()}\0{sha256_of(inner)}\n".encode())
    return digest.hexdigest()


def is_made_here(name: str) -> bool:
    """Whether a file lies where the graph writes, so that it should have a sidecar."""
    return any(name.startswith(f"{folder}/") for folder in MADE_HERE)


def check_inputs(names: Sequence[str]) -> dict[str, str]:
    """sha256 by name of a job's inputs, each held against the sidecar that its own job wrote.

    An input without a sidecar is taken as it is: it is the user's; a line says so where the graph would have made it.
    Raises ValueError for a file that its sidecar does not describe, and for a sidecar that cannot be read.
    """
    digests = {}
    for name in names:
        digests[name] = sha256_of(Path(name))
        sidecar = sidecar_path(name)
        remedy = f"make it again with `snakemake --force {name}`, or delete {sidecar} if the file is yours"
        try:
            content = json.loads(sidecar.read_bytes())
            written = content["output_sha256"] if content["format"] == FORMAT else None
        except FileNotFoundError:
            if is_made_here(name):
                print(f"note: {name}: taken as it is, {sidecar.name} is not beside it", file=sys.stderr, flush=True)
            continue
        except (ValueError, KeyError, TypeError):
            written = None
        if not isinstance(written, str):
            raise ValueError(f"{name}: its provenance is damaged ({sidecar}); {remedy}")
        if digests[name] != written:
            both = f"sha256 {digests[name][:12]}, in {sidecar} {written[:12]}"
            raise ValueError(f"{name}: changed since it was made ({both}); {remedy}")
    return digests


def record(
    rule: str,
    inputs: Mapping[str, str],
    outputs: Sequence[str],
    facts: Mapping[str, str],
    command: Sequence[str] = (),
    spent: Mapping[str, Any] | None = None,
) -> None:
    """Write the sidecars of one job's outputs, each complete or not at all.

    `inputs` is what `check_inputs` returned, `spent` what `measure` did.
    """
    shared = {
        "format": FORMAT,
        "rule": rule,
        "facts": dict(facts),
        "inputs": dict(inputs),
        "python": platform.python_version(),
        "command": without_secrets(shlex.join(command)),
    } | ({"spent": dict(spent)} if spent else {})
    for output in outputs:
        content = shared | {"output_sha256": sha256_of(Path(output))}
        path = sidecar_path(output)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
        temporary.replace(path)


def measure(started: float) -> dict[str, Any]:
    """What a job took and where: seconds since `started` (time.monotonic), CPU-seconds of all its processes, devices.

    The system counts the CPU time of every process that ended, which a look now and then would miss.
    """
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": round(time.monotonic() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpus": visible_gpus(os.environ),
    } | ({"commit": commit} if (commit := code_commit(ROOT)) else {})


def code_commit(folder: Path) -> str:
    """The commit that our code is of, with "+" where tracked files differ from it; empty where git does not know."""
    git = ["git", "-C", str(folder), "--no-optional-locks"]
    ask = {"capture_output": True, "text": True, "timeout": 30, "check": True}
    try:
        top, commit = subprocess.run([*git, "rev-parse", "--show-toplevel", "HEAD"], **ask).stdout.split("\n")[:2]
        changed = subprocess.run([*git, "status", "--porcelain", "--untracked-files=no"], **ask).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""
    is_ours = Path(top) == folder  # a copy may lie inside of another repository
    return commit + ("+" if changed else "") if is_ours else ""


def _cpu_name() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that a job may use: those of nvidia-smi, of which CUDA_VISIBLE_DEVICES may hide some."""
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        listed = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True, env=dict(environment))
    except (OSError, subprocess.SubprocessError):
        return []
    names = listed.stdout.split("\n")[:-1]
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return names
    wanted = [word for word in chosen.split(",") if word.strip() not in ("", "-1")]
    return [names[int(word)] if word.isdigit() and int(word) < len(names) else word for word in wanted]


def run(command: Sequence[str], save: Path | None = None) -> int:
    """Run a command and pass a request to stop on to it; returns its exit code.

    With `save`, what it prints becomes that file when it ends well.
    """
    temporary = save.with_name(f".{save.name}.{os.getpid()}.tmp") if save else None
    with temporary.open("wb") if temporary else contextlib.nullcontext() as stdout:
        child = subprocess.Popen(command, stdout=stdout)
        signal.signal(signal.SIGTERM, lambda received, _: child.send_signal(received))
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the child as well
        code = child.wait()
    if temporary:
        temporary.replace(save) if code == 0 else temporary.unlink()
    return code if code >= 0 else 128 - code


def main(arguments: list[str]) -> int:
    """Command line; returns the command's exit code, or that of a question about files that were made."""
    if arguments[:1] in (["show"], ["compare"]):
        from workflow import inquiry  # it reads what this module writes

        return inquiry.main(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m workflow.provenance",
        usage="%(prog)s --made RULE [KEY=VALUE ...] --inputs ... --outputs ... -- COMMAND ...\n"
        "       %(prog)s show FILE | compare ONE OTHER (each has its own --help)",
        description="Run a command unless an input changed since it was made; when it ends well, write what its "
        "outputs were made from beside them.",
    )
    parser.add_argument("--made", nargs="+", required=True, metavar="WORD", help="the rule, then facts as key=value")
    parser.add_argument("--inputs", nargs="*", default=[])
    parser.add_argument("--outputs", nargs="*", default=[], help="none for a job that only reads")
    parser.add_argument("--save", type=Path, help="the one output, when the command prints it instead of writing it")
    if "--" not in arguments:
        parser.parse_args(arguments)
        parser.error("no command after --")
    split = arguments.index("--")
    options, command = parser.parse_args(arguments[:split]), arguments[split + 1 :]
    for output in options.outputs:
        sidecar_path(output).unlink(missing_ok=True)
    started = time.monotonic()
    try:
        inputs = check_inputs(options.inputs)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    code = run(command, options.save)
    spent = measure(started)
    if code == 0:
        missing = [output for output in options.outputs if not Path(output).exists()]
        if missing:
            print(f"error: {missing[0]}: the command ended well and did not write it", file=sys.stderr)
            return 1
        rule, *words = options.made
        facts = dict(word.split("=", 1) for word in words)
        record(rule, inputs, options.outputs, facts, command, spent)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
