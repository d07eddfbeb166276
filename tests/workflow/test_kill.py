"""The real graph at its tiniest, killed with -9 in rendering, in packing and in training: the same bytes as in peace.

Slow (`pytest -m slow`), some two minutes on two cores. The renderer is data/envs/render (`snakemake renderer` builds
it) or the one that FRAMELINE_RENDERER names.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workflow.copies import ROOT, copy_repository, environment_of

RENDERER = Path(os.environ.get("FRAMELINE_RENDERER", ROOT / "data/envs/render/bin/python"))
COMMAND = [sys.executable, "-m", "snakemake", "train", "data", "--configfile", "config/tiny.yaml"]
# The moments of the kills: files that exist only while a step is at work.
MOMENTS = {
    "rendering": "data/clips/tiny/.*",
    "packing": "data/shards/*/.*",
    "training": "runs/lbm/*/metrics.jsonl",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(not RENDERER.exists(), reason=f"no renderer at {RENDERER}: snakemake renderer"),
]


def start(root: Path, command: list[str] = COMMAND) -> subprocess.Popen:
    with (root / "out.log").open("ab") as log:
        return subprocess.Popen(
            command, cwd=root, env=environment_of(root), stdout=log, stderr=log, start_new_session=True
        )


def prepare(root: Path) -> Path:
    """A copy of the repository that has the renderer's environment already."""
    copy_repository(root)
    (root / "data/envs").mkdir(parents=True)
    (root / "data/envs/render").symlink_to(RENDERER.parent.parent.absolute())
    return root


def kill_all(process: subprocess.Popen, root: Path) -> None:
    """kill -9 for Snakemake and, without a moment to tidy up, for everything that works in its folder."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cwd").resolve() == root:
                os.kill(int(folder.name), signal.SIGKILL)


def wait_for(pattern: str, root: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 400
    while not any(root.glob(pattern)):
        assert process.poll() is None, f"ended before {pattern} was seen: {(root / 'out.log').read_text()[-2000:]}"
        assert time.monotonic() < deadline, pattern
        time.sleep(0.005)


def finish(root: Path, command: list[str] = COMMAND) -> None:
    """Run to the end; a killed Snakemake leaves its lock, and says so."""
    unlock = [*command, "--unlock"]
    subprocess.run(unlock, cwd=root, env=environment_of(root), check=True, capture_output=True, timeout=60)
    process = start(root, command)
    assert process.wait(timeout=900) == 0, (root / "out.log").read_text()[-4000:]


def products(root: Path) -> dict[str, str]:
    """sha256 of all shards and weights."""
    files = [*(root / "data/shards").rglob("*"), *(root / "results").glob("*/*.safetensors")]
    files = [path for path in sorted(files) if path.is_file() and not path.name.endswith(".prov.json")]
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_killed_in_rendering_packing_and_training_the_graph_ends_with_the_same_bytes(tmp_path):
    calm = prepare(tmp_path / "calm")
    finish(calm)
    killed = prepare(tmp_path / "killed")
    for moment, pattern in MOMENTS.items():
        process = start(killed)
        wait_for(pattern, killed, process)
        kill_all(process, killed)
        assert not (killed / "results/lbm/weights.safetensors").exists(), moment
        subprocess.run([*COMMAND, "--unlock"], cwd=killed, env=environment_of(killed), check=True, capture_output=True)
    finish(killed)
    assert products(killed) == products(calm)
    assert "results/lbm/weights.safetensors" in products(calm)
    assert sum(name.startswith("data/shards/tiny") and name.endswith(".tar") for name in products(calm)) == 3
    leftovers = [path.name for path in (killed / "data").rglob(".*") if "render/" not in str(path)]
    assert [name for name in leftovers if not name.startswith(".snakemake")] == []
