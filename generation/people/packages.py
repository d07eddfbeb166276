"""What makes Anny's bodies, pinned and hashed, in a folder beside the main environment: used once, by one rule."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from generation.environment import write_json
from shards.files import appearing

FORMAT = "frameline-packages/1"
REQUIREMENTS = Path(__file__).resolve().parents[2] / "workflow" / "envs" / "body.txt"


def install(out: Path, marker: Path | None, requirements: Path = REQUIREMENTS) -> None:
    """Install the requirements into the folder `out`, whole or not at all; RuntimeError with pip's last line."""
    print(f"{out}: installing {requirements.name} (download 0.2 GB, 0.5 GB on the disk)", flush=True)
    command = [sys.executable, "-m", "pip", "install", "--no-input", "--no-deps", "--require-hashes"]
    with appearing(out) as temporary:
        result = subprocess.run(
            [*command, "--target", str(temporary), "-r", str(requirements)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise RuntimeError(f"pip could not install {requirements.name}: {result.stderr.strip().splitlines()[-1]}")
    if marker:
        versions = {one.name: one.version for one in distributions(path=[str(out)])}
        digest = hashlib.sha256(requirements.read_bytes()).hexdigest()
        write_json(marker, {"format": FORMAT, "requirements_sha256": digest, "versions": versions})


@contextmanager
def available(folder: Path | None) -> Iterator[None]:
    """Let packages of a folder be imported, and let Anny keep what it computes in a folder that goes afterwards.

    Anny writes 0.8 GB into the user's home otherwise.
    """
    before = os.environ.get("ANNY_CACHE_DIR")
    with TemporaryDirectory(prefix="anny-") as cache:
        if folder:
            sys.path.append(str(folder.absolute()))
        os.environ["ANNY_CACHE_DIR"] = before or cache
        try:
            yield
        finally:
            if folder:
                sys.path.remove(str(folder.absolute()))
            if before is None:
                del os.environ["ANNY_CACHE_DIR"]
