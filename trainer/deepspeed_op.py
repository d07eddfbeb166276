"""DeepSpeed's CPU op, built beforehand: `python -m trainer.deepspeed_op --out data/deepspeed_op`.

DeepSpeed compiles an op for its exchanges on CPUs when a group of processes starts, without a word, for a minute or
more, and waits for ever where a build was killed before. Here a command builds it, and trainings only load it.
"""

import argparse
import fcntl
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from importlib.machinery import ExtensionFileLoader
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

from shards.files import write_text

BUILDER = "ShareMemCommBuilder"
NAME = "deepspeed_shm_comm"
"""The op, and the folder and library that DeepSpeed makes of it."""
INSTALL = "pip install 'frameline[deepspeed]'"
MARKER = "op.json"


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="trainer.deepspeed_op",
        description="Build DeepSpeed's CPU op, which training.strategy=deepspeed_zero2 needs on CPUs. Takes a minute "
        "or more, and g++.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of its own, which paths.deepspeed_op names")
    return parser.parse_args(arguments)


def check_installed() -> None:
    """Raise ValueError where DeepSpeed is missing."""
    if find_spec("deepspeed") is None:
        raise ValueError(f"training.strategy=deepspeed_zero2 needs DeepSpeed; {INSTALL}")


def facts() -> dict[str, str]:
    """What an op is built for: it is another one for other versions, and on another kind of machine."""
    return {"deepspeed": version("deepspeed"), "torch": version("torch"), "machine": platform.machine()}


def load_op(folder: Path) -> None:
    """Load the op that was built in `folder`: every process of a training on CPUs does so before it starts DeepSpeed.

    DeepSpeed finds it loaded and asks for no compiler and no lock, which a process that is killed would leave behind.
    Raises ValueError for an op that is not there, or that was built for other versions.
    """
    command = f"python -m trainer.deepspeed_op --out {folder}"
    library, marker = folder / NAME / f"{NAME}.so", folder / MARKER
    if not (library.is_file() and marker.is_file()):
        raise ValueError(f"{folder}: DeepSpeed's CPU op is not built there; {command}")
    built = json.loads(marker.read_text())
    if built != facts():
        raise ValueError(f"{folder}: DeepSpeed's CPU op is for {built}, here is {facts()}; {command}")
    _set_environment(folder)
    from deepspeed.ops.op_builder.builder import OpBuilder

    loader = ExtensionFileLoader(NAME, str(library))
    op = module_from_spec(spec_from_file_location(NAME, library, loader=loader))
    loader.exec_module(op)
    OpBuilder._loaded_ops[NAME] = op


def build_op(folder: Path) -> None:
    """Build the op in `folder`, or find it built; the marker is written last, so a build that was killed is none.

    Raises ValueError for a missing DeepSpeed or compiler, and for a build that fails.
    """
    check_installed()
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
        raise ValueError("DeepSpeed's CPU op is compiled by g++, which is not there; apt-get install g++")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "building").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # falls with the process
        (folder / MARKER).unlink(missing_ok=True)
        # Nobody else builds here now: torch's own lock is that of a build that was killed.
        (folder / NAME / "lock").unlink(missing_ok=True)
        _set_environment(folder)
        try:
            from deepspeed.accelerator import get_accelerator

            get_accelerator().create_op_builder(BUILDER).load(verbose=True)
        except (RuntimeError, OSError, ImportError, subprocess.SubprocessError) as error:
            raise ValueError(f"{folder}: DeepSpeed's CPU op could not be built: {str(error).splitlines()[0]}") from None
        write_text(folder / MARKER, json.dumps(facts(), sort_keys=True) + "\n")


def _set_environment(folder: Path) -> None:
    """What DeepSpeed reads: where ops are, that this is a CPU, and where ninja is, which builds one."""
    os.environ["TORCH_EXTENSIONS_DIR"] = str(folder.resolve())
    os.environ["DS_ACCELERATOR"] = "cpu"
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def main(arguments: list[str]) -> int:
    """Command line; returns the exit code: 0 done, 2 a mistake of the user's."""
    options = parse_arguments(arguments)
    start = time.monotonic()
    print(f"{options.out}: building DeepSpeed's CPU op; this takes a minute or more", flush=True)
    try:
        build_op(options.out)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: done in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
