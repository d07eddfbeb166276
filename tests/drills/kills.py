"""Kill the tiny graph at random moments, again and again; in the end it must have the bytes of one that ran in peace.

`python -m tests.drills.kills --kills 50` prints which jobs were at work when they were hit. tests/drills/test_kills.py
does the same a few times. Three kinds of blow: kill -9 for everything; kill -9 for one process of a job, which
Snakemake must notice; SIGTERM for everything, as a machine that shuts down sends it.
"""

import argparse
import collections
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.workflow.copies import environment_of
from tests.workflow.test_kill import prepare

COMMAND = [sys.executable, "-m", "snakemake", "all", "--configfile", "config/tiny.yaml"]
BLOWS = ("kill -9 of everything", "kill -9 of one process", "SIGTERM to everything")
DELAY_S = (3.0, 20.0)
# What is thrown away when the graph is finished before it is hit: something to make again.
THROWN_AWAY = (
    ("data/clips",),
    ("data/tracks", "data/shards"),
    ("runs", "results/lbm"),
    ("runs", "results/cotracker3_offline", "results/cotracker3_online"),
    ("results/tiny_heldout", "results/data"),
    ("runs", "results/blade_depthnet"),
    ("data/bodies", "results/blade_posenet", "results/people_tiny_heldout"),
)
COMPARED = ("data/shards/**/*.tar", "data/shards/**/*.json", "results/**/*.safetensors", "results/**/*.npz")
COMPARED += ("data/bodies/*.npz", "results/*tiny_heldout/*.json", "results/*tiny_heldout/table.*")


@dataclass
class Drill:
    """A graph that is hit: its folder, its random moments, and which jobs were at work by kind of blow."""

    root: Path
    generator: random.Random
    num_kills: int = 0
    hit: dict[str, collections.Counter] = field(default_factory=lambda: {b: collections.Counter() for b in BLOWS})


def start(root: Path) -> subprocess.Popen:
    """Start Snakemake, without the lock of one that was killed."""
    shutil.rmtree(root / ".snakemake/locks", ignore_errors=True)
    with (root / "out.log").open("ab") as log:
        return subprocess.Popen(
            COMMAND, cwd=root, env=environment_of(root), stdout=log, stderr=log, start_new_session=True
        )


def processes_of(root: Path) -> dict[int, list[str]]:
    """Command lines by number of all processes that work in a folder."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (folder / "cwd").resolve() == root:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return found


def rules_of(processes: dict[int, list[str]]) -> set[str]:
    """The rules whose jobs run: every job says its rule behind --made."""
    return {words[words.index("--made") + 1] for words in processes.values() if "--made" in words}


def strike(drill: Drill, process: subprocess.Popen) -> None:
    """One blow, of a random kind."""
    blow = drill.generator.choice(BLOWS)
    processes = processes_of(drill.root)
    at_work = rules_of(processes)
    jobs = sorted(number for number, words in processes.items() if number != process.pid and "snakemake" not in words)
    if blow == BLOWS[1] and jobs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(drill.generator.choice(jobs), signal.SIGKILL)
        process.wait(timeout=900)  # what does not need the job goes on
    elif blow == BLOWS[2]:
        for number in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM)
        process.wait(timeout=900)  # what does not need the job goes on
    else:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for number in processes_of(drill.root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    drill.num_kills += 1
    drill.hit[blow].update(at_work or {"(Snakemake alone)"})


def finish(root: Path) -> None:
    """Run to the end; AssertionError with the log's end where it fails."""
    assert start(root).wait(timeout=900) == 0, (root / "out.log").read_text()[-4000:]


def products(root: Path) -> dict[str, str]:
    """sha256 by name of what must not depend on how often the graph was hit."""
    files = sorted({path for pattern in COMPARED for path in root.glob(pattern) if ".prov." not in path.name})
    return {path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def run(root: Path, num_kills: int, seed: int) -> Drill:
    """Hit the graph in a prepared folder until it was hit so often, then let it finish."""
    drill = Drill(root=root.resolve(), generator=random.Random(seed))
    while drill.num_kills < num_kills:
        process = start(root)
        try:
            code = process.wait(timeout=drill.generator.uniform(*DELAY_S))
        except subprocess.TimeoutExpired:
            strike(drill, process)
            continue
        assert code == 0, (root / "out.log").read_text()[-4000:]
        for name in drill.generator.choice(THROWN_AWAY):
            shutil.rmtree(root / name, ignore_errors=True)
    finish(root)
    return drill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    began = time.monotonic()
    finish(prepare(folder / "calm"))
    drill = run(prepare(folder / "killed"), options.kills, options.seed)
    calm, killed = products(folder / "calm"), products(folder / "killed")
    different = [name for name in calm if killed.get(name) != calm[name]]
    rules = sorted({rule for counter in drill.hit.values() for rule in counter})
    print(f"| job at work | {' | '.join(BLOWS)} |\n| --- |{' ---: |' * len(BLOWS)}")
    for rule in rules:
        print(f"| {rule} | {' | '.join(str(drill.hit[blow][rule]) for blow in BLOWS)} |")
    minutes = (time.monotonic() - began) / 60
    print(f"\n{drill.num_kills} blows in {minutes:.0f} minutes; of {len(calm)} files are different: {different}")
    shutil.rmtree(folder)
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
