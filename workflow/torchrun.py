"""Start a training's processes: `python -m workflow.torchrun --nodes 2 --processes-per-node 8 -- -m trainer.launch`.

One node: torchrun here. Several nodes, inside a job of Slurm: torchrun on each, started by srun; they meet at the first
node of the step. No name of a machine is written down anywhere: all of it comes from the job's environment.
"""

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

TORCHRUN = ("-m", "torch.distributed.run")
FIRST_PORT, NUM_PORTS = 10_000, 20_000
"""Ports below those that Linux gives away by itself."""


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="workflow.torchrun", description="Run torchrun on this node, or on each node of a Slurm job."
    )
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--processes-per-node", type=int, default=1)
    parser.add_argument("--cpus-per-node", type=int, default=1, help="of the step that several nodes make up")
    parser.add_argument("--on-node", action="store_true", help="this is one node of a step (srun starts it so)")
    parser.add_argument("words", nargs="+", help="what torchrun runs, behind --")
    return parser.parse_args(arguments)


def command_here(options: argparse.Namespace) -> list[str]:
    """torchrun for a training on this machine alone."""
    return [sys.executable, *TORCHRUN, "--standalone", f"--nproc_per_node={options.processes_per_node}", *options.words]


def command_of_step(options: argparse.Namespace, environment: Mapping[str, str]) -> list[str]:
    """srun for a training on several nodes. Raises ValueError outside of a Slurm job."""
    if "SLURM_JOB_ID" not in environment:
        raise ValueError(
            f"this training takes {options.nodes} nodes: run it through Slurm (snakemake --profile profiles/slurm), "
            "or give it fewer processes, or more on each node (cluster.processes_per_node)"
        )
    # A rank that dies takes the step with it: the others would wait for it. Snakemake's job has lost the variables that
    # would tell srun the CPUs.
    placing = f"--nodes={options.nodes} --ntasks={options.nodes} --ntasks-per-node=1 --kill-on-bad-exit=1"
    placing += f" --cpus-per-task={options.cpus_per_node} --cpu-bind=none"
    again = f"--on-node --nodes {options.nodes} --processes-per-node {options.processes_per_node}"
    here = [sys.executable, "-m", "workflow.torchrun"]
    return ["srun", *placing.split(), *here, *again.split(), "--", *options.words]


def command_on_node(options: argparse.Namespace, environment: Mapping[str, str]) -> list[str]:
    """torchrun on one node of a step: all meet at the first node, at a port made from the job's number."""
    first = _scontrol("show", "hostnames", environment["SLURM_STEP_NODELIST"]).split()[0]
    job = environment["SLURM_JOB_ID"]
    return [
        sys.executable,
        *TORCHRUN,
        f"--nnodes={options.nodes}",
        f"--nproc_per_node={options.processes_per_node}",
        "--rdzv_backend=c10d",
        f"--rdzv_id={job}",
        f"--rdzv_endpoint={address_of(first)}:{FIRST_PORT + int(job) % NUM_PORTS}",
        f"--local_addr={address_of(environment['SLURMD_NODENAME'])}",
        *options.words,
    ]


def address_of(node: str) -> str:
    """Where Slurm reaches a node: its name need not be one that the network knows."""
    words = _scontrol("--oneliner", "show", "node", node).split()
    return next(word.removeprefix("NodeAddr=") for word in words if word.startswith("NodeAddr="))


def _scontrol(*words: str) -> str:
    return subprocess.run(["scontrol", *words], check=True, capture_output=True, text=True, timeout=60).stdout


def main(arguments: Sequence[str]) -> int:
    """Become the command; returns 2 for a mistake of the user's."""
    options = parse_arguments(arguments)
    try:
        if options.on_node:
            # Slurm's notice before the end goes to every process of the step; only the trainer's answer it.
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            command = command_on_node(options, os.environ)
        else:
            command = command_here(options) if options.nodes == 1 else command_of_step(options, os.environ)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(shlex.join(command), file=sys.stderr, flush=True)
    os.execvp(command[0], command)
    raise AssertionError("unreachable")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
