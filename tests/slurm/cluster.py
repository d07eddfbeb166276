"""A real Slurm of two nodes on one machine, for tests: Debian's slurm-wlm and munge, two slurmd side by side.

Needs root, and leaves a Slurm that is there already alone. `python -m tests.slurm.cluster` starts one to try things on.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

CONFIGURATION = Path("/etc/slurm/slurm.conf")  # jobs that Snakemake submits lose SLURM_CONF, so it must lie here
MARK = "# Written by Frameline's tests."
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scontrol")
NUM_CPUS, MEMORY_MB = 4, 8000  # of each node, whatever the machine has

SETTINGS = """{mark}
ClusterName=frameline
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
ReturnToService=2
MpiDefault=none
MinJobAge=600
KillWait=10
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs={cpus} RealMemory={memory} State=UNKNOWN
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs={cpus} RealMemory={memory} State=UNKNOWN
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""


def what_is_missing() -> str:
    """Why no cluster can be started here; empty where one can."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=search_path())]
    if missing:
        return f"no {missing[0]} (apt-get install slurm-wlm munge)"
    if os.geteuid() != 0:
        return "not root"
    if CONFIGURATION.exists() and MARK not in CONFIGURATION.read_text():
        return f"{CONFIGURATION} belongs to a Slurm that is no test's"
    return ""


def search_path() -> str:
    """PATH with the folders of system programs."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*words: str, check: bool = True) -> str:
    """Run a command and return what it prints."""
    environment = os.environ | {"PATH": search_path()}
    return subprocess.run(words, check=check, capture_output=True, text=True, timeout=60, env=environment).stdout


@contextlib.contextmanager
def cluster() -> Iterator[Path]:
    """Start munge, the controller and two nodes, and stop them at the end; gives the folder with their logs."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    (folder / "state").mkdir()
    start_munge()
    CONFIGURATION.parent.mkdir(exist_ok=True)
    host = socket.gethostname().split(".")[0]
    CONFIGURATION.write_text(SETTINGS.format(mark=MARK, host=host, folder=folder, cpus=NUM_CPUS, memory=MEMORY_MB))
    try:
        run("slurmctld", "-c")
        for node in ("n1", "n2"):
            run("slurmd", "-N", node)
        wait_until(lambda: run("sinfo", "-h", "-t", "idle", "-o", "%D", check=False).strip() == "2", folder)
        yield folder
    finally:
        run("scancel", "--state=RUNNING", "--user=root", check=False)
        for pid in folder.glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(pid.read_text()), 15)
        CONFIGURATION.unlink()


def start_munge() -> None:
    """Start the daemon by which the others know each other, unless it runs."""
    key = Path("/etc/munge/munge.key")
    if not key.exists() or not key.stat().st_size:
        key.write_bytes(os.urandom(1024))
    for place in ("/etc/munge", "/run/munge", "/var/lib/munge", "/var/log/munge"):
        Path(place).mkdir(exist_ok=True)
        run("chown", "-R", "munge:", place)
    key.chmod(0o400)
    Path("/run/munge").chmod(0o755)
    if subprocess.run(["pgrep", "-x", "munged"], capture_output=True).returncode:
        run("runuser", "-u", "munge", "--", "/usr/sbin/munged")


def wait_until(is_so, folder: Path, patience_s: float = 30) -> None:
    """Wait for something of the cluster's; RuntimeError with the logs where it does not come."""
    deadline = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-1500:] for path in sorted(folder.glob("*.log")))
            raise RuntimeError(f"the cluster does not start:\n{logs}")
        time.sleep(0.1)


if __name__ == "__main__":
    with cluster() as started:
        input(f"two nodes are up; logs in {started}; Enter stops them\n")
