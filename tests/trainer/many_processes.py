"""Several processes as on several nodes, without torchrun: one start of Python for many trainings."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LAUNCHES = """
import json, os, sys
from trainer.launch import main
for port, words in json.loads(sys.argv[1]):
    os.environ["MASTER_PORT"] = str(port)
    code = main(words)
    if code:
        sys.exit(code)
"""


def launch_all(
    trainings: list[list[str]], *, processes: int, per_node: int | None = None, before: str = ""
) -> list[tuple[int, str]]:
    """Run `trainer.launch` of each list of overrides, one after the other, after the program `before`.

    Returns exit code and stderr of each process.
    """
    # The next training must not meet the last one's processes.
    told = json.dumps(list(zip(free_ports(len(trainings)), trainings, strict=True)))
    ended = run_program(before + LAUNCHES, [told], processes, per_node or processes)
    return [(code, err) for code, _, err in ended]


def start_all(program: str, *words: str, processes: int, per_node: int | None = None) -> list[tuple[int, str]]:
    """Run a program in processes that form a group; exit code, which must be 0, and stdout of each."""
    ended = run_program(program, list(words), processes, per_node or processes)
    assert [code for code, _, _ in ended] == [0] * processes, "\n".join(err[-2000:] for _, _, err in ended)
    return [(code, out) for code, out, _ in ended]


def run_program(program: str, words: list[str], processes: int, per_node: int) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each process of a group on nodes of `per_node` processes."""
    (port,) = free_ports(1)
    started = []
    for rank in range(processes):
        place = {"RANK": rank, "WORLD_SIZE": processes, "LOCAL_RANK": rank % per_node, "MASTER_PORT": port}
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        environment |= {key: str(value) for key, value in place.items()}
        environment |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", program, *words]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=pipe, stderr=pipe, text=True))
    try:
        told = [each.communicate(timeout=300) for each in started]
        return [(each.returncode, *texts) for each, texts in zip(started, told, strict=True)]
    finally:
        for each in started:
            each.kill()


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.socket() for _ in range(number)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
